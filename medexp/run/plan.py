"""`medexp plan`: the fingerprint of the training cases, and from it a plan: an ordinary leaf, conf/plan/<name>.yaml."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from medexp.config import compose, paths
from medexp.errors import UserError
from medexp.run import folder
from medexp.run.suited import suited
from medexp.targets import KINDS

if TYPE_CHECKING:
    from medexp.data.planning.fingerprint import Fingerprint
    from medexp.data.planning.plan import Plan

AUTO = "plan=auto"
CLASSIFIER = {
    **{"task": "classification", "model": "resnet18", "loss": "cross_entropy"},
    **{"augmentation": "light", "inferer": "simple"},
}
MEMORY = 8.0  # GiB, as nnU-Net's plans; `medexp plan --memory` for another


def plan(overrides: list[str], memory: float = MEMORY, output: Path | None = None, force: bool = False) -> int:
    """Writes the plan for the data set that the overrides choose, and prints what it is made from.

    memory: GiB of the GPU. output: default conf/plan/<name>.yaml in the working directory, by the name of the data set.
    Raises UserError where the file is there already and not `force`, and for everything that is wrong with the data.
    """
    from rich.console import Console

    if any(word.startswith("plan=") for word in overrides):
        raise UserError("plan=: `medexp plan` makes a plan; leave it out, and give it to `medexp train`")
    path = output or Path("conf/plan") / f"{_name(overrides)}.yaml"
    if path.exists() and not force:
        raise UserError(
            f"{path}: is there already, perhaps edited; --force overwrites it, --output FILE writes another"
        )
    cfg = _config(overrides)
    from medexp.run import fingerprint_table  # imports torch: what does not compose is said before

    found, proposal = proposed(cfg, memory)
    use = shlex.join(["medexp", "train", *_recipe(overrides, cfg), f"plan={path.stem}"])
    made = shlex.join(["medexp", "plan", *overrides, "--memory", f"{memory:g}"])
    _write(path, leaf(found, proposal, f"{memory:g} GiB: {use}", made))
    numbers = Path(cfg["cache_dir"]) / "fingerprints" / f"{path.stem}.json"
    _write(numbers, json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n", "cache_dir")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(fingerprint_table.table(found, path.stem))
    console.print(path.read_text(encoding="utf-8").partition("defaults:")[2].partition("\ndataset:")[2].strip("\n"))
    console.print(f"plan: {path}; fingerprint: {numbers}")
    home = Path("conf/plan").absolute()
    console.print(use if path.absolute().parent == home else f"put it into conf/plan/, then: {use}")
    return 0


@contextmanager
def automatic(overrides: list[str]) -> Iterator[Path | None]:
    """For `plan=auto`: a folder that holds plan/auto.yaml, made from the training split of the run; None without it.

    The network is left alone where the overrides choose another one than DynUNet.
    """
    if AUTO not in overrides:
        yield None
        return
    rest = [word for word in overrides if word != AUTO]
    found, proposal = proposed(_config(rest), MEMORY)
    other = any(word.startswith("model=") and word != "model=dynunet" for word in rest)
    text = leaf(found, proposal, f"{MEMORY:g} GiB", "medexp train plan=auto", network=not other)
    with TemporaryDirectory(prefix="medexp_plan_") as place:
        path = Path(place) / "plan" / "auto.yaml"
        _write(path, text)
        _say(found, proposal)
        yield Path(place)


def _say(found: Fingerprint, proposal: Plan) -> None:
    """One line on stderr: nobody sees the leaf of plan=auto, but config.yaml of the run has its values."""
    from rich.console import Console

    values = ", ".join(f"{key} {_flow(value)}" for key, value in proposal.dataset.items() if key != "normalize")
    line = f"{AUTO}, from {found.cases} training cases: {values}"
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(line)


def proposed(cfg: dict[str, Any], memory: float) -> tuple[Fingerprint, Plan]:
    """Fingerprint and plan of a resolved config's data set, from its training split alone. Raises UserError."""
    from medexp import build
    from medexp.data.checks.survey import survey
    from medexp.data.planning.fingerprint import fingerprint
    from medexp.data.planning.plan import plan_classification, plan_segmentation

    if not memory > 0:
        raise UserError(f"--memory: {memory:g} is no positive number of GiB")
    data = build.datamodule(cfg)
    facts = survey(data.parts()["train"], data.preparation, data.classes, data.target, data.store)
    solid = cfg["dataset"]["spatial_dims"] == 3
    orientation = (cfg["dataset"].get("orientation") or "RAS") if solid else None  # one order of axes for all cases
    found = fingerprint(facts, data.classes, orientation)
    mask = KINDS[data.target].dense
    proposal = plan_segmentation(found, len(data.classes), memory) if mask else plan_classification(found, memory)
    if cfg["dataset"].get("windows"):  # windows scale to 0..1 by themselves, whatever the data set
        del proposal.dataset["normalize"]
    return found, proposal


def _config(overrides: list[str]) -> dict[str, Any]:
    """The resolved config around the data set; a task that fits it where none is chosen, and no image_size yet."""
    from omegaconf import OmegaConf

    from medexp.config.targets import allowed
    from medexp.run.train import _absolute

    cfg = compose.compose(suited(overrides))
    if OmegaConf.is_missing(cfg.dataset, "image_size"):
        cfg.dataset.image_size = None
    resolved = compose.resolve(cfg)
    if "_target_" not in resolved["dataset"]:
        raise UserError("dataset: is left out; name one, e.g. dataset=msd_spleen (`medexp list dataset`)")
    _absolute(resolved)
    allowed(resolved, "config")
    return resolved


def _recipe(overrides: list[str], cfg: dict[str, Any]) -> list[str]:
    """The overrides, with what a training needs beside the data set: an experiment of its name, or parts that fit it."""
    if any(word.startswith("experiment=") for word in overrides):
        return overrides
    named = {name.rsplit("/", 1)[-1]: name for name in paths.options("experiment")}
    for index, word in enumerate(overrides):
        if word.startswith("dataset=") and (name := named.get(word.removeprefix("dataset="))):
            return [*overrides[:index], f"experiment={name}", *overrides[index + 1 :]]
    given = {word.split("=", 1)[0] for word in overrides}
    parts = {} if KINDS[cfg["task"]["target"]].dense else CLASSIFIER
    return [*overrides, *(f"{key}={value}" for key, value in parts.items() if key not in given)]


def _name(overrides: list[str]) -> str:
    """Name of the plan: that of the data set, else of the experiment."""
    chosen = dict(word.split("=", 1) for word in overrides if "=" in word)
    name = chosen.get("dataset") or chosen.get("experiment") or "phantom"
    return re.sub(r"[^\w-]", "_", name.rsplit("/", 1)[-1])


def _write(path: Path, text: str, key: str = "--output") -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.write(path, text)
    except OSError as error:
        raise UserError(f"{key}: cannot write to {path} ({error.strerror}); give another") from None


def leaf(found: Fingerprint, proposal: Plan, headline: str, made: str, network: bool = True) -> str:
    """The plan as YAML, with the reason for each number beside it."""
    net = proposal.network if network else None
    lines = ["# @package _global_", f"# Plan from {found.cases} training cases for {headline}"]
    lines += [f"# Made by: {made} (rules after nnU-Net, Isensee et al. 2021; edit it as you like)"]
    if proposal.memory is not None:
        gpu = f"{proposal.memory:.1f} GiB on a GPU in 16-bit mixed precision (trainer=gpu)"
        lines += [f"# A training step takes about {gpu}, or {proposal.ram:.1f} GiB of RAM on a CPU in 32 bits"]
    lines += [f"# {line}" for line in _facts(found)]
    chosen = []
    if "normalize" in proposal.dataset:
        chosen += ["  - /dataset/_other_normalize@dataset  # forgets the data set's own, before the one below"]
    if net is not None:
        chosen += ["  - override /model: dynunet"]
    if proposal.network is not None:
        chosen += ["  - override /inferer: sliding_window  # windows of the patch size"]
    lines += ["defaults:", *chosen] if chosen else []
    lines += ["dataset:", *(_entry(key, value, proposal.why.get(key, "")) for key, value in proposal.dataset.items())]
    if net is not None:
        strides, kernels = ([_short(one) for one in stages] for stages in (net.strides, net.kernel_size))
        lines += ["model:"]
        lines += [_entry("filters", list(net.filters), "32, doubled a stage up to 320 in 3D, 512 in 2D")]
        lines += [_entry("strides", strides, "halves an axis while 4 voxels remain; long voxels wait for the others")]
        lines += [_entry("kernel_size", kernels, "1 along an axis while its voxels are twice as long as others")]
        lines += [_entry("upsample_kernel_size", strides[1:], "the strides again")]
        lines += [_entry("deep_supr_num", net.heads, "heads of deep supervision")]
    return "\n".join(lines) + "\n"


def _facts(found: Fingerprint) -> Iterator[str]:
    """The fingerprint in a few lines."""
    from medexp.run import fingerprint_table

    rows = list(fingerprint_table.rows(found))
    yield from (f"{name}: {text}" for name, text in rows[:20])
    if len(rows) > 20:
        yield f"and {len(rows) - 20} lines more: the fingerprint's JSON has all"


def _entry(key: str, value: Any, why: str) -> str:
    line = f"  {key}: {_flow(value)}"
    if not why:
        return line
    return f"{line}  # {why}" if len(line) + len(why) < 116 else f"  # {why}\n{line}"


def _short(axes: tuple[int, ...]) -> int | list[int]:
    return axes[0] if len(set(axes)) == 1 else list(axes)


def _flow(value: Any) -> str:
    """A value in YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
