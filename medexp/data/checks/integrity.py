"""What is wrong with a case that reads well, and with cases that are each sound on their own. Nothing is ever repaired.

Everything here follows from records and facts (medexp/data/facts.py); no file is opened.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medexp.data.formats.picture import PICTURES, TIFF
from medexp.data.images import suffix
from medexp.data.records import Box, Record
from medexp.data.splits.make import Split, check_split
from medexp.data.splits.unlabelled import learnt_with
from medexp.data.targets import encode
from medexp.errors import Faults, UserError
from medexp.targets import KINDS

if TYPE_CHECKING:
    from medexp.data.checks.facts import CaseFacts

DISPLACED = 0.1  # voxels that a corner of the label may lie off the image's
CONSTANT, EMPTY = "every voxel has the same value", "the label map is empty (background only)"
LACKING, THIN, TWINS = "has no image", "is as thin as a line", "the same image is in"
WARNINGS = {
    "constant image": CONSTANT,
    "empty label map": EMPTY,
    "missing modality": LACKING,
    "thin box": THIN,
}  # of warnings: what they say
PLACELESS = (
    "",
    ".npz",
    *PICTURES,
    *TIFF,
)  # a label map of these kinds (a folder of masks is one) lies nowhere in space
AXES = ("row", "column", "slice")  # of a box
KEPT_FIRST = ("test", "val", "train")  # whose copy of an image stays where it is in several parts


def faults(record: Record, facts: CaseFacts, classes: Sequence[str], target: str) -> list[str]:
    """What makes a readable case unusable: its label map, its boxes, its class."""
    found = _label_faults(record, facts, classes) if facts.label_shape is not None else []
    found += box_faults(record, facts.shape)
    if KINDS[target].encoded:
        try:
            encode(record, classes, target)
        except UserError as error:
            found.append(str(error))
    return found


def suspicions(record: Record, facts: CaseFacts) -> list[str]:
    """What is allowed but seldom meant: constant channels, label maps without any foreground, boxes as thin as a line."""
    found = []
    flat = [i for i, entry in enumerate(facts.intensity) if entry is not None and entry[0] == entry[1]]
    if flat:
        path = record.images[flat[0]] if len(record.images) > 1 else record.images[0]
        which = f" in channel {', '.join(map(str, flat))}" if len(facts.intensity) > 1 else ""
        found.append(f"case {record.case_id}: {path}: {CONSTANT}{which}")
    if facts.label_shape is not None and not any(facts.classes.keys() - {0}):
        found.append(f"case {record.case_id}: {record.label}: {EMPTY}")
    if facts.missing:
        lacked = ", ".join(map(str, facts.missing))
        found.append(f"case {record.case_id}: {LACKING} for channel {lacked}; it is filled with zeros")
    for number, box in enumerate(record.boxes or (), start=1):
        if not _box_fault(box, facts.shape) and any(b - a <= 1 for a, b in zip(box.lower, box.upper, strict=True)):
            found.append(f"case {record.case_id}: {record.files[0]}: box {number} '{box.name}' {THIN}")
    return found


def _label_faults(record: Record, facts: CaseFacts, classes: Sequence[str]) -> list[str]:
    where = f"case {record.case_id}: {record.label}: "
    shape, label_shape = facts.shape, facts.label_shape or ()
    if label_shape != shape:
        turned = label_shape != shape and sorted(label_shape) == sorted(shape)
        hint = "its axes stand in another order; turn it" if turned else "resample one onto the other"
        return [f"{where}label shape {label_shape} differs from image shape {shape}; {hint}"]
    found = []
    if facts.label_offset > DISPLACED and _placed(record):
        turned = facts.axes != facts.label_axes
        why = f"image {facts.axes}, label {facts.label_axes}" if turned else "affines differ"
        found.append(f"{where}label lies {facts.label_offset:.1f} voxels off the image ({why}); mend or resample it")
    outside = {value: count for value, count in sorted(facts.classes.items()) if not 0 <= value < len(classes)}
    if outside:
        listed = ", ".join(f"{value} ({count} voxels)" for value, count in list(outside.items())[:5])
        listed += f" and {len(outside) - 5} more" if len(outside) > 5 else ""
        allowed = f"0..{len(classes) - 1} (dataset.classes: {', '.join(map(str, classes))})"
        found.append(f"{where}label values {listed} are outside of {allowed}")
    return found


def _placed(record: Record) -> bool:
    """Whether image and label map both say where they lie; a folder of images is DICOM, which does."""
    image, label = record.files[0], record.label

    def kind(path: Path) -> str:
        return suffix(path) or path.suffix.lower()

    return label is not None and kind(label) not in PLACELESS and (not kind(image) or kind(image) not in PLACELESS)


def box_faults(record: Record, shape: Sequence[int]) -> list[str]:
    """Boxes that are no boxes of this image: which one, which side, by how much. shape: of the spatial axes."""
    found = []
    for number, box in enumerate(record.boxes or (), start=1):
        wrong = _box_fault(box, shape)
        if wrong:
            path = record.files[0] if record.files else ""
            found.append(f"case {record.case_id}: {path}: box {number} '{box.name}' {wrong}")
    return found


def _box_fault(box: Box, shape: Sequence[int]) -> str:
    if not len(box.lower) == len(box.upper) == len(shape):
        return f"has {len(box.lower)} axes, the image {len(shape)}"
    if not all(map(math.isfinite, (*box.lower, *box.upper))):
        return f"is not finite: {box.lower} to {box.upper}"
    wrong = []
    for axis, lower, upper, size in zip(AXES, box.lower, box.upper, shape, strict=False):
        if upper <= lower:
            wrong.append(f"ends at {axis} {upper:g}, where or before it begins ({lower:g})")
        if lower < 0:
            wrong.append(f"begins {-lower:g} before the first {axis}")
        if upper > size:
            wrong.append(f"ends {upper - size:g} beyond the last {axis} of {size}")
    if not wrong and all(upper - lower <= 1 for lower, upper in zip(box.lower, box.upper, strict=True)):
        place = ", ".join(f"{axis} {lower:g}" for axis, lower in zip(AXES, box.lower, strict=False))
        wrong.append(f"is a single pixel ({place}): its corners coincide")
    return "; ".join(wrong)


def twins(facts: Mapping[str, CaseFacts]) -> list[list[str]]:
    """Groups of case ids whose images are identical voxel by voxel. Constant images, for which that means nothing
    (an empty slice is like any other), are left to `suspicions`."""
    same: dict[str, list[str]] = defaultdict(list)
    for case, known in facts.items():
        if known.readable and any(entry is not None and entry[0] < entry[1] for entry in known.intensity):
            same[known.pixels].append(case)
    return [cases for cases in same.values() if len(cases) > 1]


def check_across(split: Split, facts: Mapping[str, CaseFacts], records: Iterable[Record]) -> list[str]:
    """Errors of a split: a patient, or one image under several names, in two parts."""
    found = []
    try:
        check_split(split, records)
    except Faults as error:
        found += error.problems
    part_of = {case: learnt_with(part) for part, cases in split.items() for case in cases}
    for cases in twins(facts):
        parts = {part_of[case] for case in cases if case in part_of}
        if len(parts) > 1:
            named = ", ".join(f"{case} ({part_of[case]})" for case in cases if case in part_of)
            found.append(f"cases {named}: {TWINS} {len(parts)} parts of the split")
    return found


def superfluous(split: Split, facts: Mapping[str, CaseFacts]) -> dict[str, str]:
    """Case id -> reason, of the cases to leave out so that no image is in two parts: the test split stays whole."""
    part_of = {case: learnt_with(part) for part, cases in split.items() for case in cases}
    out: dict[str, str] = {}
    for cases in twins(facts):
        cases = [case for case in cases if case in part_of]
        kept = next((part for part in KEPT_FIRST if part in {part_of[case] for case in cases}), None)
        first = next((case for case in cases if part_of[case] == kept), "")
        out |= {
            case: f"the same image as case {first} of {kept}, here in {part_of[case]}"
            for case in cases
            if part_of[case] != kept
        }
    return out


def repeated(split: Split, facts: Mapping[str, CaseFacts]) -> list[str]:
    """Warnings: one image under several names within a part."""
    part_of = {case: part for part, cases in split.items() for case in cases}
    groups = ([case for case in cases if part_of.get(case) == part] for cases in twins(facts) for part in split)
    return [f"cases {', '.join(cases)}: hold the same image" for cases in groups if len(cases) > 1]


def classes_of(record: Record, facts: CaseFacts, classes: Sequence[str], target: str) -> set[int]:
    """Indices of the classes that a case has (beside the background of a label map); empty where it has a fault."""
    if KINDS[target].label_map:
        return {value for value in facts.classes if 0 < value < len(classes)}
    if not KINDS[target].of_classes:
        return set()
    try:
        encoded = encode(record, classes, target)
    except UserError:
        return set()
    if target == "boxes":
        return set(encoded[:, -1].int().tolist()) if len(encoded) else set()
    return set(encoded.nonzero().flatten().tolist()) if target == "multilabel" else {int(encoded.item())}


def class_counts(
    split: Split, facts: Mapping[str, CaseFacts], records: Iterable[Record], classes: Sequence[str], target: str
) -> dict[str, dict[str, int]]:
    """Class name -> {part: cases that have it}, in the order of `classes`."""
    by_case = {record.case_id: record for record in records}
    if not KINDS[target].of_classes:
        return {}
    table = {str(name): dict.fromkeys(split, 0) for name in classes[1 if KINDS[target].label_map else 0 :]}
    for part, cases in split.items():
        for case in filter(facts.__contains__, cases):
            for index in classes_of(by_case[case], facts[case], classes, target):
                table[str(classes[index])][part] += 1
    return table


def class_warnings(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Classes that no case has, or that a part of the split has no case of."""
    found = []
    for name, parts in counts.items():
        empty = [part for part, count in parts.items() if not count]
        if len(empty) == len(parts):
            found.append(f"class {name}: no case has it; mend dataset.classes, or leave it out")
        elif empty:
            have = ", ".join(f"{part} {count}" for part, count in parts.items() if count)
            found.append(f"class {name}: no case in {' and '.join(empty)} (cases: {have})")
    return found
