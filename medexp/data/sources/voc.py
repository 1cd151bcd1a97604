"""Boxes in Pascal VOC's layout: Annotations/<id>.xml, JPEGImages/<id>.jpg, ImageSets/Main/<part>.txt.

Everingham et al. 2010, Int. J. Comput. Vis. 88:303. VOC counts pixels from 1 and its maxima still belong to the box, so
a box here is lower = (ymin - 1, xmin - 1) and upper = (ymax, xmax), just beyond it.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from medexp.data.images import stem
from medexp.data.records import Box, Record
from medexp.data.sources.folders import images_below, inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError, nearest

log = logging.getLogger(__name__)
LARGEST = 16 * 2**20  # bytes of one annotation; a thousand objects take some 300 kB
TARGETS = ("presence", "count", "boxes")


def records(
    root: Path,
    *,
    classes: Sequence[str] | None = None,
    target: Literal["presence", "count", "boxes"] = "presence",
    annotations: str = "Annotations",
    images: str = "JPEGImages",
    sets: str | None = "ImageSets/Main",
    clicks: Literal["keep", "drop"] = "keep",
) -> list[Record]:
    """A record an annotation; its image is the one of the same name, whatever name stands in the annotation.

    classes: names that objects may have; None: any. target: the names of the classes present ("presence"), how many
    objects of each of `classes`, or of all together ("count"), or nothing besides the boxes ("boxes").
    sets: folder of the official split (train.txt, val.txt, test.txt; trainval.txt trains where train.txt is not there),
    which must name every annotation; None, or no such folder: none.
    clicks: what becomes of boxes of a single pixel, which are slips of the mouse: "keep" them, which is an error where the
    case is opened, or "drop" them, which is said.
    Boxes are numbers here, no more: whether they lie within their image is found where it is opened.
    Raises Faults naming every annotation that cannot be used.
    """
    need_folder(root)
    if target not in TARGETS:
        raise UserError(f"dataset.source.target: '{target}' is not one of {', '.join(TARGETS)}")
    if clicks not in ("keep", "drop"):
        raise UserError(f"dataset.source.clicks: '{clicks}' is not one of keep, drop")
    folders = [inside(root, name, f"dataset.source.{key}") for key, name in _named(annotations, images)]
    for (key, _), folder in zip(_named(annotations, images), folders, strict=True):
        if not folder.is_dir():
            raise UserError(f"dataset.source.{key}: {folder} is not a folder; set it, or dataset.root=PATH")
    described = {path.stem: path for path in sorted(folders[0].glob("*.xml")) if not path.name.startswith(".")}
    parts = _parts(inside(root, sets, "dataset.source.sets"), described) if sets is not None else {}
    pictures, problems = _paired(described, images_below(folders[1]))
    found, dropped = [], 0
    for name in sorted(described.keys() & pictures.keys()):
        try:
            boxes = read_boxes(described[name], classes)
            if clicks == "drop":
                every, boxes = len(boxes), tuple(box for box in boxes if not _click(box))
                dropped += every - len(boxes)
        except Faults as error:
            problems += [f"case {name}: {described[name]}: {problem}" for problem in error.problems]
            continue
        value = _target(boxes, classes, target)
        found.append(Record(name, (pictures[name],), target=value, split=parts.get(name), boxes=boxes))
    if problems:
        raise Faults(f"{len(problems)} faults in the annotations of {root}", sorted(problems))
    if dropped:
        log.info("%s: %d boxes of a single pixel are left out (dataset.source.clicks=drop)", root.name, dropped)
    return sorted_unique(found, root)


def _click(box: Box) -> bool:
    """Whether a box is a single pixel."""
    return all(upper - lower <= 1 for lower, upper in zip(box.lower, box.upper, strict=True))


def _named(annotations: str, images: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("annotations", annotations), ("images", images)


def _paired(described: dict[str, Path], images: Sequence[Path]) -> tuple[dict[str, Path], list[str]]:
    """Images by name, and everything that has no other half or more than one."""
    pictures: dict[str, Path] = {}
    problems = [
        f"case {stem(path)}: {path}: no annotation of that name" for path in images if stem(path) not in described
    ]
    for path in images:
        if (other := pictures.setdefault(stem(path), path)) != path:
            problems.append(f"case {stem(path)}: {path}: has the name of {other.name}; remove one")
    missing = described.keys() - pictures.keys()
    return pictures, problems + [f"case {name}: {described[name]}: no image of that name" for name in missing]


def _target(boxes: Sequence[Box], classes: Sequence[str] | None, target: str) -> Any:
    counts = Counter(box.name for box in boxes)
    if target == "boxes":
        return None
    if target == "count":
        return float(len(boxes)) if classes is None else [float(counts[name]) for name in classes]
    return [name for name in (sorted(counts) if classes is None else classes) if counts[name]]


def _parts(folder: Path, described: dict[str, Path]) -> dict[str, str]:
    """The part of every annotation by the official lists, or nothing where there are none. Raises Faults."""
    lists = {part: folder / f"{part}.txt" for part in ("train", "val", "test")}
    if not lists["train"].is_file() and (folder / "trainval.txt").is_file():
        lists = {"train": folder / "trainval.txt", "test": lists["test"]}
    named = {
        part: path.read_text(encoding="utf-8", errors="replace").split()
        for part, path in lists.items()
        if path.is_file()
    }
    if not named:
        return {}
    where: dict[str, str] = {}
    problems = []
    for part, names in named.items():
        for name in names:
            if name not in described:
                problems.append(f"case {name}: is in {lists[part]}, but has no annotation")
            elif where.setdefault(name, part) != part:
                problems.append(f"case {name}: is in {lists[where[name]]} and in {lists[part]}")
    problems += [f"case {name}: is in no list of {folder}" for name in sorted(described.keys() - where.keys())]
    if problems:
        hint = "mend the lists, or set dataset.source.sets=null for a split of medexp's own"
        raise Faults(f"{len(problems)} faults in the split of {folder.parent.parent}; {hint}", problems)
    return where


class _Plain(ElementTree.TreeBuilder):
    """Refuses document types: the entities that they define can read other files and grow without bound."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise Faults("document type", ["has a document type (DTD), which VOC never has; remove it"])


def read_boxes(path: Path, classes: Sequence[str] | None = None) -> tuple[Box, ...]:
    """The objects of an annotation in the order of the file. Raises Faults with everything that is wrong with it."""
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise Faults(str(path), [f"is larger than {LARGEST // 2**20} MiB; it is no annotation"])
    parser = ElementTree.XMLParser(target=_Plain())
    try:
        parser.feed(content)
        tree = parser.close()
    except ElementTree.ParseError as error:
        raise Faults(str(path), [f"is no XML ({error}); copy it again"]) from None
    if tree.tag != "annotation":
        raise Faults(str(path), [f"its root is <{tree.tag}>, not <annotation>"])
    boxes, problems = [], []
    for number, entry in enumerate(tree.findall("object"), start=1):
        try:
            boxes.append(_box(entry, classes))
        except ValueError as error:
            problems.append(f"object {number}: {error}")
    if problems:
        raise Faults(str(path), problems)
    return tuple(boxes)


def _box(entry: ElementTree.Element, classes: Sequence[str] | None) -> Box:
    """Raises ValueError saying what is wrong."""
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise ValueError("has no name")
    if classes is not None and name not in classes:
        raise ValueError(
            f"class '{name}' is not in dataset.classes{nearest(name, list(classes))} ({', '.join(classes)})"
        )
    limits = {key: entry.findtext(f"bndbox/{key}") for key in ("ymin", "xmin", "ymax", "xmax")}
    values = []
    for key, text in limits.items():
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{key} is {'missing' if text is None else repr(text.strip())}, not a number")
        values.append(value)
    return Box(name, (values[0] - 1, values[1] - 1), (values[2], values[3]))
