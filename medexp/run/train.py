"""`medexp train`: compose, check, write the run folder, train, test on the best checkpoint."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

from medexp.config import compose
from medexp.config.check import check
from medexp.errors import UserError
from medexp.run import folder, process
from medexp.run.plan import automatic
from medexp.run.suited import suited

log = logging.getLogger(__name__)


class RunFault(Exception):
    """A fault of the run that its user should read in one line: exit code 1."""


def plan(overrides: list[str], run_dir: Path | None = None) -> dict[str, Any]:
    """The resolved and checked config of `medexp train OVERRIDES`. Raises UserError; writes nothing."""
    overrides = suited(overrides)
    with automatic(overrides) as planned:
        cfg = compose.compose(overrides, planned)
    cfg.run_dir = str(run_dir or folder.fresh(cfg.name, cfg.run_dir))
    resolved = compose.resolve(cfg)
    _absolute(resolved)
    check(resolved, _headline(overrides))
    return resolved


def _absolute(cfg: dict[str, Any]) -> None:
    """Paths as they are seen from anywhere: a job may start in another folder."""
    dataset = cfg["dataset"]
    places = [(cfg, "data_root"), (cfg, "cache_dir"), *((dataset, key) for key in ("root", "store", "exclude"))]
    if isinstance(dataset.get("split"), dict):
        places.append((dataset["split"], "file"))
    for node, key in places:
        if isinstance(node.get(key), str):
            node[key] = str(Path(node[key]).expanduser().absolute())


def _headline(overrides: list[str]) -> str:
    named = next((text for text in overrides if text.startswith("experiment=")), "the config")
    return named


def start(overrides: list[str]) -> dict[str, Any]:
    """One run, from overrides. Returns {"run_dir", "value", "summary"}."""
    resumed = next((text.split("=", 1)[1] for text in overrides if text.startswith("resume=")), None)
    if resumed and resumed != "null":
        return resume(Path(resumed), [text for text in overrides if not text.startswith("resume=")])
    cfg = plan(overrides)
    run = Path(cfg["run_dir"])
    folder.create(run, cfg, overrides)
    try:
        return launch(run)
    except UserError:
        folder.discard(run)
        raise


def resume(run: Path, overrides: list[str]) -> dict[str, Any]:
    """Goes on with a run from its last checkpoint, values overridden (trainer.max_epochs=50)."""
    from omegaconf import OmegaConf

    run = run.expanduser().absolute()
    cfg = folder.load(run)
    if not (run / folder.LAST).is_file():
        raise UserError(f"resume: {run} has no {folder.LAST}; the run had not finished an epoch, start it anew")
    planned = cfg["trainer"].get("max_epochs")
    for override in compose.parse(overrides):
        key = str(override.key_or_group)
        _changeable(cfg, key, run)
        updated = OmegaConf.create(cfg)
        OmegaConf.update(updated, key, override.value())
        cfg = compose.resolve(updated)
    if cfg["scheduler"].get("epochs") == planned:  # the schedule's end is the training's (${trainer.max_epochs})
        cfg["scheduler"]["epochs"] = cfg["trainer"]["max_epochs"]
    cfg["resume"] = str(run)
    check(cfg, f"resume={run}")
    with folder.lock(run):
        _continues(cfg, run)
        folder.write(run / folder.CONFIG, OmegaConf.to_yaml(OmegaConf.create(cfg)))
        if overrides:
            folder.append_overrides(run, overrides)
    return launch(run)


def _changeable(cfg: dict[str, Any], key: str, run: Path) -> None:
    """Raises UserError for what cannot change when a run goes on: its folder, its groups, keys that it does not hold."""
    if key in ("run_dir", "name"):
        raise UserError(f"{key}: a resumed run stays in its folder, {run}; leave {key} out")
    if isinstance(cfg.get(key), dict):
        raise UserError(f"{key}: a group cannot be exchanged when resuming; change its values, or start a new run")
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            raise UserError(f"{key}: not in the config of {run}; when resuming, values that it holds can be changed")
        node = node[part]


def _continues(cfg: dict[str, Any], run: Path) -> None:
    """Raises UserError where the checkpoint does not fit the changed config; nothing has been written yet."""
    import torch

    from medexp import build

    build.load_weights(build.task(cfg), run / folder.LAST)
    done = int(torch.load(run / folder.LAST, map_location="cpu", weights_only=True)["epoch"]) + 1
    wanted = cfg["trainer"].get("max_epochs")
    if isinstance(wanted, int) and 0 < wanted < done:
        raise UserError(f"trainer.max_epochs: {wanted}, but {run} has done {done}; give a larger number")


def launch(run: Path) -> dict[str, Any]:
    """Runs a written config: here, or in a process of its own where several devices train together."""
    cfg = folder.load(run)
    with folder.lock(run):
        if not many_processes(cfg["trainer"]):
            return execute(run)
        code, _ = process.complete(run)
    if code == 2:
        folder.discard(run)
    if code < 0:
        raise RunFault(f"{run}: the run was killed by signal {-code}; go on with: medexp train resume={run}")
    if code:
        raise SystemExit(code)  # the process has said why
    result: dict[str, Any] = folder.read_json(run / "result.json")
    return result


def many_processes(trainer: dict[str, Any]) -> bool:
    devices = trainer.get("devices", 1)
    count = len(devices) if isinstance(devices, list) else devices
    return count not in (1, "1") or int(trainer.get("num_nodes", 1)) > 1


def execute(run: Path) -> dict[str, Any]:
    """Trains and tests in this process what RUN/config.yaml says."""
    from medexp import build
    from medexp.run import history
    from medexp.run.evaluate import score
    from medexp.run.quiet import quiet

    cfg = folder.load(run)
    begun = time.monotonic()
    with quiet():
        trainer = build.trainer(cfg)
        first = trainer.is_global_zero
        folder.log_to(run / folder.LOG if first else None)
        build.scorer(cfg)  # what is wrong with it is said before training, not after
        data = build.datamodule(cfg)
        if (run / folder.SPLIT).is_file():
            data.split = folder.read_json(run / folder.SPLIT)
        data.setup()
        if first:
            folder.write_json(run / folder.ENVIRONMENT, folder.environment(cfg["seed"]))
            folder.write_json(run / folder.SPLIT, data.split)
            log.info("%s", data.describe())
        task = build.task(cfg, data)
        if first:
            log.info("%s: %.2f M parameters; run folder %s", cfg["model"]["_target_"], _millions(task), run)
            if cfg["resume"]:
                history.keep(trainer.loggers, run / folder.LAST)
        value = _fit(cfg, run, trainer, task, data)
        if not first:
            return {}
        summary = _test(cfg, run, task, data, score)
        result = {
            "run_dir": str(run),
            "value": value,
            "monitor": cfg["monitor"],
            "seconds": round(time.monotonic() - begun, 1),
        }
        result["metrics"] = {name: entry.get("mean") for name, entry in summary["metrics"].items() if "mean" in entry}
        folder.write_json(run / "result.json", result)
        _finish_loggers(cfg, run, trainer, data)
    return result


def _fit(cfg: dict[str, Any], run: Path, trainer: Any, task: Any, data: Any) -> float | None:
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    checkpoint = str(run / folder.LAST) if cfg["resume"] else None
    try:
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    except FloatingPointError as error:
        raise RunFault(f"{run}: {error}") from None
    except MisconfigurationException as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from None
    except SystemExit:  # what Lightning makes of Ctrl-C
        if not trainer.interrupted:
            raise
        go_on = f"go on with: medexp train resume={run}" if (run / folder.LAST).is_file() else "no epoch was finished"
        log.info("interrupted in epoch %d; %s", trainer.current_epoch + 1, go_on)
        raise KeyboardInterrupt from None
    value = trainer.checkpoint_callback.best_model_score if trainer.checkpoint_callback else None
    if value is None:
        value = trainer.callback_metrics.get(cfg["monitor"])
    return None if value is None or not math.isfinite(float(value)) else round(float(value), 6)


def _test(cfg: dict[str, Any], run: Path, task: Any, data: Any, score: Any) -> dict[str, Any]:
    """The best checkpoint on the test split; the weights at the end where the run keeps no checkpoints."""
    from medexp import build

    best = run / folder.BEST
    if best.is_file():
        build.load_weights(task, best)
    summary: dict[str, Any] = score(
        cfg, task, data, data.parts()["test"], run, "best" if best.is_file() else "end of training", "test"
    )
    return summary


def _finish_loggers(cfg: dict[str, Any], run: Path, trainer: Any, data: Any) -> None:
    from pytorch_lightning.loggers import WandbLogger

    from medexp.run import wandb_results

    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            wandb_results.publish(logger, cfg, run, data.classes)
        logger.finalize("success")


def _millions(task: Any) -> float:
    return sum(parameter.numel() for parameter in task.net.parameters()) / 1e6
