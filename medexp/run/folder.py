"""The run folder: the unit of everything that follows a training."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from medexp.config import compose
from medexp.config.targets import allowed
from medexp.errors import UserError

CONFIG, OVERRIDES, SPLIT = "config.yaml", "overrides.yaml", "split.json"
SUMMARY, PER_CASE, ENVIRONMENT, LOG = "summary.json", "per_case.csv", "environment.json", "train.log"
BEST, LAST = Path("checkpoints/best.ckpt"), Path("checkpoints/last.ckpt")
PACKAGES = (
    "medexp",
    "torch",
    "pytorch-lightning",
    "monai",
    "hydra-core",
    "torchmetrics",
    "nibabel",
    "numpy",
    "scipy",
    "pandas",
    "wandb",
)


def stamp() -> str:
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def fresh(name: str, run_dir: str | None) -> Path:
    """The folder that a new run writes to, absolute: `run_dir`, or outputs/<name>/<time>."""
    if run_dir:
        return Path(run_dir).expanduser().absolute()
    base = (Path("outputs") / name / stamp()).absolute()
    folder, number = base, 2
    while folder.exists():
        folder, number = base.with_name(f"{base.name}_{number}"), number + 1
    return folder


def create(folder: Path, cfg: dict[str, Any], overrides: list[str]) -> None:
    """Makes the folder with its resolved config. Raises UserError where it cannot be written or holds another run."""
    if (folder / CONFIG).exists():
        raise UserError(
            f"run_dir: {folder} already holds a run; take another, "
            + (
                f"or go on with it: medexp train resume={folder}"
                if (folder / LAST).is_file()
                else "or remove it: it has no checkpoint"
            )
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"run_dir: {folder} is a file; give a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(cfg)))
        write(folder / OVERRIDES, OmegaConf.to_yaml(OmegaConf.create(list(overrides))))
    except OSError as error:
        raise UserError(f"run_dir: cannot write to {folder} ({error.strerror}); set run_dir=PATH") from None


@contextmanager
def lock(folder: Path) -> Iterator[int]:
    """Held while a run writes to its folder. Raises UserError where another process holds it; a killed one holds nothing.

    Gives its file descriptor: a process that it is passed on to holds the lock too, until it ends.
    """
    import fcntl

    handle = os.open(folder, os.O_RDONLY)  # of the folder itself: no file is left behind
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise UserError(f"{folder}: this run is going on in another process; wait for it, or stop it first") from None
    try:
        yield handle
    finally:
        os.close(handle)


def no_run(output: Path) -> None:
    """Raises UserError where results would go into a run folder, in the place of its own."""
    if (output / CONFIG).is_file():
        what = "is a run folder, whose results are of its own test split"
        raise UserError(f"--output: {output} {what}; give another folder")


def append_overrides(folder: Path, overrides: list[str]) -> None:
    """What was changed when the run was resumed, after what it was started with."""
    write(folder / OVERRIDES, OmegaConf.to_yaml(OmegaConf.create([*overrides_of(folder), *overrides])))


def overrides_of(folder: Path) -> list[str]:
    """What a run was started and resumed with; nothing where it does not say. Raises UserError for a damaged file."""
    path = folder / OVERRIDES
    try:
        found = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else []
    except Exception as error:  # YAML and OmegaConf raise many kinds
        raise UserError(f"{path}: is damaged ({str(error).splitlines()[0]})") from None
    return [str(text) for text in found] if isinstance(found, list) else []


def discard(folder: Path) -> None:
    """Removes the folder of a run that a mistake of the user stopped before anything was learnt."""
    if not (folder / LAST).exists() and not (folder / BEST).exists():
        shutil.rmtree(folder, ignore_errors=True)


def load(folder: Path) -> dict[str, Any]:
    """The config of a run folder, at home wherever the folder now is, or of a release. Raises UserError where it is none."""
    from medexp.run import release

    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; give the folder that `medexp train` printed")
    if release.is_one(folder):
        cfg = release.load(folder)
        allowed(cfg, str(folder / release.MODEL))
        return cfg
    cfg = compose.load(folder / CONFIG)
    allowed(cfg, str(folder / CONFIG))
    moved = str(folder.absolute())
    return _moved(cfg, cfg["run_dir"], moved) if cfg["run_dir"] != moved else cfg


def weights(folder: Path, checkpoint: str) -> Path:
    """The file of a run's weights (best or last checkpoint), or of a release's. Raises UserError where that is damaged."""
    from medexp.run import release

    return (
        release.weights(folder, checkpoint) if release.is_one(folder) else folder / "checkpoints" / f"{checkpoint}.ckpt"
    )


def _moved(node: Any, old: str, new: str) -> Any:
    if isinstance(node, dict):
        return {key: _moved(child, old, new) for key, child in node.items()}
    if isinstance(node, list):
        return [_moved(child, old, new) for child in node]
    if isinstance(node, str) and (node == old or node.startswith(f"{old}/")):
        return new + node[len(old) :]
    return node


def write(path: Path, text: str) -> None:
    """Whole or not at all: a reader never sees half a file."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_json(path: Path, content: Any) -> None:
    write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the run has not got that far, or this is no run folder") from None
    except ValueError as error:
        raise UserError(f"{path}: is damaged ({error})") from None


def environment(seed: int) -> dict[str, Any]:
    """What a run depends on beside its config: package versions, code state, hardware, seed."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seed": seed,
        "python": platform.python_version(),
        "packages": versions,
        "git": git_state(),
        "platform": platform.platform(),
        "cpu": {"name": _cpu(), "cores": os.cpu_count(), "capability": torch.backends.cpu.get_cpu_capability()},
        "gpu": devices,
        "cuda": torch.version.cuda,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.is_file()
        else []
    )
    return names[0] if names else platform.processor()


def git_state() -> dict[str, Any] | None:
    """Commit of the working directory and whether it has uncommitted changes; None outside of git."""

    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def log_to(path: Path | None) -> None:
    """medexp's log lines to the terminal, and to a file in the run folder. Those with `extra={"file_alone": True}` are for the
    file: the terminal is told otherwise."""
    from rich.logging import RichHandler

    root = logging.getLogger("medexp")
    root.setLevel(logging.INFO)
    root.propagate = False
    for handler in list(root.handlers):
        handler.close()
        root.removeHandler(handler)
    terminal: logging.Handler = logging.StreamHandler(sys.stdout)
    if sys.stdout.isatty():
        terminal = RichHandler(show_path=False, show_level=False, log_time_format="%H:%M:%S", markup=False)
    terminal.addFilter(lambda record: not getattr(record, "file_alone", False))
    root.addHandler(terminal)
    if path is not None:
        file = logging.FileHandler(path, encoding="utf-8")
        file.handleError = lambda record: None  # type: ignore[method-assign]  # of a full disk the checkpoints speak
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        root.addHandler(file)
