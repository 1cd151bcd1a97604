"""What has to hold before a run goes on: a whole checkpoint, and a config that it fits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from medexp.config import compose
from medexp.config.check import check
from medexp.errors import UserError
from medexp.run import folder

log = logging.getLogger(__name__)
WITHIN_AN_EPOCH = (  # what the rest of an epoch hangs on: changed, it would not be the rest of this one
    *("seed", "dataset.batch_size", "dataset.draws", "dataset.balance", "dataset.limit"),
    "dataset.synthetic",
    *("trainer.devices", "trainer.num_nodes", "trainer.accumulate_grad_batches", "trainer.limit_train_batches"),
)


def prepare(run: Path, overrides: list[str]) -> Path:
    """Writes the config of a run that goes on, values overridden (trainer.max_epochs=50); returns its folder. Raises UserError."""
    from omegaconf import OmegaConf

    run = run.expanduser().absolute()
    before = folder.load(run)
    with folder.lock(run):
        _whole(run)
        cfg = _changed(before, overrides, run)
        from medexp.performance import settle  # imports torch: a run that is not there is said before

        settle(cfg["trainer"])
        check(cfg, f"resume={run}")
        _continues(cfg, before, run)
        folder.write(run / folder.CONFIG, OmegaConf.to_yaml(OmegaConf.create(cfg)))
        if overrides:
            folder.append_overrides(run, overrides)
    return run


def _whole(run: Path) -> None:
    """Sees to it that last.ckpt is one to go on from. Raises UserError where the run has none."""
    from medexp.callbacks import checkpoint_file

    last = run / folder.LAST
    try:
        reason = checkpoint_file.mend(last.parent)
    except FileNotFoundError:
        raise UserError(
            f"resume: {run} has no {folder.LAST}; it was stopped before there was one, start it anew"
        ) from None
    except checkpoint_file.Damaged as error:
        raise UserError(f"resume: {last} cannot be used: {error}; start the run anew") from None
    if reason:
        folder.log_to(run / folder.LOG)
        log.warning("%s is skipped: %s; going on from the checkpoint before it", last, reason)


def _changed(cfg: dict[str, Any], overrides: list[str], run: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf

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
    return cfg


def _changeable(cfg: dict[str, Any], key: str, run: Path) -> None:
    """Raises UserError for what cannot change when a run goes on: its folder, its groups, keys that it does not hold."""
    if key in ("run_dir", "name"):
        raise UserError(f"{key}: a resumed run stays in its folder, {run}; leave {key} out")
    if key.startswith("init."):
        raise UserError(f"{key}: a resumed run goes on from weights of its own; leave {key} out, or start a new run")
    if key == "dataset.labelled":
        raise UserError(f"{key}: a resumed run keeps its split; leave {key} out, or start a new run")
    if isinstance(cfg.get(key), dict):
        raise UserError(f"{key}: a group cannot be exchanged when resuming; change its values, or start a new run")
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            raise UserError(f"{key}: not in the config of {run}; when resuming, values that it holds can be changed")
        node = node[part]


def _continues(cfg: dict[str, Any], before: dict[str, Any], run: Path) -> None:
    """Raises UserError where the checkpoint does not fit the changed config; nothing has been written yet."""
    from medexp import build
    from medexp.callbacks.checkpoint_file import read

    build.load_weights(build.task(cfg), run / folder.LAST)
    loops = read(run / folder.LAST)["loops"]["fit_loop"]
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]["current"]["ready"]
    done = int(epochs["current"]["processed"])
    wanted = cfg["trainer"].get("max_epochs")
    if isinstance(wanted, int) and 0 < wanted < done:
        raise UserError(f"trainer.max_epochs: {wanted}, but {run} has done {done}; give a larger number")
    if epochs["total"]["started"] > epochs["total"]["processed"]:
        for key in WITHIN_AN_EPOCH:
            was, now = _at(before, key), _at(cfg, key)
            if was != now:
                raise UserError(
                    f"{key}: {now}, but {run} was stopped after batch {batches} of epoch {done + 1} with {was}; "
                    f"leave {key} as it was"
                )


def _at(cfg: dict[str, Any], key: str) -> Any:
    node: Any = cfg
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node
