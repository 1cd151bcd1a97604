"""`medexp fetch`: named data sets, downloaded where their terms allow it; of the others, where and how to get them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table

from medexp.config import compose, paths
from medexp.data.fetching.about import About, read_about
from medexp.data.fetching.download import size
from medexp.data.fetching.obtain import holds_data, obtain
from medexp.data.progress import track
from medexp.errors import Faults, UserError, nearest

WIDE = 160  # columns of a table that goes to a file


@dataclass(frozen=True)
class Named:
    """A named data set. root: None where the leaf leaves it to the user."""

    name: str
    what: str
    root: Path | None
    about: About

    @property
    def here(self) -> bool:
        return self.root is not None and holds_data(self.root)

    @property
    def check(self) -> str:
        """The command that reads every case: with an experiment of this data set, else of itself."""
        for name, leaf in paths.options("experiment").items():
            if re.search(rf"(?m)^ *- override /dataset: {re.escape(self.name)}$", leaf.read_text(encoding="utf-8")):
                return f"medexp check experiment={name}"
        return f"medexp check dataset={self.name}"


def fetch(names: list[str], root: str | None = None, keep: bool = False) -> int:
    """Gets each data set of conf/dataset by its name; without a name, prints what there is. Returns the exit code.

    root: in place of the leaf's own (of one data set). keep: archives stay beside the root. A data set that cannot be had
    does not keep the others from being fetched. Raises UserError or Faults in the end.
    """
    console = Console(highlight=False, soft_wrap=True)
    if not names:
        _print_table(root)
        return 0
    if root is not None and len(set(names)) > 1:
        raise UserError(f"fetch: --root is of one data set, not of {len(set(names))}; fetch them one by one")
    chosen = [named(name, root) for name in dict.fromkeys(names)]
    problems: list[UserError] = []
    for data in chosen:
        try:
            _one(data, root, keep, lambda line: console.print(line, markup=False))
        except UserError as problem:
            problems.append(problem)
        except KeyboardInterrupt:
            console.print(f"interrupted; the same command goes on with {data.name} from here", markup=False)
            return 130
    if len(problems) > 1:
        raise Faults(
            f"{len(problems)} of {len(chosen)} data sets are not here yet", [str(problem) for problem in problems]
        )
    if problems:
        raise problems[0]
    return 0


def named(name: str, root: str | None = None) -> Named:
    """A named data set. Raises UserError for a leaf that does not exist, describes a kind of data, or says nonsense of itself."""
    leaf = paths.options("dataset").get(name)
    if leaf is None:
        known = list(paths.options("dataset"))
        raise UserError(f"fetch: no data set '{name}'{nearest(name, known) or ';'} {_known()}")
    found = _load(name, leaf, root)
    if found is None:
        what = "describes a kind of data, not a data set that can be fetched (no `about`)"
        raise UserError(f"fetch: dataset={name} {what}; {_known()}")
    return found


def all_named(root: str | None = None) -> tuple[list[Named], list[str]]:
    """Every named data set, and what is wrong with leaves that cannot be read."""
    found: list[Named] = []
    problems: list[str] = []
    leaves = {name: leaf for name, leaf in paths.options("dataset").items() if _tells(leaf)}
    for name, leaf in track(leaves.items(), len(leaves), "reading conf/dataset"):
        try:
            if data := _load(name, leaf, root):
                found.append(data)
        except UserError as problem:
            problems.append(f"{leaf}: {problem}")
    return found, problems


def _load(name: str, leaf: Path, root: str | None) -> Named | None:
    """None for a leaf without `about`."""
    node = compose.compose([f"dataset={name}"]).dataset
    if node.get("about") is None:
        return None
    try:
        about = OmegaConf.to_container(node.about, resolve=True) if OmegaConf.is_config(node.about) else node.about
        own = None if OmegaConf.is_missing(node, "root") else node.root
    except OmegaConfBaseException as error:
        raise UserError(f"dataset={name}: {str(error).splitlines()[0]}; set it, or give --root") from None
    place = own if root is None else root
    where = None if place is None else Path(str(place)).expanduser().absolute()
    return Named(name, paths.summary(leaf), where, read_about(about, f"dataset={name}: about"))


def _tells(leaf: Path) -> bool:
    """Whether a leaf or one that it extends has `about`: from the text alone, which is fifty times faster than to compose."""
    try:
        text = leaf.read_text(encoding="utf-8")
        parents = (yaml.safe_load(text) or {}).get("defaults", [])
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return True  # composing it says what is wrong
    if re.search(r"(?m)^about:", text):
        return True
    group = next(root / "dataset" for root in paths.roots() if leaf.is_relative_to(root))
    for parent in parents:
        name = str(parent).split("@")[0]
        place = (
            Path(name).relative_to("/dataset")
            if name.startswith("/dataset/")
            else leaf.parent.relative_to(group) / name
        )
        files = [root / "dataset" / f"{place}.yaml" for root in paths.roots()]
        found = next((file for file in files if file.is_file() and file != leaf), None)
        if found and _tells(found):
            return True
    return False


def _known() -> str:
    known = [name for name, leaf in paths.options("dataset").items() if _tells(leaf)]
    return f"named data sets: {', '.join(known)}" if known else "there are no named data sets"


def _one(data: Named, root: str | None, keep: bool, say: Callable[[str], None]) -> None:
    about = data.about
    for line in (data.what, f"licence: {about.licence}", f"cite: {about.cite}", f"page: {about.page}"):
        say(line)
    if data.root is None:
        raise UserError(f"fetch {data.name}: dataset.root has no value; give --root FOLDER")
    if not about.files:
        _by_hand(data, say)
    elif obtain(about, data.root, keep, say):
        say(f"{data.name} is in {data.root}")
        if about.get:
            say(f"by hand, or more of it: {about.get}")
    own = "" if root is None else f" dataset.root={data.root}"
    say(f"next: {data.check}{own}")


def _by_hand(data: Named, say: Callable[[str], None]) -> None:
    """Raises UserError with the next move where the root holds nothing yet."""
    say(f"by hand: {data.about.get}")
    say(f"dataset.root: {data.root}")
    if not data.here:
        raise UserError(
            f"fetch {data.name}: its terms allow no direct download; get it from {data.about.page}, lay it out below "
            f"{data.root} as said above, then: {data.check}"
        )
    say(f"{data.root}: holds data already")


def _print_table(root: str | None) -> None:
    if root is not None:
        raise UserError("fetch: --root is of one data set; name it")
    found, problems = all_named()
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    table = Table("name", "what", "licence", "download", "how", "here", box=None, pad_edge=False)
    for data in found:
        bytes_ = "" if data.about.size is None else size(data.about.size)
        how = "direct" if data.about.files else "by hand"
        table.add_row(data.name, data.what, data.about.licence, bytes_, how, "yes" if data.here else "")
    console.print(table)
    if problems:
        raise Faults(f"{len(problems)} leaves of conf/dataset cannot be read", problems)
