"""The arguments that medexp's Trainer has beside Lightning's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from medexp import build, trainer
from medexp.callbacks.compiling import Compile
from medexp.callbacks.layout import ChannelsLast
from medexp.callbacks.recomputing import Recompute
from medexp.callbacks.throughput import Waits
from medexp.config.check import check
from medexp.errors import Faults
from medexp.run.train import plan
from medexp.trainer import Trainer

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _precision_of_products() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")


def own(made: pl.Trainer) -> list[pl.Callback]:
    return [entry for entry in made.callbacks if isinstance(entry, Compile | ChannelsLast | Recompute)]  # type: ignore[attr-defined]


def test_by_default_it_is_lightnings_trainer() -> None:
    made = Trainer(**QUIET)
    assert made.precision == "32-true"
    assert own(made) == []
    assert torch.get_float32_matmul_precision() == "highest"
    assert isinstance(made.profiler, Waits)


def test_auto_is_what_the_hardware_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(trainer, "fastest_precision", lambda accelerator: asked.append(accelerator) or "bf16-mixed")
    assert Trainer(precision="auto", **QUIET).precision == "bf16-mixed"
    assert asked == ["cpu"]


def test_options_come_before_the_callbacks_that_copy_or_watch_the_network() -> None:
    mine = pl.Callback()
    made = Trainer(
        channels_last=True, activation_checkpointing=True, compile="reduce-overhead", callbacks=[mine], **QUIET
    )
    layout, recompute, compiled = own(made)
    assert isinstance(recompute, Recompute)
    assert isinstance(layout, ChannelsLast)
    assert isinstance(compiled, Compile)
    assert compiled.mode == "reduce-overhead"
    order = made.callbacks  # type: ignore[attr-defined]
    assert order.index(layout) < order.index(recompute) < order.index(compiled) < order.index(mine)
    assert [entry.mode for entry in own(Trainer(compile=True, **QUIET)) if isinstance(entry, Compile)] == ["default"]


def test_the_precision_of_products_does_not_outlive_its_trainer() -> None:
    Trainer(matmul_precision="high", **QUIET)
    assert torch.get_float32_matmul_precision() == "high"
    Trainer(**QUIET)
    assert torch.get_float32_matmul_precision() == "highest"


def test_inference_uses_the_runs_precision_of_products(tmp_path: Path) -> None:
    cfg = {"run_dir": str(tmp_path), "trainer": {"accelerator": "cpu", "matmul_precision": "medium"}}
    build.single(cfg)
    assert torch.get_float32_matmul_precision() == "medium"
    build.single({**cfg, "trainer": {"accelerator": "cpu"}})  # a run from before there was the key
    assert torch.get_float32_matmul_precision() == "highest"


def test_inference_takes_the_runs_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        build, "fastest_precision", lambda accelerator: f"{'bf16-mixed' if accelerator == 'cpu' else ''}"
    )
    for given, used in (("bf16-mixed", "bf16-mixed"), ("16-mixed", "32-true"), ("auto", "bf16-mixed")):
        cfg = {"run_dir": str(tmp_path), "trainer": {"accelerator": "cpu", "precision": given}}
        assert build.single(cfg).precision == used


def test_another_profiler_takes_the_place_of_the_clock() -> None:
    assert not isinstance(Trainer(profiler="simple", **QUIET).profiler, Waits)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("trainer.compile=fast", "trainer.compile: 'fast' is not"),
        ("trainer.matmul_precision=tf32", "trainer.matmul_precision: 'tf32' is not"),
        ("trainer.channels_last=3d", "trainer.channels_last: '3d' is not bool"),
        ("trainer.activation_checkpointing=5", "trainer.activation_checkpointing: 5 is not bool"),
        ("trainer.precision=bf61", "trainer.precision: 'bf61' is not"),
        ("trainer.chanels_last=true", "did you mean 'channels_last'"),
        ("trainer.max_epoch=3", "did you mean 'max_epochs'"),
    ],
)
def test_a_wrong_value_is_a_problem_of_the_config(mistake: str, said: str) -> None:
    with pytest.raises(Faults) as caught:
        plan([mistake])
    assert said in str(caught.value)


def test_every_value_of_the_options_passes_the_check() -> None:
    cfg = plan(["trainer=fast", "trainer.compile=max-autotune", "trainer.channels_last=true"])
    for precision in ("auto", "bf16-mixed", "16-mixed", "32-true", "64-true", 32, "bf16"):
        check({**cfg, "trainer": {**cfg["trainer"], "precision": precision}}, "the config")


@pytest.mark.parametrize(
    ("devices", "gpus", "ranks"), [(1, 0, 1), ("2", 0, 2), ([0, 3], 4, 2), ("auto", 4, 4), (-1, 4, 4), ("auto", 0, 1)]
)
def test_there_is_a_process_a_device(devices: Any, gpus: int, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert build._ranks_here(devices) == ranks
