"""Full label maps made into weaker ones, for training alone: some classes of each patient, scribbles, points."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from medexp.errors import UserError, nearest
from medexp.seeding import derive
from medexp.targets import IGNORED

Array = np.ndarray[Any, Any]


class Annotation(ABC):
    """`annotation(label, case, patient, seed)`: a new label map (*spatial) uint8 of class indices, IGNORED where nothing is
    annotated. It depends on these alone."""

    all = False  # whether it holds for validation and test cases too, which are then evaluated where they are annotated

    @abstractmethod
    def __call__(self, label: Array, case: str, patient: str, seed: int) -> Array: ...


class SomeClasses(Annotation):
    """Each patient has the classes of one of `groups`, by name; all of their other classes are background.

    classes: dataset.classes. absent: "unknown", where such background is the value K + number of the group, which may be the
    background or any other class (see medexp/losses/partial.py); or "background", which takes it at its word. file: a table
    (CSV) with the columns case and group (a number from 0), for data that are annotated in this way: then validation and test
    cases are evaluated where they are annotated. Without one, for trials on data with full labels, training patients are
    shared out by f(seed, patient), and others keep their labels.
    Raises UserError for names that are no classes, and for cases that the file does not name.
    """

    def __init__(
        self,
        classes: Sequence[str],
        groups: Sequence[Sequence[str]],
        absent: Literal["unknown", "background"] = "unknown",
        file: str | None = None,
    ) -> None:
        names = [str(name) for name in classes]
        for name in (name for group in groups for name in group):
            if name not in names[1:]:
                hint = nearest(str(name), names[1:]) or ";"
                raise UserError(f"dataset.annotation.groups: '{name}'{hint} classes: {', '.join(names[1:])}")
        if not groups or absent not in ("unknown", "background"):
            seen = f"absent: '{absent}'; allowed: unknown, background" if groups else "groups: []; name classes of each"
            raise UserError(f"dataset.annotation.{seen}")
        self.all = file is not None
        self.groups = [[names.index(name) for name in group] for group in groups]
        self.count, self.absent, self.file = len(names), absent, file
        self.known = None if file is None else _groups_of(Path(file), len(groups))

    def group(self, case: str, patient: str, seed: int) -> int:
        """Number of the group of a case."""
        if self.known is None:
            return derive(seed, "annotated classes", patient) % len(self.groups)
        if case not in self.known:
            raise UserError(f"dataset.annotation.file: {self.file} does not name case {case}; add it")
        return self.known[case]

    def __call__(self, label: Array, case: str, patient: str, seed: int) -> Array:
        group = self.group(case, patient, seed)
        kept = np.isin(label, [*self.groups[group], IGNORED])
        rest = self.count + group if self.absent == "unknown" else 0
        return np.where(kept, label, rest).astype(np.uint8)


class Points(Annotation):
    """`each` voxels of every object (connected voxels of a class), and `background` of the background, with what lies within
    `radius` voxels of them in the same object."""

    def __init__(self, each: int = 1, background: int = 5, radius: int = 1) -> None:
        for key, value, least in (("each", each, 1), ("background", background, 1), ("radius", radius, 0)):
            if value < least:
                raise UserError(f"dataset.annotation.{key}: {value}; {least} or more is needed")
        self.each, self.background, self.radius = each, background, radius

    def __call__(self, label: Array, case: str, patient: str, seed: int) -> Array:
        rng = np.random.default_rng(derive(seed, "annotation", case))
        made = np.full(label.shape, IGNORED, np.uint8)
        for value, within in objects(label):
            count = self.each if value else self.background
            marks = self.marks(within, count, rng, central=value > 0)
            if self.radius:
                marks = ndimage.binary_dilation(marks, iterations=self.radius) & within
            made[marks] = value
        return made

    def marks(self, within: Array, count: int, rng: np.random.Generator, central: bool) -> Array:
        """The voxels that are touched in one object, or (not central) in the background, boolean."""
        places = np.flatnonzero(within)
        marks = np.zeros(within.shape, bool)
        marks.flat[rng.choice(places, min(count, len(places)), replace=False)] = True
        return marks


class Scribbles(Points):
    """A line through every object and `background` lines through the background, `radius` voxels to either side.

    A line joins two random voxels of the object through the middle of it: of all ways within it the one that is shortest where
    a step costs 1 / (1 + distance to the border)^2. Through the background it is the shortest.
    """

    def __init__(self, background: int = 2, radius: int = 0) -> None:
        super().__init__(each=1, background=background, radius=radius)

    def marks(self, within: Array, count: int, rng: np.random.Generator, central: bool) -> Array:
        from skimage.graph import route_through_array

        marks = np.zeros(within.shape, bool)
        inside = 1 / (1 + ndimage.distance_transform_edt(within)) ** 2 if central else 1.0
        cost = np.where(within, inside, -1.0)  # below 0: no way
        places = np.argwhere(within)
        for _ in range(count):
            start, end = places[rng.choice(len(places), 2, replace=len(places) < 2)]
            way, _ = route_through_array(cost, tuple(start), tuple(end), fully_connected=True)
            marks[tuple(np.transpose(way))] = True
        return marks


def objects(label: Array) -> list[tuple[int, Array]]:
    """Class and mask of every object, and of the largest connected part of the background; what is IGNORED is none."""
    found: list[tuple[int, Array]] = []
    for value in (int(value) for value in np.unique(label) if value != IGNORED):
        parts, count = ndimage.label(label == value, np.ones((3,) * label.ndim))
        if value == 0:
            sizes = np.bincount(parts.ravel())[1:]
            found.append((0, parts == int(sizes.argmax()) + 1))
        else:
            found.extend((value, parts == number) for number in range(1, count + 1))
    return found


def _groups_of(path: Path, groups: int) -> dict[str, int]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            found = {row["case"]: int(row["group"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"dataset.annotation.file: {path}: {error}; give a CSV with the columns case and group"
        ) from None
    odd = next((case for case, group in found.items() if not 0 <= group < groups), None)
    if odd is not None:
        raise UserError(
            f"dataset.annotation.file: {path}: case {odd} is of group {found[odd]}, there are {groups} (from 0)"
        )
    return found
