"""Sequences as a user runs them: train, go on, evaluate again, and predict files, folders and tables."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from layouts.sequences import write_frames, write_scan
from PIL import Image

from medexp.data.frames import Frames
from medexp.data.sources import visits as table_of_visits
from medexp.errors import UserError
from medexp.run.evaluate import evaluate
from medexp.run.predict import predict
from medexp.run.studies import inputs
from medexp.run.train import start

QUICK = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "figures=2", "augmentation=none"]


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 14 studies of 2 to 4 frames, whose brightness is their value."""
    root = tmp_path_factory.mktemp("visits")
    rng = np.random.default_rng(0)
    rows = ["study,image,month,ml"]
    for study in range(14):
        for visit in range(2 + study % 3):
            value = 1 + study % 5 + visit * (1 + study % 2)
            voxels = rng.normal(0, 1, (16, 16)) + value * (np.arange(16) > 8)
            nib.save(nib.Nifti1Image(voxels.astype(np.float32), np.eye(4)), root / f"s{study:02d}_{visit}.nii")
            rows.append(f"s{study:02d},s{study:02d}_{visit}.nii,{visit * 6},{value}")
    (root / "visits.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def growth(visits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is given the values, and learns their change."""
    words = ["experiment=sequence/phantom_growth", "dataset=visits", f"dataset.root={visits}", "dataset.spatial_dims=2"]
    words += ["dataset.image_size=[16,16]", "dataset.source.time=month", "dataset.source.value=ml", "model.time_step=6"]
    run = tmp_path_factory.mktemp("runs") / "growth"
    given = ["model.values=true", "task.change=true"]
    return Path(start([*words, *given, *QUICK, "dataset.batch_size=4", f"run_dir={run}"])["run_dir"])


@pytest.fixture(scope="module")
def next_frame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, run = tmp_path_factory.mktemp("fmri"), tmp_path_factory.mktemp("runs") / "frames"
    write_scan(root / "bold.nii.gz")
    words = ["experiment=sequence/fmri_next", f"dataset.root={root}", "dataset.patch_size=[8,8,4]"]
    return Path(start([*words, *QUICK, f"run_dir={run}"])["run_dir"])


def test_next_values_are_reported_beside_the_last_frame(growth: Path, visits: Path) -> None:
    table = pd.read_csv(growth / "per_case.csv", index_col="case_id")
    truth = pd.read_csv(visits / "visits.csv").groupby("study")["ml"]
    for case, row in table.iterrows():
        values = truth.get_group(case).tolist()
        assert (row["target_1"], row["last_frame"]) == (values[-1], values[-2])
    found = json.loads((growth / "summary.json").read_text())["metrics"]
    assert found["mae"]["mean"] == pytest.approx(table["error_1"].abs().mean())
    assert found["mae_last_frame"]["mean"] == pytest.approx((table["target_1"] - table["last_frame"]).abs().mean())
    assert {path.name for path in (growth / "figures").iterdir()} == {"courses.png", "predicted_values.png"}


def test_a_run_reloads_from_its_folder_alone(growth: Path, next_frame: Path, tmp_path: Path) -> None:
    for run in (growth, next_frame):
        before = json.loads((run / "summary.json").read_text())["metrics"]
        assert evaluate(run, output=tmp_path / run.name)["metrics"] == before


def test_a_table_is_predicted_from_all_its_frames(growth: Path, visits: Path, tmp_path: Path) -> None:
    (path,) = [predict(growth, visits / "visits.csv", tmp_path / "next.csv")]
    table = pd.read_csv(path)
    assert list(table.columns) == ["case_id", "next_1"]
    last = pd.read_csv(visits / "visits.csv").groupby("study")["ml"].last()
    changes = table.set_index("case_id")["next_1"] - last
    assert len(table) == 14
    assert changes.between(-1, 4).all()  # it learnt changes of 1 and 2, and adds them to the last value


def test_a_folder_of_frames_without_the_values_a_model_needs_is_refused(
    growth: Path, visits: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for visit in range(2):
        (folder / f"{visit}.nii").write_bytes((visits / f"s01_{visit}.nii").read_bytes())
    with pytest.raises(UserError, match=r"needs the value at the last frame|have no value a frame"):
        predict(growth, folder, tmp_path / "next.csv")


def test_frames_of_one_study_are_said_to_be_so(visits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Frames of several patients in one folder would be one study."""
    for visit in range(2):
        for study in ("s01", "s02"):
            (tmp_path / f"{study}_{visit}.nii").write_bytes((visits / f"{study}_{visit}.nii").read_bytes())
    learnt: Any = SimpleNamespace(
        source=partial(table_of_visits.records), sequence=Frames(), preparation=SimpleNamespace(spatial_dims=2)
    )
    (study,) = inputs(tmp_path, learnt)
    assert len(study.files) == 4
    assert "its 4 images are taken for the frames of one study" in caplog.text


def test_the_next_frame_lies_on_the_grid_of_the_scan_and_in_its_unit(next_frame: Path, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "new.nii.gz")
    predict(next_frame, scan, tmp_path / "out")
    source, made = nib.load(scan), nib.load(tmp_path / "out" / "new.nii.gz")
    assert made.shape == source.shape[:3]
    np.testing.assert_allclose(made.affine, source.affine)
    last = np.asarray(source.dataobj)[..., -1].astype(float)
    assert np.corrcoef(np.asarray(made.dataobj).ravel(), last.ravel())[0, 1] > 0.9
    assert abs(np.asarray(made.dataobj).mean() - last.mean()) < 0.2 * last.std()


def test_several_frames_ahead_are_a_file_along_time_or_pictures(tmp_path: Path) -> None:
    write_frames(tmp_path / "film" / "a")
    words = ["experiment=sequence/timelapse_next", f"dataset.root={tmp_path / 'film'}", "dataset.patch_size=[16,16]"]
    several = ["task.horizon=2", "dataset.sequence.length=4", "dataset.sequence.shares=[0.5,0.25,0.25]"]
    run = Path(start([*words, *several, *QUICK, f"run_dir={tmp_path / 'run'}"])["run_dir"])
    found = json.loads((run / "summary.json").read_text())["metrics"]
    assert list(found["mae"]["per_class"]) == ["+1", "+2"]
    predict(run, tmp_path / "film" / "a", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_1.png", "a_2.png"]
    assert np.asarray(Image.open(tmp_path / "out" / "a_1.png")).shape == (32, 40)


def test_what_is_no_study_is_refused(next_frame: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no study of several frames"):
        predict(next_frame, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UserError, match="does not exist; give a scan with an axis of time"):
        predict(next_frame, tmp_path / "absent", tmp_path / "out")
    (tmp_path / "visits.csv").write_text("study,image\n")
    with caplog.at_level(logging.INFO), pytest.raises(UserError, match=r"visits\.csv: has a header and no rows"):
        predict(next_frame, tmp_path / "visits.csv", tmp_path / "out")


def test_a_run_goes_on(next_frame: Path) -> None:  # the last test here, as it changes the run
    start([f"resume={next_frame}", "trainer.max_epochs=2"])
    epochs = pd.read_csv(next(next_frame.rglob("metrics.csv")))["epoch"].dropna()
    assert set(epochs) == {0, 1}
