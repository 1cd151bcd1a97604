from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from layouts import dicom
from layouts import nifti_folder as layout
from PIL import Image

from medexp import build
from medexp.cli import main
from medexp.data.images import read_image
from medexp.data.sources.dicom import records as dicom_records
from medexp.errors import Faults, UserError
from medexp.run import folder
from medexp.run.inference import Outcome, infer
from medexp.run.predict import predict
from medexp.run.train import start


@pytest.fixture(scope="module")
def resampled(tiny_3d: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a 3D run that resamples every scan to 4 mm."""
    run = tmp_path_factory.mktemp("runs") / "resampled"
    return Path(start([*tiny_3d, "dataset.spacing=[4,4,4]", f"run_dir={run}"])["run_dir"])


@pytest.fixture(scope="module")
def classifier(phantom_2d: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "classifier"
    data = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "trainer.max_epochs=1"]
    return Path(start(["experiment=classification/phantom_presence_2d", *data, f"run_dir={run}"])["run_dir"])


@pytest.mark.parametrize("name", ["trained_3d", "resampled"])
def test_masks_come_back_on_the_grid_of_each_scan(
    name: str, phantom: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(name)
    cfg = folder.load(run)
    assert predict(run, phantom / "imagesTr", tmp_path / "masks") == tmp_path / "masks"
    scans = sorted((phantom / "imagesTr").glob("*.nii.gz"))
    assert [path.name for path in sorted((tmp_path / "masks").iterdir())] == [path.name for path in scans]
    evaluated: dict[str, Any] = {}

    def receive(outcome: Outcome) -> None:
        evaluated[outcome.record.case_id] = outcome.labels

    data, task = build.datamodule(cfg), build.task(cfg)
    build.load_weights(task, run / folder.BEST)
    infer(cfg, task, data, data.records(), receive, labelled=True)
    codes = set()
    for path in scans:
        scan: Any = nib.load(path)
        mask: Any = nib.load(tmp_path / "masks" / path.name)
        assert mask.shape == scan.shape
        np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-5)
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(mask.dataobj), evaluated[path.name.removesuffix(".nii.gz")])
        codes.add("".join(nib.aff2axcodes(scan.affine)))
    assert len(codes) > 1  # the phantom's scans lie in several orientations


@pytest.mark.parametrize(("name", "least"), [("trained_3d", 1.0), ("resampled_finely", 0.95)])
def test_the_way_back_to_the_source_undoes_the_preparation(
    name: str, least: float, trained_3d: Path, phantom: Path
) -> None:
    cfg = folder.load(trained_3d)
    if name == "resampled_finely":
        cfg["dataset"]["spacing"] = [1.5, 1.5, 1.5]
    data = build.datamodule(cfg)
    for record in data.records():
        image, label = data.preparation.read(record, with_label=True)
        assert label is not None
        prepared = data.preparation.prepare(image, label)
        assert prepared.label is not None
        hot = torch.nn.functional.one_hot(prepared.label[0].long(), 4).movedim(-1, 0).float()
        back = data.preparation.labels_on_source(hot, prepared)
        assert back.shape == label.array.shape
        overlap = 2 * ((back > 0) & (back == label.array)).sum() / ((back > 0).sum() + (label.array > 0).sum())
        assert overlap >= least, record.case_id


def test_one_file_in_one_file_out_with_nothing_but_the_run_folder(
    trained_3d: Path, phantom: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained_3d, tmp_path / "moved"))
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace(str(phantom), str(tmp_path / "gone")))
    scan = sorted((phantom / "imagesTr").glob("*.nii.gz"))[0]
    assert predict(run, scan, tmp_path / "mask.nii.gz") == tmp_path / "mask.nii.gz"
    assert nib.load(tmp_path / "mask.nii.gz").shape == nib.load(scan).shape  # type: ignore[attr-defined]
    assert not (tmp_path / "gone").exists()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["mask.nii.gz"]  # no leftovers


def test_pictures_come_back_as_png(trained: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name, size in (("a.png", (40, 52)), ("b.jpg", (33, 64))):
        Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)).save(tmp_path / "in" / name)
    predict(Path(trained["run_dir"]), tmp_path / "in", tmp_path / "out")
    sizes = {path.name: np.asarray(Image.open(path)).shape for path in (tmp_path / "out").iterdir()}
    assert sizes == {"a.png": (40, 52), "b.png": (33, 64)}


def test_classes_come_back_as_a_table_of_probabilities(classifier: Path, phantom_2d: Path, tmp_path: Path) -> None:
    assert predict(classifier, phantom_2d / "imagesTr", tmp_path / "out") == tmp_path / "out/predictions.csv"
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    assert list(table.columns) == ["case_id", "prediction", "prob_healthy", "prob_lesion"]
    assert len(table) == len(list((phantom_2d / "imagesTr").iterdir()))
    np.testing.assert_allclose(table["prob_healthy"] + table["prob_lesion"], 1, atol=2e-6)
    chosen = np.where(table["prob_lesion"] > table["prob_healthy"], "lesion", "healthy")
    assert (table["prediction"] == chosen).all()


def test_an_unreadable_scan_is_named_and_the_others_are_written(
    trained: dict[str, Any], phantom_2d: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for path in sorted((phantom_2d / "imagesTr").iterdir())[:2]:
        shutil.copy(path, tmp_path / "in")
    whole = gzip.decompress(next((tmp_path / "in").iterdir()).read_bytes())
    (tmp_path / "in/broken.nii.gz").write_bytes(gzip.compress(whole[: len(whole) // 2]))
    words = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(["predict", trained["run_dir"], *words]) == 2
    error = capsys.readouterr().err
    assert "1 of 3 cases" in error
    assert "broken" in error
    assert "Traceback" not in error
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_classes_of_the_readable_images_are_written_though_one_is_not(
    classifier: Path, phantom_2d: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(sorted((phantom_2d / "imagesTr").iterdir())[0], tmp_path / "in")
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="broken"):
        predict(classifier, tmp_path / "in", tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out/predictions.csv")) == 1


def test_nothing_is_written_for_input_that_is_not_there_or_no_image(
    trained: dict[str, Any], tmp_path: Path, phantom_2d: Path
) -> None:
    run = Path(trained["run_dir"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no image")
    for source in ("nothing", "empty", "text.txt"):
        with pytest.raises(UserError, match="--input"):
            predict(run, tmp_path / source, tmp_path / "out")
    with pytest.raises(UserError, match="is one file for"):
        predict(run, phantom_2d / "imagesTr", tmp_path / "out/mask.nii.gz")
    assert not (tmp_path / "out").exists()


def test_no_image_is_overwritten_by_its_prediction(trained: dict[str, Any], phantom_2d: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii.gz"
    shutil.copy(next((phantom_2d / "imagesTr").iterdir()), scan)
    before = scan.read_bytes()
    run = Path(trained["run_dir"])
    for output in (scan, tmp_path):
        with pytest.raises(UserError, match="is the image itself"):
            predict(run, scan, output)
    with pytest.raises(UserError, match=r"gives a \.nii or \.nii\.gz"):
        predict(run, scan, tmp_path / "mask.png")
    assert scan.read_bytes() == before
    assert list(tmp_path.iterdir()) == [scan]


def test_a_dicom_series_comes_back_as_a_volume_on_its_grid(trained_3d: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        volume = rng.integers(0, 900, (20, 24, 18)).astype(np.int16)
        dicom.write_series(tmp_path / "in" / name, volume, series=name)
    assert main(["predict", str(trained_3d), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 0
    records = dicom_records(tmp_path / "in")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{r.case_id}.nii.gz" for r in records]
    for record in records:
        mask = nib.load(tmp_path / "out" / f"{record.case_id}.nii.gz")
        scan = read_image(record, spatial_dims=3, channels=1)
        assert mask.shape == scan.array.shape[1:]
        np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-4)


def test_a_model_of_slices_gives_volumes(tiny: list[str], phantom: Path, tmp_path: Path) -> None:
    words = [word for word in tiny if not word.startswith(("experiment=", "dataset.root", "dataset.source"))]
    data = [f"dataset.root={phantom}", "dataset.source.patients=10", "dataset.plane=axial", "dataset.spatial_dims=2"]
    sizes = ["dataset.patch_size=[16,16]", "dataset.limit=12", "dataset.batch_size=4"]
    run = start(
        ["dataset=phantom", "model=unet", "inferer=whole_by_8", *words, *data, *sizes, f"run_dir={tmp_path / 'run'}"]
    )
    table = pd.read_csv(tmp_path / "run" / "per_case.csv")  # a row a volume, scored in 3D
    assert len(table) == 1
    assert {"volume_error_ml_liver", "hd95"} <= set(table.columns)
    assert table["case_id"][0] in {path.name.split(".")[0] for path in (phantom / "imagesTr").iterdir()}
    source = next((phantom / "imagesTr").glob("*.nii.gz"))
    output = tmp_path / "mask.nii.gz"
    assert main(["predict", run["run_dir"], "--input", str(source), "--output", str(output)]) == 0
    mask, image = nib.load(output), nib.load(source)
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert len(np.unique(np.asarray(mask.dataobj))) > 1


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run on a folder a patient with four sequences, whose data set is gone."""
    base = tmp_path_factory.mktemp("runs")
    data = ["dataset=ms_ljubljana", f"dataset.root={layout.write(base / 'set')}", "dataset.patch_size=[16,16,16]"]
    quick = ["debug=fast", "trainer=cpu", "figures=0", "dataset.batch_size=2", f"run_dir={base / 'run'}"]
    run = Path(start(["experiment=segmentation/phantom", *data, *quick])["run_dir"])
    shutil.rmtree(base / "set")
    return run


def test_a_run_of_four_sequences_takes_folders_laid_out_as_its_own(sequences: Path, tmp_path: Path) -> None:
    root = layout.write(tmp_path / "new", patients=2)
    words = ["--input", str(root), "--output", str(tmp_path / "out")]
    assert main(["predict", str(sequences), *words]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["patient01.nii.gz", "patient02.nii.gz"]
    again = tmp_path / "one"
    assert main(["predict", str(sequences), "--input", str(root / "patient02"), "--output", str(again)]) == 0
    masks: list[Any] = [nib.load(folder / "patient02.nii.gz") for folder in (tmp_path / "out", again)]
    np.testing.assert_array_equal(*(np.asarray(mask.dataobj) for mask in masks))


def test_a_file_with_the_wrong_channels_is_told_what_is_taken(
    sequences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for shape in ((24, 28, 20), (24, 28, 20, 3)):
        nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), tmp_path / "scan.nii.gz")
        words = ["--input", str(tmp_path / "scan.nii.gz"), "--output", str(tmp_path / "out")]
        assert main(["predict", str(sequences), *words]) == 2
        error = capsys.readouterr().err
        assert f"{sequences / 'config.yaml'} says" in error
        assert "dataset.in_channels=4" in error
        assert (
            "one file with all 4 channels, as files CASE_0000 to CASE_0003, or folders as in training: {case}/F"
            in error
        )


def test_every_time_point_of_a_4d_scan_is_predicted(
    trained_3d: Path, phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan: Any = nib.load(sorted((phantom / "imagesTr").glob("*.nii.gz"))[0])
    voxels = np.asarray(scan.dataobj)
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(np.stack([voxels, voxels[::-1]], -1), scan.affine), tmp_path / "in/scan.nii.gz")
    for time, volume in enumerate((voxels, voxels[::-1])):
        nib.save(nib.Nifti1Image(volume, scan.affine), tmp_path / "in" / f"alone{time}.nii.gz")
    with caplog.at_level("INFO"):
        predict(trained_3d, tmp_path / "in", tmp_path / "out")
    assert "1 scans are 4D: each of their 2 time points is a case" in caplog.text
    for time in range(2):
        masks: list[Any] = [
            nib.load(tmp_path / "out" / name) for name in (f"scan_t00{time}.nii.gz", f"alone{time}.nii.gz")
        ]
        assert masks[0].shape == voxels.shape
        np.testing.assert_array_equal(masks[0].affine, masks[1].affine)
        np.testing.assert_array_equal(*(np.asarray(mask.dataobj) for mask in masks))


def test_every_time_point_of_a_4d_dicom_series_is_predicted(trained_3d: Path, tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 900, (20, 24, 10, 3)).astype(np.int16)
    dicom.write_series(tmp_path / "in" / "a", volume)
    predict(trained_3d, tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"a_t00{time}.nii.gz" for time in range(3)]


def test_a_key_that_a_message_advises_is_told_with_the_value_of_the_run(tmp_path: Path, trained_3d: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((8, 8), np.float32), np.eye(4)), tmp_path / "scan.nii.gz")
    with pytest.raises(
        UserError, match=r"config\.yaml says dataset\.spatial_dims=3, dataset\.in_channels=1, and predict keeps"
    ):
        predict(trained_3d, tmp_path / "scan.nii.gz", tmp_path / "out")


def test_a_folder_of_pictures_for_a_model_of_volumes_is_one_line_with_what_predict_takes(
    tmp_path: Path, trained_3d: Path
) -> None:
    for index in range(6):
        Image.fromarray(np.full((8, 9), index, np.uint8)).save(tmp_path / f"p{index}.png")
    with pytest.raises(Faults) as caught:
        predict(trained_3d, tmp_path, tmp_path / "out")
    headline, *lines = str(caught.value).splitlines()
    assert headline == "6 of 6 cases cannot be used"
    assert lines == [
        "  6 cases: is 2D (8, 9) where 3D is expected; give 3D images of one channel: a file, a folder of them, or a DICOM series "
        f"({trained_3d / 'config.yaml'} says dataset.spatial_dims=3, dataset.in_channels=1, and predict keeps to it) "
        "(cases p0, p1, p2, p3, p4, p5)"
    ]
