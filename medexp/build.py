"""Config to objects: the only place that instantiates. Nothing below ever sees a config."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from medexp.callbacks import checkpoint_file
from medexp.data.module import DataModule
from medexp.errors import UserError
from medexp.performance import fastest_precision, use_threads
from medexp.seeding import derive
from medexp.tasks.base import Task
from medexp.transfer.weights import Weights

log = logging.getLogger(__name__)
Config = dict[str, Any]
AUTO = ("weight", "pos_weight")  # loss arguments that "auto" fills from the training split


def datamodule(cfg: Config) -> DataModule:
    """The data set with its augmentation; nothing is read yet."""
    degradation = _make(cfg["degradation"]) if cfg.get("degradation") else None
    augmentation = _make(cfg["augmentation"])
    built: DataModule = _make(cfg["dataset"], augmentation=augmentation, degradation=degradation, seed=cfg["seed"])
    return built


def task(cfg: Config, data: DataModule | None = None) -> Task:
    """The task around its network. `data` (set up) is asked for class weights where the loss says `auto`."""
    torch.manual_seed(derive(cfg["seed"], "init"))
    metrics = {name: _make(node) for name, node in (cfg["metrics"].get("validation") or {}).items()}
    net = _make(cfg["model"])  # first: its weights are the same, whatever else draws some
    built: Task = _make(
        cfg["task"],
        net=net,
        loss=_make(_with_weights(cfg["loss"], data)),
        optimizer=_make(cfg["optimizer"]),
        scheduler=_make(cfg["scheduler"]),
        inferer=_make(cfg["inferer"]),
        metrics=metrics,
        monitor=cfg["monitor"],
        mode=cfg["mode"],
        seed=cfg["seed"],
        **({"learning": _make(cfg["learning"])} if cfg.get("learning") else {}),
    )
    learn: Any = getattr(built, "learn", None)
    if data is not None and learn is not None:  # what a task takes from the training split, as buffers
        learn(data)
    return built


def initial(cfg: Config) -> Weights:
    """The weights that the network begins with, read from where `init` says."""
    built: Weights = _make(cfg["init"])
    return built


def scorer(cfg: Config) -> Any:
    """What turns predictions of the test split into per-case rows and a summary."""
    return _make(cfg["metrics"]["test"])


def trainer(cfg: Config) -> pl.Trainer:
    """Lightning's Trainer with the chosen callbacks and loggers; this process takes its share of the cores."""
    use_threads(_ranks_here(cfg["trainer"].get("devices", 1)), cfg["dataset"].get("num_workers") or 0)
    callbacks = [_make(node) for node in cfg["callbacks"].values() if node]
    loggers = [_make(node) for node in cfg["logger"].values() if node]
    if any(isinstance(entry, pl.callbacks.RichProgressBar) for entry in callbacks) and not _terminal():
        callbacks = [entry for entry in callbacks if not isinstance(entry, pl.callbacks.RichProgressBar)]
    bar = any(isinstance(entry, pl.callbacks.ProgressBar) for entry in callbacks)
    built: pl.Trainer = _make(
        cfg["trainer"],
        callbacks=callbacks,
        logger=loggers or False,
        default_root_dir=cfg["run_dir"],
        **({} if bar else {"enable_progress_bar": False}),
    )
    return built


def single(cfg: Config, **options: Any) -> pl.Trainer:
    """A silent Trainer on one device for inference: the run's precision, the run's accelerator where it is here."""
    node = cfg["trainer"]
    use_threads()
    torch.set_float32_matmul_precision(node.get("matmul_precision") or "highest")
    here = torch.cuda.is_available() or str(node.get("accelerator", "auto")) not in ("gpu", "cuda")
    accelerator = node.get("accelerator", "auto") if here else "cpu"
    precision = node.get("precision", "32-true")
    if precision == "auto":  # of a config that was never settled
        precision = fastest_precision(accelerator)
    if accelerator == "cpu" and precision == "16-mixed":
        precision = "32-true"  # float16 arithmetic is a GPU's
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        default_root_dir=cfg["run_dir"],
        barebones=False,
        **{**quiet, **options},
    )


def load_weights(into: Task, checkpoint: Path) -> None:
    """Puts the weights of a checkpoint (.ckpt), or of a release (.safetensors), into a task. Raises UserError where the file is
    missing, broken or of another network."""
    released = checkpoint.suffix == ".safetensors"
    try:
        state = _released(checkpoint) if released else checkpoint_file.read(checkpoint)["state_dict"]
    except FileNotFoundError:
        last = checkpoint.with_name("last.ckpt").is_file()
        hint = "no epoch was validated; use --checkpoint last" if last else "the run has not finished an epoch"
        raise UserError(f"{checkpoint}: no such checkpoint; {hint}") from None
    except Exception as error:  # torch and zipfile raise many kinds for a broken or unsafe file
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{checkpoint}: not a readable checkpoint: {said}") from None
    if released:
        state |= {key: value for key, value in into.state_dict().items() if key.startswith(into.learnt_with)}
    try:
        into.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"{checkpoint}: holds another network than the config: {' '.join(str(error).split())[:300]}"
        ) from None


def _released(weights: Path) -> dict[str, Any]:
    from safetensors.torch import load_file  # no training needs it

    return load_file(weights)


def _make(node: Config, **extra: Any) -> Any:
    """An object from its node. What a constructor says of a value is a mistake of the config's author: one line."""
    try:
        return instantiate(node, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        reason = " ".join(str(cause or error).split())
        raise UserError(
            f"{node['_target_']}: {type(cause or error).__name__}: {reason[:400]}; mend its values (`medexp list`)"
        ) from error


def _with_weights(node: Config, data: DataModule | None) -> Config:
    wanted = [key for key in AUTO if node.get(key) == "auto"]
    if not wanted:
        return node
    if data is None:  # inference: the loss is built but never called
        return {**node, **dict.fromkeys(wanted)}
    counts = data.class_counts()
    weights = counts.sum() / (len(counts) * counts.clip(min=1))
    values = {"weight": [round(float(value), 6) for value in weights]}
    negatives = (
        (len(data._cases["train"]) - counts).clip(min=0) if data.target == "multilabel" else counts.sum() - counts
    )
    ratio = negatives / counts.clip(min=1)
    values["pos_weight"] = [round(float(value), 6) for value in (ratio[1:] if data.target == "binary" else ratio)]
    for key in wanted:
        named = ", ".join(
            f"{name} {value:.3g}" for name, value in zip(data.classes[-len(values[key]) :], values[key], strict=True)
        )
        log.info("loss.%s=auto, from the training split: %s", key, named)
    return {**node, **{key: values[key] for key in wanted}}


def _ranks_here(devices: Any) -> int:
    """Processes that train on this machine: one a device."""
    if isinstance(devices, list):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        return max(1, torch.cuda.device_count())
    return max(1, int(devices))


def _terminal() -> bool:
    import sys

    return sys.stdout.isatty()
