"""What is known of a case once it has been read: numbers that depend on its files alone, and what is wrong with it.

The numbers are kept by content (`FactsCache`); errors and warnings name the case and follow from the numbers, the record
and the classes, so they are never kept: they are judged anew (`judged`).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from medexp.data.checks import integrity, measure
from medexp.data.checks.measure import Foreground
from medexp.data.formats.scan import Scan
from medexp.data.parallel import Stop, attempt
from medexp.data.preparation import identity
from medexp.data.records import Record
from medexp.data.store.content import digest_of
from medexp.errors import Faults, UserError
from medexp.targets import IGNORED


@dataclass(frozen=True)
class CaseFacts:
    """Numbers of one case as its files hold it, before orientation and resampling; what is wrong with it.

    shape (voxels) and spacing (mm) of the spatial axes; shape is () where the case could not be read. pixels: hash of
    the image's values and shape. intensity: (min, max, mean, std) a channel, None for a channel that the case lacks
    (`missing`). foreground: a channel, None for one that is missing and without label map or foreground. classes: label
    value -> voxels, empty without label map. nonzero_fraction: share of voxels that are not 0 in every channel;
    nonzero_shape: shape of the box around them. label_shape: None without label map. label_offset: voxels that a corner
    of the label map lies off the image's. axes, label_axes: orientation codes, e.g. "RAS".
    """

    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    pixels: str = ""
    intensity: tuple[tuple[float, float, float, float] | None, ...] = ()
    foreground: tuple[Foreground | None, ...] = ()
    classes: dict[int, int] = field(default_factory=dict)
    nonzero_fraction: float = 0.0
    nonzero_shape: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    label_shape: tuple[int, ...] | None = None
    label_offset: float = 0.0
    axes: str = ""
    label_axes: str = ""
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def readable(self) -> bool:
        return bool(self.shape)

    def to_json(self) -> dict[str, Any]:
        """Numbers and texts that JSON knows."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> CaseFacts:
        """The facts that `to_json` wrote, also after JSON made lists of tuples. Raises KeyError, TypeError, ValueError."""
        tuples = ("shape", "spacing", "nonzero_shape", "missing")
        label_shape = content["label_shape"]
        return cls(
            **content
            | {key: tuple(content[key]) for key in tuples}
            | {
                "intensity": tuple(None if entry is None else tuple(entry) for entry in content["intensity"]),
                "foreground": tuple(
                    entry and Foreground(tuple(entry["quantiles"]), entry["mean"], entry["std"])
                    for entry in content["foreground"]
                ),
                "classes": {int(value): count for value, count in content["classes"].items()},
                "label_shape": None if label_shape is None else tuple(label_shape),
            }
        )


def facts_of(record: Record, image: Scan, label: Scan | None, classes: Sequence[str], target: str) -> CaseFacts:
    """All facts of a case that was read (image as `read_image`, label as `read_label` gives it); nothing is raised."""
    return judged(record, measured(image, label), classes, target)


def judged(record: Record, facts: CaseFacts, classes: Sequence[str], target: str) -> CaseFacts:
    """The facts with the errors and warnings of this record; those of a case that could not be read stay."""
    if not facts.readable:
        return facts
    found = integrity.faults(record, facts, classes, target)
    return replace(facts, errors=found, warnings=integrity.suspicions(record, facts))


def measured(image: Scan, label: Scan | None) -> CaseFacts:
    """The numbers of an image (C, *spatial) and its label map (*spatial): what depends on no record and no class names."""
    array = np.ascontiguousarray(image.array)
    shape, present = array.shape[1:], [i for i in range(len(array)) if i not in image.missing]
    share, box = measure.nonzero_box(array, present)
    facts = CaseFacts(
        shape=tuple(map(int, shape)),
        spacing=tuple(map(float, image.spacing)),
        pixels=f"{'x'.join(map(str, array.shape))} {hashlib.blake2b(array.data, digest_size=16).hexdigest()}",
        intensity=tuple(measure.intensity(array[i].reshape(-1)) if i in present else None for i in range(len(array))),
        foreground=(None,) * len(array),
        nonzero_fraction=share,
        nonzero_shape=box,
        missing=tuple(image.missing),
        axes=measure.codes(image.affine),
    )
    if label is None:
        return facts
    counts, known = measure.counts(label.array), label.array
    if label.ignored:
        counts.pop(IGNORED, None)
        known = np.where(known == IGNORED, known.dtype.type(0), known)
    facts = replace(
        facts,
        classes=counts,
        label_shape=tuple(map(int, label.array.shape)),
        label_offset=measure.displacement(image.affine, label.affine, shape),
        label_axes=measure.codes(label.affine),
    )
    if facts.label_shape != facts.shape:
        return facts
    return replace(facts, foreground=measure.foreground(array, known, present))


@cache
def code_version() -> str:
    """Hash of the code that reads and measures a case: facts of another version are not taken for ours."""
    rooms = ("checks.facts", "checks.measure", "images", "records", "formats", "preparation.prepare")
    return identity.code_version(*(f"medexp.data.{room}" for room in rooms))


class FactsCache:
    """Facts by key (content and reading options of a case) below a folder; a file each, whole or not there.

    Several threads and processes may share it: both write the same. What is damaged counts as absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        name = digest_of(code_version(), key)
        return self.folder / name[:2] / f"{name}.json"

    def get(self, key: str) -> CaseFacts | None:
        try:
            content = json.loads(self.path(key).read_text(encoding="utf-8"))
            text = content["facts"]
            return CaseFacts.from_json(json.loads(text)) if content["digest"] == digest_of(text) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, facts: CaseFacts) -> None:
        """Keeps the numbers; errors and warnings belong to a record. Raises Stop where the disk does not take them."""
        text = json.dumps(replace(facts, errors=[], warnings=[]).to_json(), allow_nan=False)
        path = self.path(key)
        part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_text(json.dumps({"digest": digest_of(text), "facts": text}), encoding="utf-8")
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise Stop(f"cache_dir: cannot write to {self.folder} ({error.strerror}); set MEDEXP_CACHE") from None


def gather(
    records: Sequence[Record],
    examine: Callable[[Record], CaseFacts],
    *,
    judge: Callable[[Record, CaseFacts], CaseFacts] | None = None,
    cache: FactsCache | None = None,
    key_of: Callable[[Record], str] | None = None,
) -> dict[str, CaseFacts]:
    """Facts by case id, in the order of the records, read in parallel with a progress bar.

    examine: reads a case (`measured` or `facts_of`); the UserError that it raises becomes the case's errors. judge: what
    gives facts from the cache the errors and warnings of their record (`judged`). key_of: content and reading options;
    where it raises OSError or UserError the case is read without the cache. Raises Stop where that cannot be written.
    """

    def one(record: Record) -> CaseFacts:
        key = ""
        if cache is not None and key_of is not None:
            with suppress(OSError, UserError):  # a file that cannot be hashed: reading it says why
                key = key_of(record)
        known = cache.get(key) if cache is not None and key else None
        try:
            facts = known or examine(record)
        except Stop:
            raise
        except UserError as error:
            return CaseFacts(errors=error.problems if isinstance(error, Faults) else [str(error)])
        if known is None and cache is not None and key:
            cache.put(key, facts)
        return judge(record, facts) if judge is not None else facts

    outcomes, _ = attempt(records, one, "checking cases")
    return {record.case_id: facts for record, facts in zip(records, outcomes, strict=True) if facts is not None}
