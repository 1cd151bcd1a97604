"""Made-up cases among those of training: what a generative model has sampled, never in validation or test."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medexp.data.order import Mixed
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.sources.folders import inside
from medexp.data.sources.table import read_table
from medexp.data.store.entries import Kept
from medexp.data.store.keep import Keeper
from medexp.data.targets import encode
from medexp.errors import Faults, UserError, nearest
from medexp.targets import KINDS

log = logging.getLogger(__name__)
MANIFEST = "samples.csv"
COLUMNS = ("case_id", "file", "class", "seed")  # of the manifest; the last is of whoever made the case
LEARNT = ("image", "index", "binary", "ordinal")  # targets that such cases have: themselves, or one class
KEYS = ("root", "share")


@dataclass(frozen=True)
class Synthetic:
    """`dataset.synthetic`: a folder with images and the table samples.csv, as `medexp generate` writes it.

    share: of the draws of each epoch that are made-up cases, held exactly (rounded to a whole draw); every real case is
    drawn as often as without them, so an epoch is longer by these. target, classes: of the data set.
    """

    root: Path
    share: float
    target: str
    classes: Sequence[str]

    def records(self) -> list[Record]:
        """The cases that the table names, as synthetic_<case_id>. Raises UserError where it does not fit."""
        path = self.root / MANIFEST
        if not path.is_file():
            raise UserError(f"dataset.synthetic.root: {path} does not exist; give a folder that `medexp generate` made")
        try:
            table = read_table(path)
        except Faults as error:
            raise UserError(f"dataset.synthetic: {error.headline}, e.g. {error.problems[0]}") from None
        lacking = [name for name in COLUMNS if name not in table.columns]
        if lacking:
            raise UserError(f"dataset.synthetic: {path} has no column '{lacking[0]}'; it needs {', '.join(COLUMNS)}")
        rows = table.to_dict("records")
        found = [self._record(str(row["case_id"]), str(row["file"]), str(row["class"])) for row in rows]
        if twice := [case for case, count in Counter(table["case_id"]).items() if count > 1]:
            raise UserError(f"dataset.synthetic: {path} names case {twice[0]} twice; give each a case_id of its own")
        return found

    def _record(self, case: str, file: str, name: str) -> Record:
        path = inside(self.root, file, f"dataset.synthetic: {MANIFEST}: case {case}")
        if not path.is_file():
            raise UserError(
                f"dataset.synthetic: case {case}: {path} does not exist; make it again, or take out its row"
            )
        record = Record(f"synthetic_{case}", (path,), target=name or None)
        if KINDS[self.target].encoded:
            try:
                encode(record, self.classes, self.target)
            except UserError as error:
                raise UserError(f"dataset.synthetic: {self.root / MANIFEST}: {error}") from None
        return record

    def cases(
        self,
        keeper: Keeper,
        facts: Callable[[Record], dict[str, Any]],
        kept: Mapping[str, Kept],
        parts: Mapping[str, Sequence[Record]],
    ) -> list[tuple[dict[str, Any], Kept]]:
        """Each case's facts and prepared arrays, as those of the data set (`kept`, by case id) are. Raises UserError, in one line,
        where they cannot be read as such, have another size, or are images of validation or test."""
        records = self.records()
        try:
            found = keeper.keep(records, {record.case_id for record in records})
        except Faults as error:
            raise UserError(f"dataset.synthetic: {error.headline}, e.g. {error.problems[0]}") from None
        self._of_one_size(keeper, records, found, kept)
        unseen = {
            _pixels(kept[r.case_id]): r.case_id for part in ("val", "test") for r in parts[part] if r.case_id in kept
        }
        for record, case in zip(records, found, strict=True):
            if (real := unseen.get(_pixels(case))) is not None:
                raise UserError(
                    f"dataset.synthetic: {record.files[0]} is case {real} of validation or test; take it out"
                )
        log.info("%d synthetic cases of %s: %.3g of the draws", len(records), self.root, self.share)
        self._warn(records, sum(record.case_id in kept for record in parts["train"]), keeper.preparation)
        return [(facts(record), case) for record, case in zip(records, found, strict=True)]

    def _warn(self, records: Sequence[Record], real: int, preparation: Preparation) -> None:
        """Says where few stand for many, and where they show less than the data set does."""
        often = self.mixed(real, len(records)).draws / len(records)
        if often > 1.5:
            log.warning("dataset.synthetic: each of them is drawn %.1f times as often as a real case; make more", often)
        if (size := preparation.image_size) is None:
            return
        shape = preparation.read(records[0], with_label=False)[0].array.shape[1:]
        if any(own < wanted for own, wanted in zip(shape, size, strict=True)):
            own, wanted = ("x".join(map(str, sides)) for sides in (shape, size))
            log.warning("dataset.synthetic: images of %s are enlarged to %s", own, wanted)

    def _of_one_size(
        self, keeper: Keeper, records: Sequence[Record], found: Sequence[Kept], kept: Mapping[str, Kept]
    ) -> None:
        sizes = {case.shape("image") for case in kept.values() if "image" in case}
        if len(sizes) > 1 or keeper.preparation.image_size is not None:
            return  # the data set's own differ: patches are taken, or they are brought to one size
        (wanted,) = sizes
        for record, case in zip(records, found, strict=True):
            if case.shape("image") != wanted:
                seen = f"{record.files[0]} has {_words(case.shape('image'))} voxels, the data set {_words(wanted)}"
                raise UserError(f"dataset.synthetic: {seen}; make them in that size, or set dataset.image_size")

    def mixed(self, count: int, pool: int) -> Mixed:
        """How they are drawn among `count` real draws."""
        return Mixed(pool, max(round(count * self.share / (1 - self.share)), 1))


def made_up(options: Mapping[str, Any] | None, target: str, classes: Sequence[str]) -> Synthetic | None:
    """`dataset.synthetic` as it stands in a config. Raises UserError where its values are none, or the task needs more than
    images and a class."""
    if options is None:
        return None
    for key in options:
        if key not in KEYS:
            raise UserError(
                f"dataset.synthetic.{key}: no such key{nearest(key, list(KEYS)) or ';'} allowed: root, share"
            )
    root, share = options.get("root"), options.get("share")
    if not isinstance(root, str) or isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise UserError(f"dataset.synthetic: {dict(options)}; give {{root: FOLDER, share: 0.3}}, share between 0 and 1")
    if target not in LEARNT:
        what = f"has no target of the kind '{target}' (task.target)"
        raise UserError(
            f"dataset.synthetic: {what}: it holds images and a class each; set it to null, or learn classes"
        )
    return Synthetic(Path(root), float(share), target, classes)


def served(synthetic: Synthetic | None, *of_the_data_set: Any) -> dict[str, list[tuple[dict[str, Any], Kept]]]:
    """The part "synthetic" of the cases that are served, where there is one; the rest is what `Synthetic.cases` takes."""
    return {} if synthetic is None else {"synthetic": synthetic.cases(*of_the_data_set)}


def _pixels(case: Kept) -> str:
    return str(case.facts["case"]["pixels"])


def _words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape[1:]))
