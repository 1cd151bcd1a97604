"""Folders of volumes, one file a channel, found by patterns such as "{case}/FLAIR_*.nii.gz"."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medexp.data.images import SUFFIXES, suffix
from medexp.data.records import Record
from medexp.data.sources.folders import inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)
PLACEHOLDERS = ("case", "patient")
Names = tuple[tuple[str, str], ...]  # what stood in a file's placeholders


@dataclass(frozen=True)
class Pattern:
    """A path below the root with placeholders: {case} and {patient} stand for a name (the same one where they recur; as
    short as the rest of the pattern allows), `*` for anything, neither for a "/". key: the option, for messages."""

    key: str
    text: str

    def check(self, root: Path) -> None:
        """Raises UserError where this is no pattern."""
        inside(root, self.text, self.key)
        left = self.text
        for name in PLACEHOLDERS:
            left = left.replace(f"{{{name}}}", "")
        if "{" in left or "}" in left:
            raise UserError(f"{self.key}: '{self.text}' has a placeholder that is neither {{case}} nor {{patient}}")
        if "**" in left:
            raise UserError(f"{self.key}: '{self.text}' has **; write a * for each folder on the way")
        if "{case}" not in self.text:
            raise UserError(f"{self.key}: '{self.text}' has no {{case}}, so files cannot be told apart")

    def files(self, root: Path) -> dict[Names, list[Path]]:
        """Readable files that match, by what stands in the placeholders."""
        found: dict[Names, list[Path]] = {}
        for names, path in _walk(root, self.text.split("/"), {}):
            found.setdefault(tuple(sorted(names.items())), []).append(path)
        return found


def _walk(folder: Path, segments: Sequence[str], names: Mapping[str, str]) -> Iterator[tuple[dict[str, str], Path]]:
    regex, last = _regex(segments[0], names), len(segments) == 1
    for entry in sorted(folder.iterdir()):
        match = None if entry.name.startswith(".") else regex.fullmatch(entry.name)
        if match is None:
            continue
        known = {**names, **match.groupdict()}
        if last and entry.is_file() and suffix(entry):
            yield known, entry
        elif not last and entry.is_dir():
            yield from _walk(entry, segments[1:], known)


def _regex(segment: str, names: Mapping[str, str]) -> re.Pattern[str]:
    parts, seen = [], set()
    for part in re.split(r"(\*|\{case\}|\{patient\})", segment):
        name = part.strip("{}")
        if part == "*":
            parts.append("[^/]*")
        elif part in ("{case}", "{patient}"):
            parts.append(
                re.escape(names[name]) if name in names else f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)"
            )
            seen.add(name)
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts))


def records(
    root: Path,
    *,
    images: str | Sequence[str] = "{case}.nii.gz",
    label: str | None = None,
    allow_missing: bool = False,
    allow_unlabelled: bool = False,
    with_unlabelled: bool = False,
) -> list[Record]:
    """A record for everything that {case} (with {patient}: <patient>_<case>) stands for in the patterns.

    images: a pattern, or a list, one a channel; files of every format that can be read count. label: pattern of the
    label maps. allow_missing: cases may lack channels (dataset.missing says what becomes of them). allow_unlabelled:
    cases without a label map are left out, and said in the log; without these options both are faults. with_unlabelled: they are
    listed, for something learns from them too.
    """
    need_folder(root)
    texts = [images] if isinstance(images, str) else list(images)
    if not texts:
        raise UserError("dataset.source.images: no pattern; give one for each channel")
    channels = [Pattern(f"dataset.source.images[{index}]", text) for index, text in enumerate(texts)]
    masks = None if label is None else Pattern("dataset.source.label", label)
    patterns = [*channels, *([masks] if masks else [])]
    for pattern in patterns:
        pattern.check(root)
        if ("{patient}" in pattern.text) != ("{patient}" in texts[0]):
            raise UserError(f"{pattern.key}: {{patient}} must stand in every pattern or in none")
    files = [pattern.files(root) for pattern in patterns]
    if not any(files[: len(channels)]):
        raise UserError(
            f"dataset.source.images: nothing below {root} matches {' or '.join(texts)} (known: {' '.join(SUFFIXES)})"
        )
    problems: list[str] = []
    found, unlabelled = [], []
    for names in sorted(set().union(*files)):
        case = "_".join(name for _, name in sorted(names, reverse=True))
        several = [
            f"case {case}: {len(each[names])} files match {pattern.text}: {', '.join(p.name for p in each[names])}"
            for pattern, each in zip(patterns, files, strict=True)
            if len(each.get(names, ())) > 1
        ]
        problems += [f"{line}; make the pattern narrower" for line in several]
        record = _record(names, case, files, len(channels))
        bare = masks is not None and record.label is None and bool(record.files)
        if bare and allow_unlabelled and not with_unlabelled:
            unlabelled.append(case)
            continue
        lacking = [pattern.text for pattern, path in zip(channels, record.images, strict=True) if path is None]
        problems += _lacking(record, lacking, allow_missing, None if with_unlabelled else masks)
        found.append(record)
    if problems:
        raise Faults(f"{len(problems)} faults in {root}", problems)
    if unlabelled:
        log.info("%s: %d cases have no label map and are left out (e.g. %s)", root.name, len(unlabelled), unlabelled[0])
    return sorted_unique(found, root)


def _record(names: Names, case: str, files: Sequence[Mapping[Names, list[Path]]], channels: int) -> Record:
    paths = [each[names][0] if names in each else None for each in files]
    label = paths[channels] if len(paths) > channels else None
    return Record(case, tuple(paths[:channels]), label, patient_id=dict(names).get("patient", ""))


def _lacking(record: Record, lacking: list[str], allow_missing: bool, masks: Pattern | None) -> list[str]:
    """Faults of a case by what it has no file for."""
    where = f"case {record.case_id}: "
    if not record.files:
        return [f"{where}{record.label}: a label map without any image"]
    hint = "mend it, or set dataset.missing=zero or drop"
    found = [] if allow_missing else [f"{where}no file matches {text}; {hint}" for text in lacking]
    if masks is not None and record.label is None:
        hint = "mend it, or set dataset.source.allow_unlabelled=true to leave such cases out"
        found.append(f"{where}no label map matches {masks.text}; {hint}")
    return found
