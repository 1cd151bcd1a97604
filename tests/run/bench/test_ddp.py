"""`medexp bench ddp`: two processes learn what one learns, and its numbers are what it says they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medexp.run.bench import ddp


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_same_global_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddp, "BATCH", 4)
    one, two = (ddp.train(tmp_path, ranks, threads=1, steps=20) for ranks in (1, 2))
    assert len(one["losses"]) == len(two["losses"]) == len(one["seconds"]) == len(two["seconds"]) == 20
    assert ddp.parity(one["losses"], two["losses"])["largest_difference"] <= 1e-5
    assert one["losses"][-1] < one["losses"][0] - 0.05  # there was something to learn
    assert all(seconds > 0 for seconds in [*one["seconds"], *two["seconds"]])


def test_losses_are_compared_step_by_step() -> None:
    found = ddp.parity([3.0, 2.0, 1.0], [3.0, 2.25, 0.875])
    assert found == {"largest_difference": 0.25, "last_one": 1.0, "last_two": 0.875}


def test_the_share_of_ideal_is_that_of_twice_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    paces: dict[int, list[list[float]]] = {
        1: [[9.0] * 3 + [1.0] * 4, [1.0] * 7, [2.0] * 7],
        2: [[0.5] * 7, [0.8] * 7, [1.25] * 7],
    }
    threads_seen = set()

    def train(folder: Path, ranks: int, threads: int, steps: int) -> dict[str, list[float]]:
        threads_seen.add(threads)
        return {"seconds": paces[ranks].pop(0), "losses": [1.0] * steps}

    monkeypatch.setattr(ddp, "train", train)
    monkeypatch.setattr(ddp, "cores", lambda: 6)
    found = ddp.run(rounds=3, steps=7)
    assert threads_seen == {3}  # half of the cores, for one process as for each of two
    assert found["spread"] == [pytest.approx(0.625), 1.0]  # the steps that warm up do not count
    assert found["share_of_ideal"] == pytest.approx(0.8)
    assert found["samples_a_second"] == {"1": 8.0, "2": 10.0}
    (speed, losses) = ddp.rows(found)
    assert speed == ("samples/s, 2 processes", "10.00", "8.00 (3 threads, 1 process)", "0.80 of ideal (0.62 to 1.00)")
    assert losses[-1] == "0.0e+00 apart"


def test_one_process_sees_the_whole_batch_and_each_of_two_its_half(tmp_path: Path) -> None:
    one, two = (ddp.config(tmp_path, ranks, 20) for ranks in (1, 2))
    assert (one["dataset"]["batch_size"], two["dataset"]["batch_size"]) == (ddp.BATCH, ddp.BATCH // 2)
    assert (one["trainer"]["devices"], two["trainer"]["devices"]) == (1, 2)
    alike = ("seed", "task", "model", "loss", "optimizer", "scheduler", "augmentation")
    assert {key: one[key] for key in alike} == {key: two[key] for key in alike}
    assert not one["loss"]["batch"]
    assert one["trainer"]["precision"] == two["trainer"]["precision"] == "32-true"


def test_processes_that_fail_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path, ranks: int, steps: int) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(ddp, "config", broken)
    with pytest.raises(RuntimeError, match=r"1 processes: exit code 1: (.|\n)*KeyError"):
        ddp.train(tmp_path, 1, 1, 5)
