"""A run that is killed, asked to stop, or fed what is no number: what is on the disk, and that it goes on from there."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import disks
import pandas as pd
import pytest
import torch
from compared import checkpoint, same

from medexp.callbacks import checkpoint_file
from medexp.cli import main
from medexp.errors import UserError
from medexp.run import folder, process
from medexp.run.faults import RunFault
from medexp.run.train import start
from medexp.tasks.base import Task

EVERY_STEP = ["callbacks.checkpoint.every_n_train_steps=1", "dataset.batch_size=2", "model.dropout=0.2"]  # 4 an epoch


class Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], None]:
    """at_step(n, act): before the batch that follows n steps, once."""
    original = Task.on_train_batch_start

    def plan(step: int, act: Callable[[], Any]) -> None:
        def once(task: Task, batch: Any, batch_idx: int) -> None:
            if task.global_step == step:
                monkeypatch.setattr(Task, "on_train_batch_start", original)
                act()
            original(task, batch, batch_idx)

        monkeypatch.setattr(Task, "on_train_batch_start", once)

    return plan


def killed() -> None:
    raise Killed


VARIANTS: dict[str, tuple[list[str], list[int]]] = {
    "plain": ([], [1, 4]),
    "workers": (["dataset.num_workers=2"], [5]),
    "every third step": (["callbacks.checkpoint.every_n_train_steps=3"], [8]),
    "plateau": (["scheduler=plateau", "scheduler.schedule.patience=0", "optimizer.lr=0.1"], [5]),
    "accumulated": (["trainer.accumulate_grad_batches=2", "trainer.max_epochs=4"], [5]),
    "validation every second epoch": (["trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4"], [7]),
    "validation within the epoch": (["trainer.val_check_interval=0.5"], [2]),
    "steps instead of epochs": (["trainer.max_steps=10"], [3, 8]),
    "balanced": (["dataset.balance=class"], [6]),
    "less than the epoch": (["trainer.limit_train_batches=3"], [4]),
    "averaged in 16 bits": (["callbacks=ema", "trainer.precision=bf16-mixed"], [5]),
    "other optimizer and curve": (["optimizer=muon", "scheduler=one_cycle", "callbacks=early_stopping"], [6]),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_that_goes_on_from_any_step_is_the_unbroken_one_bit_by_bit(
    name: str, tiny: list[str], tmp_path: Path, at_step: Callable[..., None]
) -> None:
    options, steps = VARIANTS[name]
    words = [*tiny, *EVERY_STEP, "trainer.max_epochs=3", *options]
    start([*words, f"run_dir={tmp_path / 'unbroken'}"])
    for step in steps:
        run = tmp_path / f"run_{step}"
        at_step(step, killed)
        with pytest.raises(Killed):
            start([*words, f"run_dir={run}"])
        assert 0 < checkpoint(run)["global_step"] <= step
        start([f"resume={run}"])
        same(run, tmp_path / "unbroken")


def test_batches_that_were_consumed_are_neither_read_nor_skipped_twice(
    tiny: list[str], tmp_path: Path, at_step: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medexp.data.cases import TrainCases

    read: list[Any] = []
    original = TrainCases.__getitem__

    def noted(cases: TrainCases, draw: Any) -> Any:
        read.append(draw)
        return original(cases, draw)

    monkeypatch.setattr(TrainCases, "__getitem__", noted)
    words = [*tiny, *EVERY_STEP, "trainer.max_epochs=2"]
    start([*words, f"run_dir={tmp_path / 'unbroken'}"])
    whole, read[:] = list(read), []
    at_step(3, killed)
    with pytest.raises(Killed):
        start([*words, f"run_dir={tmp_path / 'run'}"])
    first, read[:] = list(read)[:6], []
    start([f"resume={tmp_path / 'run'}"])
    assert first + read == whole


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_saves_it_and_says_how_to_go_on(
    signum: int,
    code: int,
    tiny: list[str],
    tmp_path: Path,
    at_step: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    words = [*tiny, "dataset.batch_size=2", "model.dropout=0.2", "trainer.max_epochs=3"]
    start([*words, f"run_dir={tmp_path / 'unbroken'}"])
    before = signal.getsignal(signum)
    at_step(5, lambda: os.kill(os.getpid(), signum))
    with pytest.raises(SystemExit) as end:
        main(["train", *words, f"run_dir={run}"])
    assert end.value.code == code
    name = signal.Signals(signum).name
    said = f"medexp: stopped by {name}; go on with: medexp train resume={run}"
    assert capsys.readouterr().err.strip().splitlines()[-1] == said
    assert checkpoint(run)["global_step"] == 6  # the step under way was finished
    assert signal.getsignal(signum) is before
    start([f"resume={run}"])
    same(run, tmp_path / "unbroken")


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_signal_during_validation_does_not_wait_for_its_end_nor_lose_the_epoch(
    epoch: int, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    words = [*tiny, "dataset.batch_size=2", "trainer.max_epochs=3", "dataset.split.val=0.5"]
    start([*words, f"run_dir={tmp_path / 'unbroken'}"])
    original, seen = Task.validation_step, []

    def asked(task: Task, batch: Any, batch_idx: int) -> None:
        if task.current_epoch == epoch:
            seen.append(batch_idx)
            os.kill(os.getpid(), signal.SIGTERM)
        original(task, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Task, "validation_step", asked)
        start([*words, f"run_dir={run}"])
    assert seen == [0]
    start([f"resume={run}"])
    same(run, tmp_path / "unbroken")


def test_a_signal_before_and_after_training_ends_the_run_too(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medexp.data.module import DataModule
    from medexp.run import evaluate

    def asked(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    for place, name, last in ((DataModule, "setup", False), (evaluate, "score", True)):
        run = tmp_path / name
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
            patch.setattr(place, name, asked)
            start([*tiny, f"run_dir={run}"])
        assert end.value.code == 143
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert (f"medexp train resume={run}" in said) is last
        assert ("nothing is on the disk" in said) is not last
    assert start([f"resume={run}"])["metrics"]["dice"] > 0
    assert checkpoint(run)["global_step"] == 2  # trained before already


def test_ctrl_c_twice_does_not_wait_for_the_step(tiny: list[str], tmp_path: Path, at_step: Callable[..., None]) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    run = tmp_path / "run"
    at_step(3, twice)
    with pytest.raises(SystemExit) as end:
        start([*tiny, "dataset.batch_size=2", f"run_dir={run}"])
    assert end.value.code == 130
    assert not (run / "checkpoints/last.ckpt").exists()


def test_what_an_epoch_hangs_on_cannot_change_in_its_middle(
    tiny: list[str], tmp_path: Path, at_step: Callable[..., None]
) -> None:
    run = tmp_path / "run"
    at_step(5, killed)
    with pytest.raises(Killed):
        start([*tiny, *EVERY_STEP, f"run_dir={run}"])
    before = (run / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=r"dataset.batch_size: 4, but .* after batch 1 of epoch 2 with 2"):
        start([f"resume={run}", "dataset.batch_size=4"])
    with pytest.raises(UserError, match=r"^seed: 7, but"):
        start([f"resume={run}", "seed=7"])
    assert (run / "config.yaml").read_bytes() == before
    start([f"resume={run}", "trainer.max_epochs=3"])
    assert checkpoint(run)["global_step"] == 12


def test_a_damaged_last_checkpoint_is_skipped_with_a_word(
    tiny: list[str], tmp_path: Path, at_step: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = [*tiny, *EVERY_STEP]
    start([*words, f"run_dir={tmp_path / 'unbroken'}"])
    at_step(6, killed)
    with pytest.raises(Killed):
        start([*words, f"run_dir={run}"])
    last = run / "checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    shutil.copytree(run, tmp_path / "both")
    start([f"resume={run}"])
    assert "last.ckpt is skipped: it is cut off" in capsys.readouterr().out
    assert checkpoint(run, "previous")["global_step"] == 7  # of the whole ones; the damaged one is not among them
    same(run, tmp_path / "unbroken")
    (tmp_path / "both/checkpoints/previous.ckpt").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"cut off.*no whole previous.ckpt"):
        start([f"resume={tmp_path / 'both'}"])


def test_two_deterministic_runs_are_equal_byte_by_byte(tiny: list[str], tmp_path: Path) -> None:
    try:
        for name in ("one", "two"):
            start([*tiny, "model.dropout=0.2", "trainer.deterministic=true", f"run_dir={tmp_path / name}"])
            assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    same(tmp_path / "one", tmp_path / "two")
    said = json.loads((tmp_path / "one/environment.json").read_text())["repeatable"]
    assert (said["deterministic"], said["device"], said["ranks"], said["broken_by"]) == (True, "cpu", 1, [])


def test_a_disk_that_becomes_full_ends_the_run_with_the_reason(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, original, left = tmp_path / "run", checkpoint_file._save, [3]

    def limited(content: Any, file: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(content, file)

    words = [*tiny, *EVERY_STEP]
    start([*words, f"run_dir={tmp_path / 'unbroken'}"])
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_file, "_save", limited)
        with pytest.raises(RunFault, match=r"last.ckpt: was not written \(No space left on device\).*make room"):
            start([*words, f"run_dir={run}"])
    assert checkpoint(run)["global_step"] == 3
    assert checkpoint(run, "previous")["global_step"] == 2
    start([f"resume={run}"])
    same(run, tmp_path / "unbroken")


def test_a_real_disk_that_becomes_full_or_refuses_ends_the_run_which_goes_on_when_mended(
    tiny: list[str], tmp_path: Path, at_step: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny, *EVERY_STEP]
    start([*words, f"run_dir={tmp_path / 'unbroken'}"])
    with disks.small(tmp_path / "small", "8m") as disk:
        run = disk / "run"
        at_step(5, lambda: disks.fill(disk))
        with pytest.raises(RunFault, match=r"No space left on device.*(make room|resume=)"):
            start([*words, f"run_dir={run}"])
        assert 3 <= checkpoint(run)["global_step"] <= 5
        (disk / "ballast").unlink()
        with ExitStack() as stack:
            at_step(6, lambda: stack.enter_context(disks.refusing(run / "checkpoints")))
            with pytest.raises(RunFault, match=r"(Read-only file system|Permission denied).*resume"):
                start([f"resume={run}"])
        start([f"resume={run}"])
        same(run, tmp_path / "unbroken")
    assert "Logging error" not in capfd.readouterr().err


@pytest.mark.parametrize("how", ["killed", "stuck", "frozen"])
def test_a_worker_that_dies_or_hangs_ends_the_run_with_the_cause_and_the_cases(
    how: str, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medexp.data.cases import TrainCases

    original = TrainCases.__getitem__

    def struck(cases: TrainCases, draw: Any) -> Any:
        if draw.epoch == 1 and how != "stuck":
            os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        if draw.epoch == 1:
            time.sleep(60)
        return original(cases, draw)

    monkeypatch.setattr(TrainCases, "__getitem__", struck)
    said = {
        "killed": r"ended with SIGKILL \(most likely the memory was full: use fewer workers than dataset.num_workers=2",
        "stuck": r"no batch came from the workers: a worker did nothing for 1 s",
    }
    words = [*tiny, *EVERY_STEP, "dataset.num_workers=2", "dataset.timeout=1", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(RunFault, match=rf"{said.get(how, said['stuck'])}.*next cases.*p00\d\d_s\d"):
        start(words)
    assert [child for child in multiprocessing.active_children() if child.daemon] == []
    assert checkpoint(tmp_path / "run")["global_step"] == 4


@pytest.mark.parametrize("patient", [True, False])
def test_a_signal_to_the_command_reaches_its_run_which_is_waited_for(
    patient: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = "raise SystemExit(open(sys.argv[1] + '/ended', 'w').close() or 143)" if patient else "None"
    script = (
        f"import os, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: {'end()' if patient else 'None'})\n"
        f"def end():\n    time.sleep(0.2)\n    {ends}\n"
        "assert 'LOCAL_RANK' not in os.environ\n"
        "places = [f'/proc/self/fd/{name}' for name in os.listdir('/proc/self/fd')] if sys.platform == 'linux' else []\n"
        "held = [os.readlink(place) for place in places if os.path.exists(place)] or sys.argv[1:]\n"
        "assert sys.argv[1] in held\n"  # the lock is its own too, should the command be killed
        "os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(process, "command", lambda run: [sys.executable, "-c", script, str(run)])
    monkeypatch.setattr(process, "PATIENCE", 60.0 if patient else 0.5)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(process.Stopped) as stopped:
        process.complete(tmp_path)
    assert stopped.value.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "ended").exists() is patient
    with folder.lock(tmp_path):  # nobody holds it any more
        pass


def poisoned(step: int, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """The loss, or the gradient alone, of one step is no number."""
    original = Task.training_step

    def changed(task: Task, batch: Any, batch_idx: int) -> Any:
        loss = original(task, batch, batch_idx)
        if task.global_step == step and part == "loss":
            task.so_far.rows[-1] = task.so_far.rows[-1] * torch.nan
            return loss * torch.nan
        if task.global_step == step:
            loss.register_hook(lambda gradient: gradient * torch.inf)
        return loss

    monkeypatch.setattr(Task, "training_step", changed)


@pytest.mark.parametrize(
    ("part", "said"), [("loss", "the training loss became nan"), ("gradient", r"the gradient became (nan|inf)")]
)
def test_what_is_no_number_stops_the_run_and_names_the_cases(
    part: str, said: str, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    poisoned(5, monkeypatch, part)
    with pytest.raises(RunFault, match=rf"{said} in epoch 1, step 5, with the cases p00.*lower optimizer\.lr"):
        start([*tiny, *EVERY_STEP, f"run_dir={run}"])
    (entry,) = json.loads((run / "nonfinite.json").read_text())
    assert (entry["epoch"], entry["step"], entry["outcome"]) == (1, 5, "stopped")
    assert len(entry["ranks"][0]["case_ids"]) == 2
    assert (entry["ranks"][0]["loss"] == "nan") is (part == "loss")
    state = checkpoint(run)
    assert state["global_step"] == 5  # of the last good step
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values())
    monkeypatch.undo()


@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_a_step_that_is_left_out_leaves_the_weights_as_they_were(
    part: str, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    poisoned(1, monkeypatch, part)
    start([*tiny, *EVERY_STEP, "callbacks.finite.skip=1", "optimizer.weight_decay=0.5", f"run_dir={run}"])
    assert "left out (1 of at most 1)" in capsys.readouterr().out
    (entry,) = json.loads((run / "nonfinite.json").read_text())
    assert (entry["step"], entry["outcome"]) == (1, "left out")
    assert pd.read_csv(run / "metrics.csv")["train/loss"].notna().sum() == 2
    assert checkpoint(run)["global_step"] == 8
