"""BIDS folders: sub-*/[ses-*/]<datatype>/sub-*_[ses-*_][key-value_]..._<suffix>.nii.gz, label maps in derivatives.

Gorgolewski et al. 2016, Sci. Data 3:160044; bids-specification.readthedocs.io.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medexp.data.images import stem
from medexp.data.records import Record
from medexp.data.sources.folders import images_below, inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError, nearest

log = logging.getLogger(__name__)
Entities = Mapping[str, str | None]


@dataclass
class Findings:
    """What the search for files meets on its way. left_out: cases by what they lack."""

    problems: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """A session of a subject, "sub-01" and "ses-02" ("" where the subject has none)."""

    subject: str
    session: str

    @property
    def case_id(self) -> str:
        return "_".join(part for part in (self.subject, self.session) if part)

    def files(
        self, root: Path, end: str, datatype: str | None, findings: Findings
    ) -> list[tuple[Path, dict[str, str]]]:
        """Images whose names end in `end`, with the entities of their names."""
        folder = root / self.subject / self.session
        folders = [folder, *_folders(folder, but="ses-")] if datatype is None else [folder / datatype]
        paths = [path for each in folders if each.is_dir() for path in images_below(each)]
        found = []
        for path in (path for path in paths if stem(path).endswith(f"_{end}")):
            said = dict(part.split("-", 1) for part in stem(path).split("_") if "-" in part)
            if [said.get("sub"), said.get("ses", "")] != [self.subject[4:], self.session[4:]]:
                findings.problems.append(f"{path}: its name contradicts its folder ({self.case_id}); rename or move it")
            else:
                found.append((path, said))
        return found

    def one(
        self, root: Path, end: str, datatype: str | None, entities: Entities, strict: bool, findings: Findings
    ) -> tuple[Path, ...]:
        """The file of that suffix and those entities, or none; several are a fault."""
        found = self.files(root, end, datatype, findings)
        paths = tuple(path for path, said in found if _fit(said, entities, strict))
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            hint = "choose with dataset.source.entities={run: 1} or the like"
            findings.problems.append(f"case {self.case_id}: {len(paths)} files end in {end}: {names}; {hint}")
        return paths


def records(
    root: Path,
    *,
    suffix: str | Sequence[str] = "T1w",
    datatype: str | None = None,
    label: str | None = None,
    label_suffix: str = "dseg",
    target: str | None = None,
    entities: Mapping[str, str | int | None] | None = None,
    allow_missing: bool = False,
    allow_unlabelled: bool = False,
    with_unlabelled: bool = False,
    covariates: Sequence[str] = (),
) -> list[Record]:
    """A record a session (or subject without sessions); the patient is the participant.

    suffix: what an image's name ends in ("T1w"), or a list, one a channel. datatype: folder ("anat"); None: any.
    label: folder with the label maps ("derivatives/labels"), whose names end in `label_suffix`.
    target, covariates: columns of participants.tsv. entities: {"run": 1, "acq": None} chooses among several files (None: without).
    allow_missing: sessions may lack channels; those that lack all are left out. allow_unlabelled: sessions without a
    label map or target are left out. What is left out is said in the log; without these options it is a fault. with_unlabelled:
    they are listed, for something learns from them too.
    """
    need_folder(root)
    wanted = {key: None if value is None else str(value) for key, value in (entities or {}).items()}
    ends = [suffix] if isinstance(suffix, str) else list(suffix)
    labels = None if label is None else inside(root, label, "dataset.source.label")
    if labels is not None and not labels.is_dir():
        raise UserError(f"dataset.source.label: {labels} is not a folder; set it to one, or to null")
    findings = Findings()
    found: list[Record] = []
    for session in _sessions(root):
        matches = [session.one(root, end, datatype, wanted, True, findings) for end in ends]
        masks = None if labels is None else session.one(labels, label_suffix, None, wanted, False, findings)
        lacking = [end for end, paths in zip(ends, matches, strict=True) if not paths]
        if lacking == ends and allow_missing:
            findings.left_out.setdefault("image", []).append(session.case_id)
            continue
        if lacking and not allow_missing:
            hint = "mend it, or set dataset.missing=zero or drop"
            findings.problems.append(f"case {session.case_id}: has no image that ends in {', '.join(lacking)}; {hint}")
        if (
            masks == ()
            and not with_unlabelled
            and not _let_go(session.case_id, f"{label_suffix} label map", allow_unlabelled, findings)
        ):
            continue
        images = tuple(paths[0] if paths else None for paths in matches)
        found.append(Record(session.case_id, images, masks[0] if masks else None, patient_id=session.subject))
    if target is not None:
        known = _with_targets(found, root / "participants.tsv", target, allow_unlabelled or with_unlabelled, findings)
        if with_unlabelled:
            findings.left_out.pop(f"{target} in participants.tsv", None)
            targeted = {record.case_id: record for record in known}
            known = [targeted.get(record.case_id, record) for record in found]
        found = known
    if covariates:
        found = _with_covariates(found, root / "participants.tsv", covariates)
    if findings.problems:
        raise Faults(f"{len(findings.problems)} faults in {root}", findings.problems)
    for what, cases in findings.left_out.items():
        log.info("%s: %d cases have no %s and are left out (e.g. %s)", root.name, len(cases), what, cases[0])
    return sorted_unique(found, root)


def _let_go(case: str, what: str, allowed: bool, findings: Findings) -> bool:
    """Notes what a case lacks, as a fault or among those left out; always False."""
    if allowed:
        findings.left_out.setdefault(what, []).append(case)
    else:
        hint = "mend it, or set dataset.source.allow_unlabelled=true to leave such cases out"
        findings.problems.append(f"case {case}: has no {what}; {hint}")
    return False


def _folders(folder: Path, only: str = "", but: str = ".") -> list[Path]:
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    names = [entry for entry in entries if entry.name.startswith(only) and not entry.name.startswith((but, "."))]
    return [entry for entry in names if entry.is_dir()]


def _sessions(root: Path) -> list[Session]:
    """Raises UserError where there is no subject."""
    found = []
    for subject in _folders(root, only="sub-"):
        sessions = [Session(subject.name, entry.name) for entry in _folders(subject, only="ses-")]
        if not sessions or _folders(subject, but="ses-"):
            sessions.append(Session(subject.name, ""))
        found += sessions
    if not found:
        raise UserError(f"dataset.root: {root} has no folder sub-*; set dataset.root=PATH of a BIDS data set")
    return found


def _fit(said: Mapping[str, str], wanted: Entities, strict: bool) -> bool:
    """Whether the entities of a name are the wanted ones. One that the name lacks fits where it is wanted to be absent,
    and in a label map's name (not `strict`), which repeats only what it needs."""
    return all(_same(said[key], value) if key in said else value is None or not strict for key, value in wanted.items())


def _same(said: str, wanted: str | None) -> bool:
    if wanted is not None and said.isdigit() and wanted.isdigit():
        return int(said) == int(wanted)  # run-01 is run 1
    return said == wanted


def _with_targets(
    found: list[Record], path: Path, column: str, allow_unlabelled: bool, findings: Findings
) -> list[Record]:
    rows = _participants(path, column)
    targeted = []
    for record in found:
        value = rows.get(record.patient_id, "")
        if value in ("", "n/a"):
            _let_go(record.case_id, f"{column} in {path.name}", allow_unlabelled, findings)
        else:
            targeted.append(replace(record, target=value))
    return targeted


def _with_covariates(found: list[Record], path: Path, columns: Sequence[str]) -> list[Record]:
    each = {column: _participants(path, column, "dataset.covariates") for column in columns}
    return [
        replace(record, covariates={column: rows.get(record.patient_id) for column, rows in each.items()})
        for record in found
    ]


def _participants(path: Path, column: str, asked: str = "dataset.source.target") -> dict[str, str]:
    """participant_id to the value of a column. Raises UserError."""
    if not path.is_file():
        raise UserError(f"{asked}: {path}: no such table; it names the {column} of each participant")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if line]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); save it tab-separated in UTF-8") from None
    header, rows = [name.strip() for name in lines[0]] if lines else [], lines[1:]
    for key, name in (("dataset.root", "participant_id"), (asked, column)):
        if name not in header:
            hint = f"{nearest(name, header)}; columns: {', '.join(header)}"
            raise UserError(f"{key}: no column '{name}' in {path}{hint}")
    ragged = [
        f"row {n}: {len(row)} cells, the header has {len(header)}"
        for n, row in enumerate(rows, 2)
        if len(row) != len(header)
    ]
    names = [row[header.index("participant_id")].strip() for row in rows] if not ragged else []
    ragged += [f"{name}: stands twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if ragged:
        raise Faults(f"{len(ragged)} rows of {path} cannot be used", ragged)
    return {name: row[header.index(column)].strip() for name, row in zip(names, rows, strict=True)}
