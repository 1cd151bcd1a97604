"""`medexp train`: compose, check, write the run folder, train, test on the best checkpoint."""

from __future__ import annotations

import logging
import math
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from medexp.config import compose, forward, latent
from medexp.config.check import check
from medexp.errors import UserError
from medexp.run import folder, looking, process
from medexp.run.faults import RunFault, explained
from medexp.run.plan import automatic
from medexp.run.suited import suited

log = logging.getLogger(__name__)
NESTED = (("split", "file"), ("synthetic", "root"))  # paths within values of the data set


def plan(overrides: list[str], run_dir: Path | None = None) -> dict[str, Any]:
    """The resolved and checked config of `medexp train OVERRIDES`. Raises UserError; writes nothing."""
    overrides = suited(overrides)
    with automatic(overrides) as planned:
        cfg = compose.compose(overrides, planned)
    cfg.run_dir = str(run_dir or folder.fresh(cfg.name, cfg.run_dir))
    resolved = compose.resolve(cfg)
    _absolute(resolved)
    latent.expand(resolved)
    looking.embed(resolved)
    from medexp.performance import settle  # imports torch: what does not compose is said before

    settle(resolved["trainer"])
    check(resolved, _headline(overrides))
    return resolved


def _absolute(cfg: dict[str, Any]) -> None:
    """Paths as they are seen from anywhere: a job may start in another folder."""
    dataset = cfg["dataset"]
    places = [(cfg, "data_root"), (cfg, "cache_dir"), *((dataset, key) for key in ("root", "store", "exclude"))]
    if ":" not in str(cfg["init"].get("weights")):  # torchvision:resnet18
        places.append((cfg["init"], "weights"))
    places += [(node, key) for name, key in NESTED if isinstance(node := dataset.get(name), dict)]
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
        from medexp.run import resume

        return launch(resume.prepare(Path(resumed), [text for text in overrides if not text.startswith("resume=")]))
    cfg = plan(overrides)
    run = Path(cfg["run_dir"])
    folder.create(run, cfg, overrides)
    try:
        return launch(run)
    except UserError:
        folder.discard(run)
        raise


def launch(run: Path) -> dict[str, Any]:
    """Runs a written config: here, or in a process of its own where several devices train together."""
    if not many_processes(folder.load(run)["trainer"]):
        with folder.lock(run):
            return execute(run)
    try:
        code, _ = process.complete(run)
    except process.Stopped as stopped:
        raise SystemExit(128 + stopped.signum) from None  # the process has said how to go on
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
    """Trains and tests in this process what RUN/config.yaml says. A signal to stop ends in SystemExit, with how to go on."""
    from medexp.callbacks.interruption import Interrupted, listening
    from medexp.run.quiet import quiet

    cfg = folder.load(run)
    try:
        with quiet(), listening():
            return _run(cfg, run)
    except Interrupted as interrupted:
        if not interrupted.first:
            return {}  # an error of this process would be taken for the reason
        raise _stopped(run, interrupted.signum) from None
    except KeyboardInterrupt:
        raise _stopped(run, signal.SIGINT) from None


def _stopped(run: Path, signum: int) -> SystemExit:
    """Says how to go on, in the log and as the last line of all."""
    name = signal.Signals(signum).name
    go_on = f"go on with: medexp train resume={run}"
    if not (run / folder.LAST).is_file():
        go_on = f"nothing is on the disk to go on from; start it anew (and remove {run})"
    log.info("stopped by %s; %s", name, go_on, extra={"file_alone": True})
    sys.stdout.flush()
    sys.stderr.write(f"medexp: stopped by {name}; {go_on}\n")
    return SystemExit(128 + signum)


def _run(cfg: dict[str, Any], run: Path) -> dict[str, Any]:
    from medexp import build
    from medexp.run import history, noised, repeatable, settled, transferred
    from medexp.run.evaluate import score

    begun = time.monotonic()
    trainer = build.trainer(cfg)
    first = trainer.is_global_zero
    folder.log_to(run / folder.LOG if first else None)
    initial = _early(cfg)
    data = _prepared(cfg, run)
    if first:
        environment = {**folder.environment(cfg["seed"]), "repeatable": repeatable.conditions(cfg, trainer)}
        folder.write_json(run / folder.ENVIRONMENT, environment)
        folder.write_json(run / folder.SPLIT, data.split)
        noised.record(data, run)
        log.info("%s", data.describe())
    cfg = settled.settled(cfg, data, run if first else None)
    task = build.task(cfg, data)
    transferred.initialise(initial, task.net, run if first else None, data, cfg)
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


def _prepared(cfg: dict[str, Any], run: Path) -> Any:
    """The data set, set up. Raises UserError, also where whole images of its sizes do not go through the network."""
    from medexp import build

    data = build.datamodule(cfg)
    if (run / folder.SPLIT).is_file():
        data.split = folder.read_json(run / folder.SPLIT)
    data.setup()
    for problem in forward.of_whole_images(cfg, data.training_sizes()):
        raise UserError(problem)
    return data


def _early(cfg: dict[str, Any]) -> Any:
    """What is wrong with the scorer and with the weights to begin with is said before training. Returns the weights."""
    from medexp import build

    build.scorer(cfg)
    return None if cfg["resume"] else build.initial(cfg)  # a run that goes on has weights of its own


def _fit(cfg: dict[str, Any], run: Path, trainer: Any, task: Any, data: Any) -> float | None:
    checkpoint = str(run / folder.LAST) if cfg["resume"] else None
    try:
        with warnings.catch_warnings():  # the data module keeps the loader's place, where Lightning does not look
            warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
            trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    except SystemExit:  # what Lightning makes of a second Ctrl-C
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from None
    except Exception as error:
        if isinstance(error, FloatingPointError) and not trainer.is_global_zero:
            return None  # as on all ranks: the first says it
        fault = explained(error, run, data)
        if fault is None:
            raise
        raise fault from None
    value = trainer.checkpoint_callback.best_model_score if trainer.checkpoint_callback else None
    if value is None:
        value = trainer.callback_metrics.get(cfg["monitor"])
    return None if value is None or not math.isfinite(float(value)) else round(float(value), 6)


def _test(cfg: dict[str, Any], run: Path, task: Any, data: Any, score: Any) -> dict[str, Any]:
    """The best checkpoint on the test split; the weights at the end where the run keeps no checkpoints."""
    from medexp import build
    from medexp.run import missing

    best = run / folder.BEST
    if best.is_file():
        build.load_weights(task, best)
    summary: dict[str, Any] = score(
        cfg, task, data, data.parts()["test"], run, "best" if best.is_file() else "end of training", "test"
    )
    return missing.report(cfg, task, data, data.parts()["test"], missing.asked(cfg, ()), run, summary)


def _finish_loggers(cfg: dict[str, Any], run: Path, trainer: Any, data: Any) -> None:
    from pytorch_lightning.loggers import WandbLogger

    from medexp.run import wandb_results

    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            wandb_results.publish(logger, cfg, run, data.classes)
        logger.finalize("success")


def _millions(task: Any) -> float:
    return sum(parameter.numel() for parameter in task.net.parameters()) / 1e6
