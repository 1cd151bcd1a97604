from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from forks import warm
from omegaconf import OmegaConf

from medexp.cli import main
from medexp.errors import UserError
from medexp.run import process
from medexp.run import sweep as sweeping
from medexp.run.sweep import sweep

ONE = "trainer.max_epochs=1"


@pytest.fixture(scope="module")
def grid(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Exit code and folder of a sweep of 2 x 2 jobs, of which two are refused by the check and one fails on its way."""
    root = tmp_path_factory.mktemp("runs") / "sweep"
    varied = ["model.channels=[4,8],[4,8,16]", "dataset.split.val=0.15,0.95"]  # 3 levels need 2 strides
    return warm("train", "-m", *tiny, ONE, *varied, f"run_dir={root}").returncode, root


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Jobs that end at once with a value that grows; returns the folders in the order of their runs."""
    runs: list[Path] = []

    def complete(run: Path, keep_stderr: bool = False) -> tuple[int, str]:
        runs.append(run)
        (run / "result.json").write_text(json.dumps({"value": len(runs) / 10}))
        return 0, ""

    monkeypatch.setattr(process, "complete", complete)
    return runs


def test_every_job_has_a_readable_folder_with_its_own_config(grid: tuple[int, Path]) -> None:
    _, root = grid
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    assert folders == [
        "000_model.channels=-4-8-_dataset.split.val=0.15",
        "001_model.channels=-4-8-_dataset.split.val=0.95",
    ]
    assert [OmegaConf.load(root / name / "config.yaml").dataset.split.val for name in folders] == [0.15, 0.95]
    assert "${" not in (root / folders[0] / "config.yaml").read_text()
    assert (root / folders[0] / "checkpoints/best.ckpt").is_file()
    assert (root / folders[0] / "summary.json").is_file()


def test_every_job_is_a_process_of_its_own(grid: tuple[int, Path]) -> None:
    _, root = grid
    commands = [json.loads(path.read_text())["command"] for path in sorted(root.glob("*/environment.json"))]
    assert [command.split("/")[-1].split("_")[0] for command in commands] == ["000"]


def test_a_sweep_goes_on_past_refused_jobs_and_says_so(grid: tuple[int, Path]) -> None:
    code, root = grid
    table = pd.read_csv(root / "sweep.csv")
    assert code == 1
    assert table["state"].tolist() == ["done", "failed", "refused", "refused"]
    assert table["value"].notna().tolist() == [True, False, False, False]
    assert table["overrides"][3] == "model.channels=[4,8,16] dataset.split.val=0.95"
    assert "strides" in table["reason"][2]
    assert table["monitor"][0] == "val/dice"


def test_a_job_that_fails_on_its_way_leaves_its_error(grid: tuple[int, Path]) -> None:
    _, root = grid
    error = (root / "001_model.channels=-4-8-_dataset.split.val=0.95/error.txt").read_text()
    assert error.strip().splitlines()[-1] in pd.read_csv(root / "sweep.csv")["reason"][1]


def test_all_combinations_run_in_order_and_0_is_returned(
    tiny: list[str], tmp_path: Path, without_training: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-m", *tiny, "seed=0,1", "optimizer=adamw,sgd", f"run_dir={tmp_path / 's'}"]) == 0
    assert [run.name for run in without_training] == [
        *("000_seed=0_optimizer=adamw", "001_seed=0_optimizer=sgd"),
        *("002_seed=1_optimizer=adamw", "003_seed=1_optimizer=sgd"),
    ]
    table = pd.read_csv(tmp_path / "s/sweep.csv")
    assert table["value"].tolist() == [0.1, 0.2, 0.3, 0.4]
    out = capsys.readouterr().out
    assert "seed=1 optimizer=sgd" in out
    assert "0.4000" in out


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("seed=range(3)", [0, 1, 2]), ("seed=range(1,7,3)", [1, 4]), ("seed=choice(2,5)", [2, 5]), ("seed=7", [7])],
)
def test_ranges_and_choices_are_understood(
    text: str, seeds: list[int], tiny: list[str], tmp_path: Path, without_training: list[Path]
) -> None:
    assert sweep([*tiny, text, f"run_dir={tmp_path / 's'}"]) == 0
    assert [OmegaConf.load(run / "config.yaml").seed for run in without_training] == seeds


def test_without_a_given_folder_a_sweep_goes_below_outputs(tiny: list[str], without_training: list[Path]) -> None:
    sweep([*tiny, "seed=0,1"])
    (root,) = (Path.cwd() / "outputs/segmentation/phantom_2d").iterdir()
    assert root.name.endswith("_sweep")
    assert [run.parent for run in without_training] == [root, root]


def test_a_sweep_of_which_no_job_can_run_is_a_mistake_and_leaves_nothing(tiny: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="chanels"):
        sweep([*tiny, "seed=0,1", "model.chanels=[4]", f"run_dir={tmp_path / 's'}"])
    assert not (tmp_path / "s").exists()


def test_a_job_killed_by_the_system_is_a_failed_one(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping.process, "complete", lambda run, keep_stderr=False: (-9, ""))
    assert sweep([*tiny, "seed=0,1", f"run_dir={tmp_path / 's'}"]) == 1
    table = pd.read_csv(tmp_path / "s/sweep.csv")
    assert table["state"].tolist() == ["failed", "failed"]
    assert "no message" in table["reason"][0]


def test_a_second_sweep_into_the_same_folder_is_refused(
    tiny: list[str], tmp_path: Path, without_training: list[Path]
) -> None:
    sweep([*tiny, "seed=0,1", f"run_dir={tmp_path / 's'}"])
    before = (tmp_path / "s/sweep.csv").read_text()
    with pytest.raises(UserError, match="already holds"):
        sweep([*tiny, "seed=0,1", f"run_dir={tmp_path / 's'}"])
    assert (tmp_path / "s/sweep.csv").read_text() == before
