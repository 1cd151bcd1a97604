"""Every case read, checked and prepared once, in parallel, and kept: in the store, or in memory."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medexp.data.checks.facts import CaseFacts
from medexp.data.formats.scan import Array, Scan
from medexp.data.parallel import Stop, attempt
from medexp.data.preparation.identity import code_version
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.store.content import Contents, digest_of
from medexp.data.store.entries import InMemory, Kept, Store
from medexp.data.store.pack import pack
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)
Packed = tuple[dict[str, Array], dict[str, Any]]


@dataclass
class Keeper:
    """Prepares records and keeps what came out.

    examine: what is known of a case once it is read; errors in it refuse the case. with_label: whether label maps are
    read. asked: what else the outcome depends on. folder: of the store and its digests; None keeps cases in memory.
    """

    preparation: Preparation
    examine: Callable[[Record, Scan, Scan | None], CaseFacts]
    with_label: bool
    asked: str = ""
    folder: Path | None = None
    name: str = ""  # of the data set, for `medexp cache`

    def keep(self, records: Sequence[Record], held: set[str]) -> list[Kept]:
        """The kept cases in order. Without a store the arrays of those not in `held` are let go again.

        Raises Faults with every case that cannot be used; what could be prepared stays in the store.
        """
        if self.folder is None:
            kept, faults = attempt(records, lambda record: self._in_memory(record, held), "reading cases")
            return _all(kept, faults, len(records))
        contents, store = Contents(self.folder), Store(self.folder / "cases")
        keys, faults = attempt(records, lambda record: self.key(record, contents), "looking through files")
        contents.save()
        found: dict[str | None, Kept | None] = {key: store.find(key) if key else None for key in keys}
        missing = {key: record for key, record in zip(keys, records, strict=True) if key and found[key] is None}
        if missing:
            made, more = self._prepare(store, list(missing.items()), len(found))
            found.update(zip(missing, made, strict=True))
            faults += more
        return _all([found[key] for key in keys], faults, len(records))

    def key(self, record: Record, contents: Contents) -> str:
        """Of a case: its content, and all that is done to it. Raises UserError where a file cannot be read."""
        try:
            content = contents.of(record, label=self.with_label)
        except OSError as error:
            what = f"cannot be read ({error.strerror or error})"
            raise UserError(f"case {record.case_id}: {error.filename}: {what}") from None
        return digest_of(content, self.preparation.identity(), made_by(), self.asked, str(self.with_label))

    def pack(self, record: Record) -> Packed:
        """One case, read, checked and prepared. Raises UserError."""
        image, label = self.preparation.read(record, with_label=self.with_label)
        facts = self.examine(record, image, label)
        if facts.errors:
            raise UserError("; ".join(facts.errors))
        arrays, known = pack(self.preparation.prepare(image, label))
        return arrays, {**known, "case": facts.to_json(), "of": self.name, "by": made_by()}

    def pack_image(self, record: Record) -> Packed:
        """A case of which nothing but the image is known. Raises UserError where it cannot be read."""
        whole = self.preparation if not self.preparation.hidden else replace(self.preparation, hidden=0)  # all is seen
        return pack(whole.prepare(whole.read(record, with_label=False)[0]))

    def _in_memory(self, record: Record, held: set[str]) -> Kept:
        arrays, facts = self.pack(record)
        return InMemory(arrays if record.case_id in held else {}, facts)

    def _prepare(
        self, store: Store, missing: list[tuple[str, Record]], total: int
    ) -> tuple[list[Kept | None], list[str]]:
        """Fills the store. What the first case takes tells what the others will; not begun where the disk is too small."""

        def make(entry: tuple[str, Record]) -> Kept:
            return store.ensure(entry[0], lambda: self.pack(entry[1]))

        first, faults = attempt(missing[:1], make, "preparing cases")
        size = store.path(missing[0][0]).stat().st_size if first[0] is not None else 0
        need, free = size * (len(missing) - 1), shutil.disk_usage(store.folder).free
        log.info(
            "preparing %d of %d cases once: about %s in %s, %s free",
            *(len(missing), total, in_bytes(size + need), store.folder, in_bytes(free)),
        )
        if need > free:
            raise Stop(
                f"dataset.store: about {in_bytes(need)} are needed in {store.folder}, {in_bytes(free)} are free; free "
                "some space (`medexp cache prune`), set MEDEXP_CACHE to another disk, or dataset.store=null"
            )
        rest, more = attempt(missing[1:], make, "preparing cases")
        return first + rest, faults + more


@cache
def made_by() -> str:
    """Version of all code that a kept case depends on: an entry of another version is not asked for again."""
    rooms = ("images", "records", "formats", "preparation", "store.pack", "checks.facts", "checks.measure")
    code = code_version(*(f"medexp.data.{room}" for room in rooms))
    return digest_of(code, version("monai"), version("torch"))


def _all(kept: list[Kept | None], faults: list[str], count: int) -> list[Kept]:
    if faults:
        raise Faults(f"{len(faults)} of {count} cases cannot be used", faults)
    return [case for case in kept if case is not None]  # without a fault each is there


def in_bytes(count: float) -> str:
    """1234567 as "1.23 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
