"""Runs that learn measures, grades and several things at once: trained, evaluated, resumed and asked about new images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medexp.errors import UserError
from medexp.run.evaluate import evaluate
from medexp.run.predict import predict
from medexp.run.train import start

MEASURES = ["dataset.source.target=[lesion_volume_ml,lesion_count]", "+dataset.targets.lesion_count=''"]
RUNS = {
    "value": [
        *("experiment=regression/phantom_volume", "dataset.spatial_dims=2", "dataset.source.spatial_dims=2", *MEASURES),
        *("dataset.spacing=[2,2]", "dataset.image_size=[48,48]", "dataset.orientation=null", "model.channels=[4,4]"),
    ],
    "grade": ["experiment=classification/phantom_grade", "task.coral=true", "model.channels=[4,4]"],
    "heads": [
        "experiment=multitask/phantom",
        "model.net.channels=[4,8]",
        "model.net.strides=[2]",
        "task.uncertainty=true",
    ],
}


@pytest.fixture(scope="module")
def runs(phantom_2d: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of two epochs each; read only."""
    data = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "dataset.batch_size=4"]
    quick = ["trainer.max_epochs=2", "trainer.precision=32-true", "figures=2"]
    folder = tmp_path_factory.mktemp("runs")
    for name, words in RUNS.items():
        start([*words, *data, *quick, f"run_dir={folder / name}"])
    return {name: folder / name for name in RUNS}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_folder_alone_gives_the_same_results(name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    moved = shutil.copytree(runs[name], tmp_path / "moved")
    before = {file: (moved / file).read_bytes() for file in ("per_case.csv", "summary.json")}
    evaluate(moved)
    assert {file: (moved / file).read_bytes() for file in before} == before


def test_measures_are_tabled_by_unit_and_equal_those_of_the_evaluation(
    runs: dict[str, Path], phantom_2d: Path, tmp_path: Path
) -> None:
    rows = pd.read_csv(runs["value"] / "per_case.csv").set_index("case_id")
    truth = pd.read_csv(phantom_2d / "cases.csv").set_index("case_id").loc[rows.index]
    np.testing.assert_allclose(rows["label_lesion_volume_ml"], truth["lesion_volume_ml"], rtol=1e-5)
    np.testing.assert_allclose(rows["label_lesion_count"], truth["lesion_count"])
    predict(runs["value"], phantom_2d / "imagesTr", tmp_path)
    found = pd.read_csv(tmp_path / "predictions.csv").set_index("case_id").loc[rows.index]
    assert list(found) == ["lesion_volume_ml (ml)", "lesion_count"]
    np.testing.assert_allclose(found["lesion_volume_ml (ml)"], rows["prediction_lesion_volume_ml"], atol=1e-5)
    train = json.loads((runs["value"] / "split.json").read_text())["train"]
    volumes = pd.read_csv(phantom_2d / "cases.csv").set_index("case_id").loc[train, "lesion_volume_ml"]
    np.testing.assert_allclose(rows["mean_predictor_lesion_volume_ml"], volumes.mean(), rtol=1e-5)
    summary = json.loads((runs["value"] / "summary.json").read_text())["metrics"]
    assert summary["mae"]["per_class"]["lesion_volume_ml"]["mean"] == pytest.approx(
        (rows["prediction_lesion_volume_ml"] - rows["label_lesion_volume_ml"]).abs().mean()
    )
    figures = {path.name for path in (runs["value"] / "figures").iterdir()}
    assert figures == {"cases.png", "prediction_over_label.png", "bland_altman.png"}


def test_a_foreign_table_is_not_overwritten(runs: dict[str, Path], phantom_2d: Path, tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("case_id,age\n1,60\n")
    for name in ("value", "heads"):
        with pytest.raises(UserError, match="is there and no table of predictions"):
            predict(runs[name], phantom_2d / "imagesTr", tmp_path)
    assert (tmp_path / "predictions.csv").read_text() == "case_id,age\n1,60\n"


def test_grades_are_predicted_as_they_are_evaluated(runs: dict[str, Path], phantom_2d: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(runs["grade"] / "per_case.csv", dtype={"prediction": str}).set_index("case_id")
    predict(runs["grade"], phantom_2d / "imagesTr", tmp_path / "grades.csv")
    found = pd.read_csv(tmp_path / "grades.csv", dtype={"prediction": str}).set_index("case_id").loc[rows.index]
    assert found["prediction"].tolist() == rows["prediction"].tolist()
    np.testing.assert_allclose(found.filter(like="prob_").sum(axis=1), 1, atol=1e-5)


def test_heads_give_label_maps_on_the_source_grid_and_a_table(
    runs: dict[str, Path], phantom_2d: Path, tmp_path: Path
) -> None:
    rows = pd.read_csv(runs["heads"] / "per_case.csv").set_index("case_id")
    predict(runs["heads"], phantom_2d / "imagesTr", tmp_path)
    found = pd.read_csv(tmp_path / "predictions.csv").set_index("case_id").loc[rows.index]
    assert list(found) == ["presence", "prob_presence_healthy", "prob_presence_lesion", "lesion_volume_ml (ml)"]
    assert found["presence"].tolist() == rows["presence_prediction"].tolist()
    np.testing.assert_allclose(found["lesion_volume_ml (ml)"], rows["lesion_volume_ml_prediction_value"], atol=1e-5)
    for case in rows.index:
        image: Any = nib.load(phantom_2d / f"imagesTr/{case}.nii.gz")
        mask: Any = nib.load(tmp_path / f"{case}.nii.gz")
        assert mask.shape == image.shape
        np.testing.assert_allclose(mask.affine, image.affine)
    summary = json.loads((runs["heads"] / "summary.json").read_text())["metrics"]
    assert {"dice", "presence_auroc", "lesion_volume_ml_mae", "lesion_volume_ml_mae_mean_predictor"} <= summary.keys()
    columns = pd.read_csv(runs["heads"] / "metrics.csv").columns
    assert {"val/dice", "val/presence_auroc", "val/volume_r2"} <= set(columns)


def test_a_resumed_run_ends_as_the_unbroken_one(runs: dict[str, Path], tmp_path: Path) -> None:
    """The order of the data, the statistics of the targets and the learnt weights of the losses are those of the checkpoint."""
    run = shutil.copytree(runs["heads"], tmp_path / "again")
    start([f"resume={run}", "trainer.max_epochs=3"])
    rows = pd.read_csv(run / "metrics.csv")
    assert rows["epoch"].max() == 2
    assert np.isfinite(rows["val/loss"].dropna()).all()
