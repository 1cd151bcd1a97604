"""What is wrong with cases that have been prepared, as their records name them, and across the split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medexp.data.checks.facts import CaseFacts, judged
from medexp.data.checks.integrity import check_across
from medexp.data.records import Record
from medexp.data.splits.unlabelled import UNLABELLED
from medexp.data.store.entries import Kept
from medexp.errors import Faults

NO_LABEL = "image"  # the kind of target (medexp/targets.py) that asks for nothing but images


def judge(
    parts: Mapping[str, Sequence[Record]], kept: Mapping[str, Kept], classes: Sequence[str], target: str, root: Path
) -> list[str]:
    """The warnings on cases by part of the split; kept: by case id. Of cases without a label none is missed. Raises Faults."""
    facts = {
        record.case_id: judged(
            record,
            CaseFacts.from_json(kept[record.case_id].facts["case"]),
            classes,
            NO_LABEL if part == UNLABELLED else target,
        )
        for part, records in parts.items()
        for record in records
    }
    records = [record for part in parts.values() for record in part]
    problems = [error for fact in facts.values() for error in fact.errors]
    problems += check_across({part: [r.case_id for r in each] for part, each in parts.items()}, facts, records)
    if problems:
        raise Faults(f"{len(problems)} faults in {len(records)} cases of {root}", problems)
    return [warning for fact in facts.values() for warning in fact.warnings]
