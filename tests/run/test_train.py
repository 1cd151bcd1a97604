from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from medexp.cli import main
from medexp.errors import UserError
from medexp.run.train import RunFault, many_processes, plan, start


def metrics(run: Path) -> pd.DataFrame:
    """metrics.csv, a row an epoch."""
    return pd.read_csv(run / "metrics.csv").groupby("epoch").first()


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
    return state


def test_the_run_folder_holds_everything_that_follows_from_it(trained: dict[str, Any]) -> None:
    run = Path(trained["run_dir"])
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert names >= {
        *("config.yaml", "overrides.yaml", "split.json", "metrics.csv", "per_case.csv", "summary.json"),
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "environment.json", "train.log", "result.json"),
    }
    assert [path for path in names if path.startswith("figures/") and path.endswith(".png")]
    assert not [name for name in names if "lightning_logs" in name or Path(name).name.startswith(".")]


def test_config_is_resolved_with_absolute_paths_and_overrides_are_kept(
    trained: dict[str, Any], tiny: list[str]
) -> None:
    run = Path(trained["run_dir"])
    text = (run / "config.yaml").read_text()
    cfg = OmegaConf.to_container(OmegaConf.create(text))
    assert "${" not in text
    assert isinstance(cfg, dict)
    assert cfg["model"]["channels"] == [4, 8]
    assert cfg["model"]["out_channels"] == 4
    assert cfg["name"] == "segmentation/phantom_2d"
    for place in (cfg["run_dir"], cfg["dataset"]["root"], cfg["cache_dir"], cfg["data_root"]):
        assert Path(place).is_absolute()
    assert OmegaConf.to_container(OmegaConf.load(run / "overrides.yaml")) == [*tiny, "figures=4", f"run_dir={run}"]


def test_no_patient_is_in_two_parts_and_every_case_is_in_one(trained: dict[str, Any], phantom_2d: Path) -> None:
    split = json.loads((Path(trained["run_dir"]) / "split.json").read_text())
    patients = {part: {case.split("_")[0] for case in ids} for part, ids in split.items()}
    assert not patients["train"] & patients["val"]
    assert not patients["train"] & patients["test"]
    assert not patients["val"] & patients["test"]
    cases = pd.read_csv(phantom_2d / "cases.csv")["case_id"]
    assert sorted(case for ids in split.values() for case in ids) == sorted(cases)


def test_metrics_hold_a_value_an_epoch_and_the_rate_that_it_was_trained_with(trained: dict[str, Any]) -> None:
    table = metrics(Path(trained["run_dir"]))
    assert list(table.index) == [0, 1]
    assert table[["train/loss", "val/loss", "val/dice", "lr"]].notna().all(axis=None)
    assert table["lr"].tolist() == pytest.approx([1e-3, 5e-4])  # half a cosine over two epochs
    assert table["train/loss"][1] < table["train/loss"][0]


def test_results_have_a_row_a_case_and_a_mean_of_those_rows(trained: dict[str, Any]) -> None:
    run = Path(trained["run_dir"])
    rows = pd.read_csv(run / "per_case.csv")
    split = json.loads((run / "split.json").read_text())
    summary = json.loads((run / "summary.json").read_text())
    assert rows["case_id"].tolist() == split["test"]
    for name in ("dice", "iou", "hd95", "dice_liver"):
        assert name in rows
    dice = summary["metrics"]["dice"]
    assert dice["mean"] == pytest.approx(rows["dice"].mean())
    assert dice["n"] == len(rows)
    assert dice["per_class"]["liver"]["mean"] == pytest.approx(rows["dice_liver"].mean())
    assert (summary["checkpoint"], summary["part"], summary["cases"]) == ("best", "test", len(rows))


def test_environment_names_versions_hardware_and_seed(trained: dict[str, Any]) -> None:
    found = json.loads((Path(trained["run_dir"]) / "environment.json").read_text())
    assert found["packages"]["torch"] == torch.__version__
    assert found["seed"] == 0
    assert found["cpu"]["cores"] >= 1
    assert {"git", "gpu", "platform", "command", "python"} <= found.keys()


def test_the_log_of_a_run_has_a_line_an_epoch(trained: dict[str, Any]) -> None:
    text = (Path(trained["run_dir"]) / "train.log").read_text()
    assert "epoch 1/2" in text
    assert "epoch 2/2" in text
    assert re.search(r"\d+ train, \d+ val, \d+ test cases of 12 patients", text)


def test_the_best_monitored_value_is_returned_and_its_checkpoint_is_tested(tiny: list[str], tmp_path: Path) -> None:
    options = ["optimizer.lr=0.03", "scheduler=constant", "trainer.max_epochs=5", "monitor=val/loss", "mode=min"]
    result = start([*tiny, *options, "augmentation=none", f"run_dir={tmp_path / 'run'}"])
    table = metrics(tmp_path / "run")
    assert result["value"] == pytest.approx(table["val/loss"].min(), abs=1e-6)
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] == table["val/loss"].idxmin()
    assert (
        result["metrics"]["dice"] == json.loads((tmp_path / "run/summary.json").read_text())["metrics"]["dice"]["mean"]
    )


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    trained: dict[str, Any], tiny: list[str], tmp_path: Path
) -> None:
    first = (Path(trained["run_dir"]) / "metrics.csv").read_text()
    start([*tiny, f"run_dir={tmp_path / 'again'}"])
    assert (tmp_path / "again/metrics.csv").read_text() == first
    start([*tiny, "seed=1", f"run_dir={tmp_path / 'other'}"])
    assert (tmp_path / "other/metrics.csv").read_text() != first


def test_workers_change_nothing(trained: dict[str, Any], tiny: list[str], tmp_path: Path) -> None:
    start([*tiny, "dataset.num_workers=2", f"run_dir={tmp_path / 'run'}"])
    assert (tmp_path / "run/metrics.csv").read_text() == (Path(trained["run_dir"]) / "metrics.csv").read_text()


def test_dropout_is_drawn_from_the_seed(tiny: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        start([*tiny, "model.dropout=0.5", f"run_dir={tmp_path / name}"])
        torch.rand(7)  # what others draw from the global generator does not matter
    assert (tmp_path / "one/metrics.csv").read_text() == (tmp_path / "two/metrics.csv").read_text()


def test_class_weights_are_counted_in_the_training_split_and_said(tiny: list[str], tmp_path: Path) -> None:
    start([*tiny, "loss=weighted_cross_entropy", f"run_dir={tmp_path / 'run'}"])
    text = (tmp_path / "run/train.log").read_text()
    assert "loss.weight=auto, from the training split: background 0." in text
    assert "lesion" in text


def test_l1_is_added_to_what_is_minimised_and_changes_the_weights(
    trained: dict[str, Any], tiny: list[str], tmp_path: Path
) -> None:
    start([*tiny, "task.l1=0.1", f"run_dir={tmp_path / 'run'}"])

    def size(run: Path) -> float:
        return sum(float(value.abs().sum()) for name, value in weights(run).items() if name.endswith("weight"))

    assert size(tmp_path / "run") < size(Path(trained["run_dir"])) - 0.01


def test_early_stopping_stops(tiny: list[str], tmp_path: Path) -> None:
    options = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=1e-12"]
    start([*tiny, *options, "trainer.max_epochs=9", f"run_dir={tmp_path / 'run'}"])
    assert len(metrics(tmp_path / "run")) < 9


@pytest.mark.parametrize("mode", ["fast", "limit", "overfit"])
def test_debug_modes_run(mode: str, tiny: list[str], tmp_path: Path) -> None:
    epochs = ["trainer.max_epochs=40"] if mode == "overfit" else []
    chosen = [text for text in tiny if "max_epochs" not in text]
    start([*chosen, f"debug={mode}", *epochs, f"run_dir={tmp_path / 'run'}"])
    split = json.loads((tmp_path / "run/split.json").read_text())
    assert len(split["train"]) == {"fast": 2, "limit": 8, "overfit": 4}[mode]  # 8 are all
    assert len(metrics(tmp_path / "run")) == {"fast": 1, "limit": 3, "overfit": 40}[mode]


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["optimizer=sgd", "optimizer.lr=1e38", "trainer.gradient_clip_val=null", "augmentation=none"]
    code = main(["train", *tiny, *options, "trainer.max_epochs=4", f"run_dir={tmp_path / 'run'}"])
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 1
    assert len(lines) == 1
    assert "the training loss became" in lines[0]
    assert "optimizer.lr" in lines[0]


def test_a_loss_that_is_no_number_is_a_fault_of_the_run(tiny: list[str], tmp_path: Path) -> None:
    options = ["optimizer=sgd", "optimizer.lr=1e38", "trainer.gradient_clip_val=null", "augmentation=none"]
    with pytest.raises(RunFault, match=r"lower optimizer\.lr"):
        start([*tiny, *options, "trainer.max_epochs=4", f"run_dir={tmp_path / 'run'}"])


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(trained: dict[str, Any], tiny: list[str]) -> None:
    run = Path(trained["run_dir"])
    before = (run / "config.yaml").read_text()
    with pytest.raises(UserError, match=r"already holds a run.*resume="):
        start([*tiny, f"run_dir={run}", "seed=5"])
    assert (run / "config.yaml").read_text() == before


@pytest.mark.parametrize("mistake", ["model.chanels=[4]", "dataset.source.patients=11", "dataset.classes=[a,b]"])
def test_a_mistake_leaves_no_half_run_folder(mistake: str, tiny: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError):
        start([*tiny, mistake, f"run_dir={tmp_path / 'run'}"])
    assert not (tmp_path / "run").exists()


def test_runs_without_a_given_folder_go_below_outputs_by_name(tiny: list[str]) -> None:
    cfg = plan(tiny)
    assert Path(cfg["run_dir"]).parent == Path.cwd() / "outputs/segmentation/phantom_2d"
    assert not Path("outputs").exists()  # planning writes nothing


@pytest.mark.parametrize(
    ("trainer", "many"),
    [
        ({"devices": 1}, False),
        ({"devices": 2}, True),
        ({"devices": [0]}, False),
        ({"devices": 1, "num_nodes": 2}, True),
    ],
)
def test_several_devices_get_processes_of_their_own(trainer: dict[str, Any], many: bool) -> None:
    assert many_processes(trainer) is many


def test_the_command_prints_the_test_metrics_and_the_folder(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *tiny, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    assert "dice" in out
    assert f"run folder: {tmp_path / 'run'}" in out


def test_logs_go_to_the_run_folder_alone_and_not_to_the_one_before(tiny: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        start([*tiny, "trainer.max_epochs=1", f"run_dir={tmp_path / name}"])
    assert str(tmp_path / "two") not in (tmp_path / "one/train.log").read_text()
    assert logging.getLogger("medexp").handlers


def test_from_the_shell_a_run_exits_with_0(medexp: Callable[..., Any], tiny: list[str], tmp_path: Path) -> None:
    done = medexp("train", *tiny, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "best val/dice" in done.stdout
