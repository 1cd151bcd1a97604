"""Runs of detection from beginning to end: rows, figures, tables of objects, in voxels and millimetres."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from medexp import build
from medexp.data.records import Box, Record
from medexp.errors import UserError
from medexp.run.evaluate import evaluate
from medexp.run.folder import load
from medexp.run.inference import Outcome
from medexp.run.predict import predict
from medexp.run.results import results
from medexp.run.results.boxes import on_source
from medexp.run.train import start

NET = ["model.channels=[4,8]", "model.strides=[2]", "inferer.divisible_by=2"]


@pytest.fixture(scope="module")
def run(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of one epoch, of scans in many orientations and spacings; read only."""
    into = tmp_path_factory.mktemp("runs") / "boxes"
    data = [f"dataset.root={phantom}", "dataset.source.patients=10", "dataset.patch_size=[16,16,16]"]
    few = ["trainer.max_epochs=1", "figures=2", "task.least=0.001", "task.most=20"]
    start(["experiment=detection/phantom", *data, *NET, *few, f"run_dir={into}"])
    return into


def test_an_evaluation_leaves_rows_a_summary_and_figures(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert {"map_0.1", "map_0.5", "cpm", "sensitivity_0.125", "sensitivity_8"} <= summary["metrics"].keys()
    rows = pd.read_csv(run / "per_case.csv")
    assert list(rows.columns) == ["case_id", "objects", "hits", "boxes", "matches"]
    assert rows["objects"].sum() == summary["metrics"]["cpm"]["n"]
    names = {path.name for path in (run / "figures").iterdir()}
    assert {"cases.png", "froc.png", "sensitivity_by_size.png"} < names
    assert len(names) == 5
    before = summary["metrics"]
    assert evaluate(run)["metrics"] == before


def test_found_boxes_come_back_to_the_file_s_own_grid(run: Path) -> None:
    """True objects, carried to the prepared grid as the network would have found them, are all right there and back."""
    cfg = load(run)
    data = build.datamodule(cfg)
    found, scorer = results(cfg, data), build.scorer(cfg)
    records = [record for record in data.records() if record.boxes][:4]
    rows = []
    for record in records:
        facts, prepared = data.load(record)
        count = len(facts["boxes"])
        scores = torch.cat([facts["boxes"], torch.full((count, 1), 0.9), facts["box_classes"][:, None]], dim=1)
        padding = torch.zeros(2, scores.shape[1])
        outcome = Outcome(record, prepared, None, torch.cat([scores, padding]))
        wanted = np.array([[*box.lower, *box.upper] for box in record.boxes or ()])
        np.testing.assert_allclose(on_source(outcome)[:, :-2], wanted, atol=1e-3)
        rows.append(found.row(outcome, scorer)[1])  # type: ignore[index]
    metrics = scorer.summarize(rows)
    assert metrics["map_0.5"]["mean"] == metrics["cpm"]["mean"] == 1


def test_predictions_are_boxes_in_voxels_and_centres_in_millimetres(run: Path, tmp_path: Path, phantom: Path) -> None:
    scan = sorted((phantom / "imagesTr").iterdir())[0]
    table = pd.read_csv(predict(run, scan, tmp_path / "found.csv"))
    edges = [f"{side}_{axis}" for side in ("lower", "upper") for axis in range(3)]
    assert list(table.columns) == ["case_id", "class", "score", *edges, "x_mm", "y_mm", "z_mm"]
    image: Any = nib.load(scan)
    assert len(table) > 0
    assert (table["class"] == "lesion").all()
    assert table["score"].is_monotonic_decreasing
    assert (table[edges[:3]].to_numpy() >= 0).all()
    assert (table[edges[3:]].to_numpy() <= image.shape).all()
    middles = (table[edges[:3]].to_numpy() + table[edges[3:]].to_numpy()) / 2 - 0.5
    places = nib.affines.apply_affine(image.affine, middles)
    np.testing.assert_allclose(table[["x_mm", "y_mm", "z_mm"]].to_numpy(), places, atol=2e-3)


def test_cases_without_an_object_have_no_row_and_are_said(
    run: Path, tmp_path: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    build_task = build.task

    def strict(cfg: Any) -> Any:
        made = build_task(cfg)
        made.least = 1.1
        return made

    monkeypatch.setattr(build, "task", strict)
    scan = sorted((phantom / "imagesTr").iterdir())[0]
    with caplog.at_level(logging.INFO, "medexp"):
        table = pd.read_csv(predict(run, scan, tmp_path / "found.csv"))
    assert len(table) == 0
    assert "score" in table.columns
    assert "no object in 1 cases" in caplog.text
    with pytest.raises(UserError, match=r"--output: .*this model detects objects: give FILE\.csv or a folder"):
        predict(run, scan, tmp_path / "found.nii.gz")


def test_pictures_have_no_millimetres(tmp_path: Path, phantom_2d: Path) -> None:
    data = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "trainer.max_epochs=1", "task.least=0.001"]
    into = tmp_path / "run"
    start(["experiment=detection/phantom_2d", *data, *NET, "figures=0", f"run_dir={into}"])
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 40), dtype=np.uint8)).save(tmp_path / "a.png")
    table = pd.read_csv(predict(into, tmp_path / "a.png", tmp_path / "found"))
    assert table[["x_mm", "y_mm", "z_mm"]].isna().all().all()
    assert not (into / "figures").exists() or not list((into / "figures").iterdir())


def test_objects_of_masks_are_scored_as_boxes_are(tmp_path: Path, phantom_2d: Path) -> None:
    data = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "trainer.max_epochs=1"]
    into = tmp_path / "run"
    start(["experiment=detection/phantom_masks_2d", *data, *NET, "figures=2", f"run_dir={into}"])
    assert "cpm" in json.loads((into / "summary.json").read_text())["metrics"]
    cfg = load(into)
    found: Any = results(cfg, build.datamodule(cfg))
    assert found.names == ["lesion"]
    record = next(record for record in found.data.records() if record.boxes)
    by_label = found.true(
        Record(record.case_id, record.images, record.label)
    )  # without boxes: the components of the map
    np.testing.assert_array_equal(np.sort(by_label, axis=0), np.sort(found.true(record), axis=0))
    other = Record(record.case_id, record.images, record.label, boxes=(Box("lesion", (1, 2), (3, 4)),))
    assert found.true(other).tolist() == [[1, 2, 3, 4, 0]]
