"""The best checkpoint of a run, and the last: the one that a run goes on from, bit by bit, wherever it was stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from medexp.callbacks.checkpoint_file import LAST
from medexp.callbacks.checkpoint_writer import CheckpointWriter
from medexp.callbacks.interruption import Agreement, Interrupted, Signals

PLACES = ("best_model_path", "kth_best_model_path", "last_model_path")
PROGRESS = "epoch_loop.batch_progress"
VALIDATION = "epoch_loop.val_loop.batch_progress"


class Checkpoint(ModelCheckpoint):
    """The best by Lightning's ModelCheckpoint, which it is given to; the last, and the stop on a signal, are its own.

    save_last: keep last.ckpt, and the one before it as previous.ckpt. It is written at the end of every epoch, and within
    an epoch after every `every_n_train_steps` optimizer steps and once `every_minutes` have gone by since the last time.
    SIGTERM and Ctrl-C finish the step, write last.ckpt and raise Interrupted; without save_last they only do the latter.

    A checkpoint within an epoch holds Lightning's counts after a batch; one at its end is written when all of the epoch
    is over (Lightning's own comes before the step of ReduceLROnPlateau); one at the start of a validation has it run
    from its first case.
    """

    def __init__(
        self,
        dirpath: str,
        filename: str = "best",
        monitor: str | None = None,
        mode: str = "min",
        save_last: bool = True,
        every_n_train_steps: int | None = None,
        every_minutes: float | None = None,
        save_top_k: int = 1,
        save_weights_only: bool = False,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            dirpath,
            filename,
            monitor=monitor,
            mode=mode,
            verbose=verbose,
            save_top_k=save_top_k,
            save_weights_only=save_weights_only,
            every_n_epochs=every_n_epochs,
            save_on_train_epoch_end=save_on_train_epoch_end,
            enable_version_counter=enable_version_counter,
        )
        self.last = Path(dirpath) / LAST if save_last else None
        self.every_steps, self.every_minutes = every_n_train_steps, every_minutes
        self._signals, self._agreement = Signals(), Agreement()
        self._place = ""  # where in the loops the checkpoint that is being written stands
        self._step, self._written = -1, 0.0  # of last.ckpt: its step, and when
        self._within = False  # whether last.ckpt stands within an epoch

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The best value so far is not forgotten where the folder has moved since."""
        here = {**state_dict, "dirpath": self.dirpath}
        here |= {key: self._here(str(state_dict.get(key, ""))) for key in PLACES}
        here["best_k_models"] = {self._here(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict(here)

    def _here(self, path: str) -> str:
        return str(Path(self.dirpath or ".") / Path(path).name) if path else path

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # nobody has asked for another
            trainer.strategy.checkpoint_io = CheckpointWriter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._step, self._written = trainer.global_step, time.monotonic()
        self._signals.install()  # after Lightning's own handlers, in whose stead they are
        loop = trainer.fit_loop
        if loop.epoch_loop.batch_progress.current.ready == 0:  # nothing of this epoch is to be caught up with
            loop._restarting = loop.epoch_loop._restarting = loop.epoch_loop.val_loop._restarting = False

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int) -> None:
        trainer.fit_loop._restarting = False  # the end of a resumed epoch is like any other's: all of it was seen
        if isinstance(trainer.strategy.checkpoint_io, CheckpointWriter):
            trainer.strategy.checkpoint_io.check()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loop = trainer.fit_loop.epoch_loop
        if loop._num_ready_batches_reached() or loop._should_accumulate():
            return  # the epoch's end has its own place; gradients of half a step are not kept
        due = self.every_steps is not None and trainer.global_step % self.every_steps == 0
        self._turn(trainer, "batch", due)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            trainer.fit_loop._restarting = False
            self._turn(trainer, "validation", ask=True)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        # Ranks have different numbers of cases and cannot agree in between: several finish their validation.
        if trainer.world_size == 1 and self._signals.received and trainer.state.fn == TrainerFn.FITTING:
            self._turn(trainer, "validation")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._turn(trainer, "epoch", due=True, ask=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path is None or self.monitor is None or self.monitor in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)  # else: resumed, and not validated since: nothing to compare

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._within:  # of the validation that has just ended: no step was made since
            self._step = -1
        self._turn(trainer, "epoch", due=True, ask=True)
        self._signals.restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._signals.restore()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._signals.restore()

    def _turn(self, trainer: pl.Trainer, place: str, due: bool = False, ask: bool = False) -> None:
        """Between two steps: writes last.ckpt where it is due on any rank. Raises Interrupted where a rank was asked to stop."""
        now = time.monotonic()
        late = self.every_minutes is not None and now - self._written >= self.every_minutes * 60
        stop, late = self._agreement.reached(trainer, self._signals.received, late, now, ask)
        if self.last is not None and (due or late or stop) and trainer.global_step != self._step:
            self._write(trainer, place)
        if stop:
            raise Interrupted(stop, first=trainer.is_global_zero)

    def _write(self, trainer: pl.Trainer, place: str) -> None:
        for logger in trainer.loggers if trainer.is_global_zero else []:
            logger.save()  # rows of before the checkpoint are not lost with the process
        self._place = place
        trainer.save_checkpoint(self.last or LAST)
        self._place = ""
        self._step, self._written, self._within = trainer.global_step, time.monotonic(), place != "epoch"

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["total"]
        self._within = epochs["started"] > epochs["processed"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        loops = checkpoint["loops"]["fit_loop"]
        if self._place == "epoch":  # this one is over, and the next has not begun
            for count in loops["epoch_progress"].values():
                count["ready"] = count["completed"]
            loops[PROGRESS]["current"] = dict.fromkeys(loops[PROGRESS]["current"], 0)
            loops[PROGRESS]["is_last_batch"] = False
            seen = loops[VALIDATION]["total"]["completed"]  # one that was begun twice, see below, counts once
            loops[VALIDATION]["total"] |= {"ready": seen, "started": seen}
        elif self._place == "validation":  # what Lightning takes for one that was cut off at its first case
            for name in ("total", "current"):
                loops[VALIDATION][name] = {"ready": 1, "completed": 0, "started": 1, "processed": 0}
            loops[VALIDATION]["is_last_batch"] = False
