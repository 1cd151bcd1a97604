"""A whole data set, looked at before training: every case read, the split held against it, errors and warnings together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medexp.data.checks import integrity
from medexp.data.checks.facts import CaseFacts, FactsCache, gather, judged, measured
from medexp.data.checks.outliers import outliers
from medexp.data.images import read_region
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.splits.make import Split
from medexp.data.store.content import Contents, digest_of
from medexp.errors import UserError
from medexp.targets import KINDS


@dataclass
class Findings:
    """What a check found. errors: all of them; bad: the cases that --exclude-bad leaves out, with the reason;
    remaining: errors that leaving those out does not mend. warnings: by kind. classes: class -> {part: cases}.
    """

    facts: dict[str, CaseFacts]
    split: Split
    errors: list[str] = field(default_factory=list)
    remaining: list[str] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)


def survey(
    records: Sequence[Record], preparation: Preparation, classes: Sequence[str], target: str, folder: Path | None
) -> dict[str, CaseFacts]:
    """Facts of every case, read to its last byte. folder: where facts are kept by content; None reads everything anew."""
    mask = KINDS[target].label_map

    def examine(record: Record) -> CaseFacts:
        image, label = preparation.read(record, with_label=mask)
        region = read_region(record, spatial_dims=preparation.spatial_dims)
        if region is not None and region.shape != image.array.shape[1:]:
            seen = f"field of view {region.shape} differs from image shape {image.array.shape[1:]}"
            raise UserError(f"case {record.case_id}: {record.region}: {seen}; resample one onto the other")
        return measured(image, label)

    contents = None if folder is None else Contents(folder)
    reading = [preparation.spatial_dims, preparation.in_channels, preparation.windows, preparation.label_values, mask]
    options = json.dumps(reading, default=list)
    found = gather(
        records,
        examine,
        judge=lambda record, facts: judged(record, facts, classes, target),
        cache=None if folder is None else FactsCache(folder / "facts"),
        key_of=None if contents is None else lambda record: digest_of(contents.of(record, label=mask), options),
    )
    if contents is not None:
        contents.save()
    return found


def findings(
    records: Sequence[Record], facts: dict[str, CaseFacts], split: Split, classes: Sequence[str], target: str
) -> Findings:
    """All errors and warnings of the cases, and of the split, which may leave cases out."""
    found = Findings(facts, split)
    for record in records:
        known = facts[record.case_id]
        found.errors += known.errors
        if known.errors:
            found.bad[record.case_id] = "; ".join(known.errors).removeprefix(f"case {record.case_id}: ")
        for warning in known.warnings:
            kind = next((kind for kind, words in integrity.WARNINGS.items() if words in warning), "other")
            found.warnings.setdefault(kind, []).append(warning)
    sound = {case: known for case, known in facts.items() if not known.errors}
    doubled = integrity.check_across(split, sound, records)
    found.errors += doubled
    found.bad |= integrity.superfluous(split, sound)
    found.remaining += [text for text in doubled if integrity.TWINS not in text]
    found.classes = integrity.class_counts(split, sound, records, classes, target)
    for kind, texts in (
        ("same image twice", integrity.repeated(split, sound)),
        ("class", integrity.class_warnings(found.classes) if any(split.values()) else []),
        ("outlier", outliers(sound)),
    ):
        if texts:
            found.warnings[kind] = texts
    return found


def given_split(records: Sequence[Record]) -> Split:
    """The parts that records name themselves: what is left where no split can be drawn."""
    return {part: [r.case_id for r in records if r.split == part] for part in ("train", "val", "test")}
