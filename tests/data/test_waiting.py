"""Workers that are slow are waited for; workers that stand still, or are frozen, are not."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import Dataset

from medexp.data import waiting
from medexp.data.loading import Loader, end_workers, leave_stopping_to_main
from medexp.data.module import DataModule

PATIENCE = 0.5


class Slow(Dataset[Any]):
    """Items of which the second takes a while, in its way."""

    def __init__(self, way: Callable[[], None]) -> None:
        self.way = way

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if index == 1:
            self.way()
        return index


def computing(seconds: float = 3 * PATIENCE) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def reading() -> None:
    for _ in range(30):
        Path(__file__).read_bytes()
        time.sleep(PATIENCE / 10)


def sleeping() -> None:
    time.sleep(60)


def frozen() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@pytest.fixture
def batches() -> Iterator[Callable[[Callable[[], None]], list[Any]]]:
    held = []  # else their end waits for each worker

    def take(way: Callable[[], None]) -> list[Any]:
        options: dict[str, Any] = {"num_workers": 1, "worker_init_fn": leave_stopping_to_main}
        held.append(Loader(Slow(way), patience=PATIENCE, persistent_workers=True, **options))
        return [batch.tolist() for batch in held[0]]

    yield take
    end_workers()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has done")
@pytest.mark.parametrize("way", [computing, reading])
def test_a_slow_worker_is_waited_for_with_a_word(
    way: Callable[[], None], batches: Callable[..., list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        assert batches(way) == [[0], [1]]
    assert "no batch for 0.5 s: the data workers are at work, but slow" in caplog.text


@pytest.mark.parametrize("way", [sleeping, frozen])
def test_a_worker_that_stands_still_is_not(way: Callable[[], None], batches: Callable[..., list[Any]]) -> None:
    with pytest.raises(RuntimeError, match=r"timed out: a worker did nothing for 0.5 s"):
        batches(way)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_worker_that_never_comes_to_an_end_is_not_either(
    batches: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LONGEST", 3.0)
    with pytest.raises(RuntimeError, match=r"a worker (was at one batch for 1.5|did nothing for 0.5) s"):
        batches(lambda: computing(60))


def test_where_the_system_does_not_say_what_a_worker_does_the_time_alone_counts(
    batches: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting.Waiting, "_work", lambda self: None)
    with pytest.raises(RuntimeError, match=r"did nothing for 0\.5 s"):
        batches(lambda: computing(60))


def test_the_default_ends_a_run_within_half_a_minute() -> None:
    assert inspect.signature(DataModule).parameters["timeout"].default + 2 * waiting.LOOK_EVERY < 30


class Handing:
    """Batches that break off while a worker hands one over. exitcode: the worker's; None: it is at work."""

    def __init__(self, error: Exception, exitcode: int | None) -> None:
        self.error = error
        self._workers = [SimpleNamespace(pid=7, exitcode=exitcode, join=lambda seconds: None)]

    def __next__(self) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_that_ends_while_it_hands_over_a_batch_has_ended_as_any_other(error: Exception) -> None:
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid 7\) exited unexpectedly"):
        next(waiting.Waiting(Handing(error, -9), PATIENCE))
    with pytest.raises(type(error)):  # of the data themselves: all workers are there
        next(waiting.Waiting(Handing(error, None), PATIENCE))
