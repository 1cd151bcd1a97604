"""Images to images, from the command to the file: trained, scored beside filters, written in the source's units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from layouts.configs import problems

from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.run.evaluate import evaluate
from medexp.run.predict import predict
from medexp.run.train import start
from medexp.transforms.normalize import ZScore

SMALL = ["model.features=[4,4,8,8,8,4]", "trainer.max_epochs=2", "figures=1", "dataset.batch_size=4"]


@pytest.fixture(scope="module")
def words(phantom_2d: Path) -> list[str]:
    root = [f"dataset.root={phantom_2d}", "dataset.source.patients=12"]
    parts = ["dataset=phantom_2d", "model=restoration", "loss=mae", "augmentation=flips", "inferer=whole_by_16"]
    return ["task=translation", "degradation=gaussian_noise", *parts, *root, *SMALL]


@pytest.fixture(scope="module")
def run(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(start([*words, f"run_dir={tmp_path_factory.mktemp('runs') / 'denoising'}"])["run_dir"])


def test_the_table_holds_the_network_beside_every_baseline(run: Path) -> None:
    table, summary = pd.read_csv(run / "per_case.csv"), json.loads((run / "summary.json").read_text())
    assert {"psnr", "psnr_input", "ssim_gaussian", "ms_ssim_nonlocal_means", "mae_total_variation"} <= set(
        table.columns
    )
    assert table.notna().all(axis=None)
    assert summary["metrics"]["psnr"]["mean"] == pytest.approx(table["psnr"].mean())
    assert list((run / "figures").glob("*.png"))


def test_an_evaluation_draws_the_noise_that_training_tested_with(run: Path, tmp_path: Path) -> None:
    evaluate(run, None, tmp_path)
    assert (tmp_path / "per_case.csv").read_text() == (run / "per_case.csv").read_text()


def test_a_prediction_lies_where_the_image_does_in_its_units(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    image = next(iter(sorted((phantom_2d / "imagesTr").iterdir())))
    predict(run, image, tmp_path / "out.nii.gz")
    source: Any = nib.load(image)
    found: Any = nib.load(tmp_path / "out.nii.gz")
    assert found.shape == source.shape
    np.testing.assert_allclose(found.affine, source.affine, atol=1e-5)
    one, two = np.asarray(source.dataobj, np.float64).ravel(), np.asarray(found.dataobj, np.float64).ravel()
    assert np.corrcoef(one, two)[0, 1] > 0.9
    assert abs(two.mean() - one.mean()) < one.std()  # of a network that has learnt for two epochs


@pytest.mark.parametrize("orientation", ["RAS", "LPS"])
def test_a_prepared_image_comes_back_as_its_source(orientation: str, phantom: Path) -> None:
    preparation = Preparation(3, 1, orientation, None, None, ZScore(), crop_foreground=False)
    record = Record("a", (next(iter(sorted((phantom / "imagesTr").iterdir()))),))
    source = preparation.read(record, with_label=False)[0]
    back = preparation.image_on_source(preparation.prepare(source).image, preparation.prepare(source), record)
    np.testing.assert_allclose(back, source.array, rtol=1e-3, atol=1e-3 * np.ptp(source.array))


def test_the_same_command_gives_the_same_run_with_workers_and_without(
    words: list[str], run: Path, tmp_path: Path
) -> None:
    other = start([*words, "dataset.num_workers=1", f"run_dir={tmp_path / 'run'}"])
    assert (Path(other["run_dir"]) / "metrics.csv").read_text() == (run / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["degradation=null"], "degradation: null; give one, e.g. degradation=gaussian_noise"),
        (["task=segmentation", "loss=dice_ce"], "only task=translation restores images"),
        (["degradation=other_channels"], "degradation.outputs: [1], but dataset.in_channels is 1"),
        (["task.out_channels=2"], "task.out_channels: 2, but 1 channels are to be given"),
        (["loss=dice"], "compares classes, the task gives images"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_any_data_is_read(
    words: list[str], change: list[str], message: str
) -> None:
    assert any(message in problem for problem in problems(*words, *change))
