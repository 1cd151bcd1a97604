"""`medexp cache`: what the store of prepared cases holds; verify it; remove what nobody asks for any more."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from medexp.errors import Faults, UserError

DAY = 86400.0  # seconds


@dataclass(frozen=True)
class Held:
    """A file of the store. name: its data set; current: made by this version of medexp; used: seconds since the epoch."""

    path: Path
    name: str
    size: int
    used: float
    current: bool
    fault: str = ""


def cache(action: str, older_than: float | None, everything: bool, folder: Path | None = None) -> int:
    """Lists, verifies or prunes. Returns 0; raises Faults where entries are damaged."""
    from medexp.data.store.entries import Store

    root = folder or default()
    place = root / "cases"
    if not place.is_dir():
        _say(f"the store is empty: {place}")
        return 0
    store = Store(place)
    held = [look(path) for path in store.files()]
    facts = sorted((root / "facts").glob("??/*.json"))  # what `check` and `plan` know of files, by content
    if action == "verify":
        return verify(held)
    if action == "prune":
        return prune(held, store.leftovers(), facts, older_than, everything)
    show(held, facts, place)
    return 0


def default() -> Path:
    """Where the config puts the store."""
    from medexp.config import compose

    cfg = compose.compose([])
    return Path(str(cfg.dataset.store)).expanduser().absolute()


def look(path: Path) -> Held:
    from medexp.data.store.entries import Damaged, open_entry
    from medexp.data.store.keep import made_by

    stat = path.stat()
    try:
        facts = open_entry(path).facts
        return Held(path, str(facts["of"]), stat.st_size, stat.st_mtime, facts["by"] == made_by())
    except (OSError, Damaged, ValueError, KeyError) as error:
        return Held(path, "?", stat.st_size, stat.st_mtime, False, str(error) or type(error).__name__)


def show(held: list[Held], facts: list[Path], place: Path) -> None:
    """A table: a row a data set."""
    from rich.console import Console
    from rich.table import Table

    from medexp.data.store.keep import in_bytes

    table = Table("data set", "cases", "size", "last used", "of older code", title=str(place), title_justify="left")
    groups: dict[str, list[Held]] = defaultdict(list)
    for entry in held:
        groups[entry.name].append(entry)
    for name, entries in sorted(groups.items()):
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(entry.used for entry in entries)))
        old = sum(not entry.current for entry in entries)
        table.add_row(name, str(len(entries)), in_bytes(sum(entry.size for entry in entries)), used, str(old))
    table.add_section()
    noted = sum(path.stat().st_size for path in facts)
    table.add_row("facts of checked cases", str(len(facts)), in_bytes(noted), "", "")
    table.add_row("all", "", in_bytes(noted + sum(entry.size for entry in held)), "", "")
    Console(highlight=False).print(table)


def verify(held: list[Held]) -> int:
    """Every entry read to its last byte. Raises Faults naming those that are damaged."""
    from medexp.data.parallel import attempt
    from medexp.data.store.entries import verify_entry

    outcomes, _ = attempt(held, lambda entry: verify_entry(entry.path), "verifying")
    broken = [f"{entry.path}: {fault}" for entry, fault in zip(held, outcomes, strict=True) if fault]
    if broken:
        raise Faults(f"{len(broken)} of {len(held)} entries are damaged; remove them: medexp cache prune", broken)
    _say(f"{len(held)} entries are sound")
    return 0


def prune(
    held: list[Held], leftovers: list[Path], facts: list[Path], older_than: float | None, everything: bool
) -> int:
    """Removes what is damaged, half written, made by other versions of medexp, or not used for `older_than` days; facts
    by their age alone."""
    from medexp.data.parallel import attempt
    from medexp.data.store.entries import verify_entry
    from medexp.data.store.keep import in_bytes

    if older_than is not None and older_than < 0:
        raise UserError(f"--older-than: {older_than:g} is less than 0 days")
    limit = 0.0 if older_than is None else time.time() - older_than * DAY
    gone = [entry for entry in held if everything or not entry.current or entry.used < limit]
    leaving = {entry.path for entry in gone}
    rest = [entry for entry in held if entry.path not in leaving]
    faults, _ = attempt(rest, lambda entry: verify_entry(entry.path), "verifying")
    gone += [entry for entry, fault in zip(rest, faults, strict=True) if fault]
    old = [path for path in facts if everything or path.stat().st_mtime < limit]
    size = sum(entry.size for entry in gone) + sum(path.stat().st_size for path in leftovers + old)
    for path in [entry.path for entry in gone] + leftovers + old:
        path.unlink(missing_ok=True)
    half = f"{len(leftovers)} half-written files and facts of {len(old)} files"
    _say(f"removed {len(gone)} of {len(held)} entries, {half}: {in_bytes(size)}")
    return 0


def _say(line: str) -> None:
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(line, markup=False)
