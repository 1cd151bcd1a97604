"""How fast an epoch went, beside metrics.csv and not in it."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, Logger
from torch.utils.data import DataLoader, Dataset

from medexp.callbacks import throughput
from medexp.callbacks.progress import EpochLines
from medexp.callbacks.throughput import Throughput, Waits, spell
from medexp.data.cases import collate
from medexp.trainer import Trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*logging interval"
)


class Told(Logger):
    """A logger that remembers."""

    name, version = "told", "0"

    def __init__(self) -> None:
        super().__init__()
        self.values: list[dict[str, float]] = []

    def log_hyperparams(self, *args: Any, **options: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.values.append({**metrics, "step": step or 0})


class Clock:
    """Time that goes only where a test lets it."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(throughput, "time", clock)
    return clock


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Slow(pl.Callback):
    """Steps of a second, a validation of ten; a wait of 0.25 s for each batch is the clock's own doing."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_start(self, *_: Any) -> None:
        self.clock.now += 1.0

    def on_validation_batch_start(self, *_: Any) -> None:
        self.clock.now += 10.0


def waiting(clock: Clock) -> Waits:
    class Late(Waits):
        def stop(self, action_name: str) -> None:
            clock.now += 0.25 if action_name.endswith("train_dataloader_next") else 0.0
            super().stop(action_name)

    return Late()


def test_a_row_an_epoch_counts_steps_and_waits_and_no_validation(
    make: Any, fit: Any, clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "speed.csv"
    fit(make(), [Slow(clock), Throughput(str(path))], epochs=2, profiler=waiting(clock))
    first, second = rows(path)
    assert [first["epoch"], second["epoch"]] == ["0", "1"]
    # Three steps of two samples: 3 s of steps and at most a quarter each of waiting (a batch is fetched ahead of its epoch).
    seconds = float(second["seconds"])
    assert 3.5 <= seconds <= 4.0
    assert float(second["samples_per_second"]) == pytest.approx(6 / seconds, abs=0.01)
    assert float(second["data_wait"]) == pytest.approx((seconds - 3) / seconds, abs=1e-3)
    assert int(second["peak_memory_mb"]) > 50


class Sleepy(Dataset[dict[str, Any]]):
    """Six cases, each of which takes half a second to read."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.clock.now += 0.5
        return {"image": torch.zeros(1, 8, 8), "target": torch.tensor([index % 3]), "case_id": str(index)}


def test_the_time_that_reading_takes_is_waiting_in_every_epoch_and_its_line_says_so(
    make: Any, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="medexp")
    path = tmp_path / "speed.csv"
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=2, num_sanity_val_steps=0, enable_model_summary=False,
        default_root_dir=tmp_path, callbacks=[Slow(clock), Throughput(str(path)), EpochLines()], **quiet,
    )  # fmt: skip
    loader = DataLoader(Sleepy(clock), batch_size=2, collate_fn=collate)
    trainer.fit(make(), loader, loader)  # validation waits as well, which is not counted
    for row in rows(path):  # three batches of a second, three steps of a second
        assert (float(row["seconds"]), float(row["data_wait"])) == (6.0, 0.5)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("epoch ")]
    assert len(lines) == 2
    assert all("1.0 samples/s  data 50.0 %" in line for line in lines)


def test_a_validation_within_an_epoch_is_left_out(make: Any, fit: Any, clock: Clock, tmp_path: Path) -> None:
    fit(make(), [Slow(clock), Throughput(str(tmp_path / "speed.csv"))], val_check_interval=1)
    assert float(rows(tmp_path / "speed.csv")[0]["seconds"]) == pytest.approx(3.0)


def test_loggers_are_told_except_csv_whose_rows_come_again_with_the_same_command(
    make: Any, fit: Any, tmp_path: Path
) -> None:
    told, table = Told(), CSVLogger(str(tmp_path / "csv"), name="", version="")
    fit(make(), [Throughput()], logger=[told, table])
    speeds = [values for values in told.values if any(name.startswith("speed/") for name in values)]
    assert len(speeds) == 1
    assert speeds[0].keys() == {"speed/samples_per_second", "speed/data_wait", "speed/peak_memory_mb", "step"}
    assert speeds[0]["step"] == 3
    assert "speed" not in (tmp_path / "csv/metrics.csv").read_text()


def test_a_resumed_run_keeps_the_rows_of_the_epochs_before(make: Any, fit: Any, tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    fit(make(), [Throughput(str(path))], epochs=2).save_checkpoint(tmp_path / "half.ckpt")
    before = rows(path)
    path.write_text(path.read_text() + "2,1.0,0.0,100,1.0\n")  # an epoch that is trained again
    fit(make(), [Throughput(str(path))], epochs=4, resume=tmp_path / "half.ckpt")
    after = rows(path)
    assert after[:2] == before
    assert [row["epoch"] for row in after] == ["0", "1", "2", "3"]
    assert after[2]["peak_memory_mb"] != "100"


def test_an_epoch_that_is_gone_on_with_counts_from_where_it_goes_on(clock: Clock, tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(
        is_global_zero=True, current_epoch=4, precision="32-true", world_size=2, profiler=Waits(), is_last_batch=True,
        loggers=[], global_step=9,
    )  # fmt: skip
    callback, module = Throughput(), SimpleNamespace(device=torch.device("cpu"))
    callback.on_train_start(trainer, module)  # type: ignore[arg-type]
    clock.now += 2.0
    callback.on_train_batch_end(trainer, module, None, {"image": torch.zeros(3, 1)}, 7)  # type: ignore[arg-type]
    callback.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
    assert callback.last is not None
    assert (callback.last["epoch"], callback.last["seconds"], callback.last["samples_per_second"]) == (4, 2.0, 3.0)


def test_another_profiler_leaves_the_share_of_waiting_empty(make: Any, fit: Any, tmp_path: Path) -> None:
    callback = Throughput(str(tmp_path / "speed.csv"))
    fit(make(), [callback], profiler=pl.profilers.PassThroughProfiler())
    assert rows(tmp_path / "speed.csv")[0]["data_wait"] == ""
    assert callback.last is not None
    assert "data" not in spell(callback.last)


def test_a_line_says_what_training_runs_in(make: Any, fit: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="medexp")
    fit(make(), [Throughput()], precision="bf16-mixed")
    threads = torch.get_num_threads()
    said = [record.getMessage() for record in caplog.records if record.name.startswith("medexp")]
    assert said == [f"training in bf16-mixed on 1 x cpu; {threads} threads and 0 loader workers each"]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(is_global_zero=False, current_epoch=0, profiler=None)
    callback, module = Throughput(str(tmp_path / "speed.csv")), torch.nn.Identity()
    callback._samples = 5
    for hook in (callback.on_train_start, callback.on_train_epoch_end):
        hook(trainer, module)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_row_is_spelt_for_the_line_of_the_epoch() -> None:
    row = {"epoch": 0, "samples_per_second": 61.23, "data_wait": 0.0031, "peak_memory_mb": 812, "seconds": 1.0}
    assert spell(row) == "61.2 samples/s  data 0.3 %  812 MB"
    assert spell({**row, "data_wait": None}) == "61.2 samples/s  812 MB"
