"""Images to images, from the command to the file: trained, scored beside filters, written in the source's units."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from compared import same
from layouts import nifti_folder
from layouts.configs import problems

from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.run.evaluate import evaluate
from medexp.run.export import export
from medexp.run.predict import predict
from medexp.run.results.images import refined
from medexp.run.train import start
from medexp.transforms.normalize import ZScore

SMALL = ["model.channels=[4,8]", "model.strides=[2]", "trainer.max_epochs=2", "figures=1", "dataset.batch_size=4"]


@pytest.fixture(scope="module")
def words(phantom_2d: Path) -> list[str]:
    root = [f"dataset.root={phantom_2d}", "dataset.source.patients=12"]
    parts = ["dataset=phantom_2d", "model=restoration", "loss=mae", "augmentation=flips", "inferer=whole_by_8"]
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


@pytest.mark.parametrize("spacing", ["null", "[1.5,1.5,1.5]"])
def test_a_coarse_scan_is_restored_on_a_finer_grid_in_its_units(spacing: str, phantom: Path, tmp_path: Path) -> None:
    data = [f"dataset.root={phantom}", "dataset.source.patients=10", f"dataset.spacing={spacing}", "figures=0"]
    net = ["model.channels=[4,8]", "model.strides=[2]", "trainer.max_epochs=1", "dataset.patch_size=[16,16,16]"]
    words = ["experiment=translation/phantom_denoising", "degradation=super_resolution_2", *data, *net]
    run = Path(start([*words, "metrics.test.baselines=[input]", f"run_dir={tmp_path / 'run'}"])["run_dir"])
    image: Any = nib.as_closest_canonical(nib.load(next(iter(sorted((phantom / "imagesTr").iterdir())))))  # type: ignore[no-untyped-call,attr-defined]
    fine = np.asarray(image.dataobj, np.float32)
    sides = [side // 2 for side in fine.shape]
    coarse = (
        fine[tuple(slice(0, 2 * side) for side in sides)].reshape(sides[0], 2, sides[1], 2, sides[2], 2).mean((1, 3, 5))
    )
    affine = refined(image.affine, (1, 1, 1)) @ np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] += image.affine[:3, :3] @ np.full(3, 0.5)  # the middle of a large voxel
    nib.save(nib.Nifti1Image(coarse, affine), tmp_path / "coarse.nii.gz")
    predict(run, tmp_path / "coarse.nii.gz", tmp_path / "out.nii.gz")
    found: Any = nib.load(tmp_path / "out.nii.gz")
    values = np.asarray(found.dataobj)
    assert abs(values.mean() - coarse.mean()) < 0.3 * coarse.std()  # of a network that has hardly learnt
    assert 0.5 < values.std() / coarse.std() < 1.5
    if spacing == "null":  # each voxel becomes eight over the same extent
        assert found.shape == tuple(2 * side for side in sides)
        np.testing.assert_allclose(found.affine, image.affine, atol=1e-4)
        assert np.corrcoef(values.ravel(), fine[tuple(slice(0, side) for side in values.shape)].ravel())[0, 1] > 0.9
    else:
        np.testing.assert_allclose(nib.affines.voxel_sizes(found.affine), 1.5)


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
        (["degradation=super_resolution_2", "degradation.factor=[2,2,2]"], "factor: [2, 2, 2] for images of 2 axes"),
        (["degradation=super_resolution_2", "degradation.factor=[]"], "factor: [] for images of 2 axes"),
        (
            ["degradation=super_resolution_2", "degradation.factor=33", "dataset.patch_size=[32,32]"],
            "factor: 33 is above the 32 voxels of axis 0",
        ),
        (
            ["degradation=super_resolution_2", "degradation.factor=[1,49]", "dataset.patch_size=[64,48]"],
            "factor: 49 is above the 48 voxels of axis 1 (dataset.patch_size); give at most 48",
        ),
        (["loss=dice"], "compares classes, the task gives images"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_any_data_is_read(
    words: list[str], change: list[str], message: str
) -> None:
    assert any(message in problem for problem in problems(*words, *change))


@pytest.fixture(scope="module")
def flair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that makes FLAIR from T1, of slabs of one patient, and where the patient lies."""
    root = nifti_folder.write(tmp_path_factory.mktemp("ms") / "ms", patients=1, size=(48, 24, 24))
    small = ["dataset.patch_size=[8,16,16]", "dataset.slabs.gap=1", "dataset.draws=8", "figures=1", "trainer=cpu"]
    net = ["model.channels=[4,8]", "model.strides=[2]", "trainer.max_epochs=2", "trainer.precision=32-true"]
    words = ["experiment=translation/ljubljana_t1_to_flair", f"dataset.root={root}", *small, *net]
    return Path(start([*words, f"run_dir={tmp_path_factory.mktemp('runs') / 'flair'}"])["run_dir"]), root


def test_one_patient_is_learnt_from_in_slabs_and_a_bound_stands_beside_the_network(flair: tuple[Path, Path]) -> None:
    run, _ = flair
    assert json.loads((run / "split.json").read_text()) == {
        part: [f"patient01_{part}"] for part in ("train", "val", "test")
    }
    assert {"psnr_input", "ssim_intensity_map"} <= set(pd.read_csv(run / "per_case.csv").columns)


def test_a_modality_is_made_from_the_others_alone(flair: tuple[Path, Path], tmp_path: Path) -> None:
    run, root = flair
    (t1,) = (root / "patient01").glob("T1_*")
    alone = tmp_path / "in" / "patient01"
    alone.mkdir(parents=True)
    shutil.copy(t1, alone / t1.name)
    predict(run, t1, tmp_path / "plain.nii.gz")
    predict(run, alone.parent, tmp_path / "as_in_training")
    predict(export(run, tmp_path / "release"), t1, tmp_path / "released.nii.gz")
    made = [nib.load(path) for path in (tmp_path / "plain.nii.gz", tmp_path / "as_in_training/patient01.nii.gz")]  # type: ignore[attr-defined]
    released: Any = nib.load(tmp_path / "released.nii.gz")
    source: Any = nib.load(t1)
    for image in (*made, released):
        assert image.shape == source.shape
        np.testing.assert_allclose(image.affine, source.affine, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(made[0].dataobj))
    assert 0.1 < float(np.asarray(made[0].dataobj).std()) < 3  # in standard deviations


def test_slabs_with_draws_resume_as_if_unbroken(flair: tuple[Path, Path], tmp_path: Path) -> None:
    run, _ = flair
    words = [
        line.removeprefix("- ") for line in (run / "overrides.yaml").read_text().splitlines() if "run_dir" not in line
    ]
    start([*words, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"])
    start([f"resume={tmp_path / 'run'}", "trainer.max_epochs=2"])
    same(tmp_path / "run", run)


def test_a_loss_that_looks_through_another_run_goes_on_and_is_evaluated_without_it(
    words: list[str], run: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    new = [*words, "loss=perceptual", f"loss.run={other}", "loss.weight=0.5", "trainer.max_epochs=1", "figures=0"]
    own = Path(start([*new, f"run_dir={tmp_path / 'run'}"])["run_dir"])
    before = pd.read_csv(own / "per_case.csv")
    shutil.rmtree(other)
    evaluate(own, None, tmp_path / "again")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "again" / "per_case.csv"), before)
    start([f"resume={own}", "trainer.max_epochs=2"])
    assert len(pd.read_csv(own / "metrics.csv")["epoch"].unique()) == 2
