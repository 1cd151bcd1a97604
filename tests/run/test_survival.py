"""Survival as a user runs it: trains, is evaluated, predicts and is evaluated again from its folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medexp.errors import UserError
from medexp.run.evaluate import evaluate
from medexp.run.predict import predict
from medexp.run.suited import suited
from medexp.run.train import start

SMALL = ["dataset.source.patients=12", "trainer.max_epochs=2", "dataset.batch_size=4", "dataset.split.test=0.4"]


@pytest.fixture(scope="module", params=["phantom", "phantom_hazards"])
def run(request: pytest.FixtureRequest, phantom_2d: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / request.param
    options = ["task.out_channels=2"] if request.param == "phantom_hazards" else []
    where = [f"dataset.root={phantom_2d}", f"run_dir={folder}", "task.horizons=[6,12.5]", *options]
    return Path(start([f"experiment=survival/{request.param}", *SMALL, *where])["run_dir"])


def test_an_evaluation_gives_rows_a_summary_and_figures(run: Path) -> None:
    table = pd.read_csv(run / "per_case.csv")
    assert list(table)[:7] == ["case_id", "time", "event", "risk", "group", "survival_6", "survival_12.5"]
    assert sum(name.startswith("curve_") for name in table) == 19
    assert table["survival_6"].between(0, 1).all()
    assert (table["survival_12.5"] <= table["survival_6"]).all()
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    assert {"cindex", "cindex_ipcw", "auc", "brier", "brier_kaplan_meier", "logrank_p"} == set(metrics)
    figures = {path.name for path in (run / "figures").iterdir()}
    assert figures == {"cases.png", "risk_groups.png", "survival_curves.png"}


def test_the_run_folder_alone_gives_the_same_again(run: Path) -> None:
    before = (run / "per_case.csv").read_text(), json.loads((run / "summary.json").read_text())
    evaluate(run)
    assert ((run / "per_case.csv").read_text(), json.loads((run / "summary.json").read_text())) == before


def test_predictions_are_risks_and_survival_at_the_horizons(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    case = pd.read_csv(run / "per_case.csv").iloc[0]
    written = predict(run, phantom_2d / "imagesTr" / f"{case['case_id']}.nii.gz", tmp_path / "risks.csv")
    (row,) = pd.read_csv(written).to_dict("records")
    assert list(row) == ["case_id", "risk", "group", "survival_6", "survival_12.5"]
    np.testing.assert_allclose([row["risk"], row["survival_6"]], [case["risk"], case["survival_6"]], atol=2e-6)
    assert row["group"] == case["group"]
    with pytest.raises(UserError, match=r"this model predicts risks: give FILE\.csv or a folder"):
        predict(run, phantom_2d / "imagesTr", tmp_path / "risks.nii.gz")


def test_a_run_goes_on_where_it_ended(run: Path) -> None:
    before = pd.read_csv(run / "metrics.csv")["val/loss"].dropna().tolist()
    start([f"resume={run}", "trainer.max_epochs=3"])
    after = pd.read_csv(run / "metrics.csv")["val/loss"].dropna().tolist()
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ([], {"task=survival_cox", "loss=cox"}),
        (["task=survival_hazards"], {"loss=discrete_hazards"}),
        (["loss=cox", "model=vit"], {"task=survival_cox"}),
    ],
)
def test_a_data_set_with_follow_up_needs_no_more(words: list[str], more: set[str]) -> None:
    found = suited(["dataset=phantom_survival", *words])
    others = {"inferer=simple", *(() if "model=vit" in words else ["model=resnet18"])}
    assert set(found) - {"dataset=phantom_survival", *words} == more | others
