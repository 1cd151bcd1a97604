from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medexp.data.phantom import write as phantom
from medexp.data.phantom.anatomy import FOLLOWUPS, KIDNEY, LABELS, LESION, LIVER, draw_patient
from medexp.data.phantom.scan import draw_scan
from medexp.data.phantom.write import write_phantom
from medexp.data.sources import msd
from medexp.errors import UserError

PATIENTS = 6


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def array(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def world(root: Path, row: dict[str, str], *values: int) -> np.ndarray:
    """Centre of some labels in RAS mm."""
    image = nib.load(root / row["label"])
    center = np.argwhere(np.isin(np.asarray(image.dataobj), values)).mean(0)
    return (image.affine @ [*center, *[0.0] * (3 - len(center)), 1.0])[:3]


@pytest.fixture(scope="module", params=[2, 3], ids=["2d", "3d"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    return write_phantom(folder, spatial_dims=request.param, patients=PATIENTS)


def dims(root: Path) -> int:
    return int(json.loads((root / "phantom.json").read_text())["spatial_dims"])


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    first, again, other = (
        files(write_phantom(tmp_path / n, patients=1, seed=s)) for n, s in zip("abc", (4, 4, 5), strict=True)
    )
    assert first == again
    assert first["imagesTr/p0000_s0.nii.gz"] != other["imagesTr/p0000_s0.nii.gz"]


def test_more_patients_leave_the_first_ones_unchanged(root: Path, tmp_path: Path) -> None:
    few = write_phantom(tmp_path / "few", spatial_dims=dims(root), patients=2)
    assert rows(few) == [row for row in rows(root) if row["patient_id"] in ("p0000", "p0001")]
    large = files(root)
    volumes = {name: data for name, data in files(few).items() if name.endswith(".nii.gz")}
    assert len(volumes) == len(rows(few)) * (4 + FOLLOWUPS)
    assert all(large[name] == data for name, data in volumes.items())


def test_the_table_agrees_with_the_files(root: Path) -> None:
    for row in rows(root):
        image, label_file = nib.load(root / row["image"]), nib.load(root / row["label"])
        lesions = np.asarray(label_file.dataobj) == LESION
        components, count = ndimage.label(lesions)
        boxes = [[s.start for s in box] + [s.stop for s in box] for box in ndimage.find_objects(components)]
        ml_per_voxel = abs(np.linalg.det(label_file.affine[:3, :3])) / 1000
        assert json.loads(row["boxes"]) == boxes
        assert int(row["lesion_count"]) == count
        assert row["presence"] == ("lesion" if count else "healthy")
        assert float(row["lesion_volume_ml"]) == pytest.approx(lesions.sum() * ml_per_voxel, abs=1e-5)
        assert json.loads(row["spacing"]) == pytest.approx(image.header.get_zooms(), abs=1e-4)
        for name in ("second", "clean", "label"):
            assert nib.load(root / row[name]).shape == image.shape
            assert nib.load(root / row[name]).affine == pytest.approx(image.affine)


def test_half_of_the_patients_are_ill_and_some_come_twice(root: Path) -> None:
    ill = {row["patient_id"]: row["presence"] for row in rows(root)}
    assert len(ill) == PATIENTS
    assert sorted(ill.values()) == ["healthy"] * 3 + ["lesion"] * 3
    assert 1.1 < np.mean([draw_patient(0, index, dims(root)).scans for index in range(40)]) < 1.6


def test_files_are_small_integers_of_the_asked_dimensions(root: Path) -> None:
    for row in rows(root):
        image, label = nib.load(root / row["image"]), nib.load(root / row["label"])
        assert image.ndim == dims(root)
        assert image.get_data_dtype() == np.int16
        assert label.get_data_dtype() == np.uint8
        assert image.header.get_xyzt_units()[0] == "mm"
        assert set(np.unique(np.asarray(label.dataobj))) >= {0, LIVER, KIDNEY}


def test_orientation_spacing_shape_and_origin_vary(root: Path) -> None:
    images = [nib.load(root / row["image"]) for row in rows(root)]
    assert len({nib.aff2axcodes(image.affine) for image in images}) > 2
    assert len({image.header.get_zooms() for image in images}) == len(images)
    assert len({image.shape for image in images}) > 2
    assert len({tuple(image.affine[:3, 3]) for image in images}) == len(images)


def test_the_anatomy_lies_right_in_the_world_whatever_the_orientation_of_the_file(root: Path) -> None:
    for row in rows(root):
        liver, kidneys = world(root, row, LIVER, LESION), world(root, row, KIDNEY)
        assert liver[0] > kidneys[0] + 3  # the liver on the patient's right, the pair of kidneys about the middle
        assert liver[1] > kidneys[1] + 8  # the kidneys behind it


def test_two_scans_of_a_patient_show_the_same_body_on_another_grid() -> None:
    index = next(index for index in range(20) if draw_patient(0, index, 3).scans == 2)
    scans = [draw_scan(draw_patient(0, index, 3), 0, index, part, 3) for part in range(2)]
    assert scans[0].image.shape != scans[1].image.shape
    for value in (LIVER, KIDNEY):
        first, second = ((scan.label == value).sum() * np.prod(scan.spacing) for scan in scans)
        assert first == pytest.approx(second, rel=0.12)


def test_lesions_grow_over_the_followup_and_the_healthy_stay_healthy(root: Path) -> None:
    for row in rows(root):
        volumes = [float(volume) for volume in row["followup_volume_ml"].split(";")]
        series = row["followup"].split(";")
        assert len(volumes) == len(series) == FOLLOWUPS
        assert volumes[0] == float(row["lesion_volume_ml"])
        assert (np.diff(volumes) > 0).all() if row["presence"] == "lesion" else volumes == [0.0] * FOLLOWUPS
        assert all(array(root / path).shape == array(root / row["image"]).shape for path in series)


def test_the_clean_image_is_the_noisy_one_without_its_noise(root: Path) -> None:
    for row in rows(root):
        noisy, clean = array(root / row["image"]).astype(float), array(root / row["clean"]).astype(float)
        liver = array(root / row["label"]) == LIVER
        noise = (noisy - clean)[liver]
        assert 20 < noise.std() < 80
        assert abs(noise.mean()) < 10
        assert np.corrcoef(noisy.ravel(), clean.ravel())[0, 1] > 0.95


def test_the_second_modality_shows_the_same_organs_in_another_contrast(root: Path) -> None:
    for row in rows(root):
        label, first, second = (array(root / row[name]) for name in ("label", "image", "second"))
        assert first[label == LIVER].mean() > first[label == KIDNEY].mean()
        assert second[label == LIVER].mean() < second[label == KIDNEY].mean()


def test_the_folder_reads_as_a_decathlon_data_set(root: Path) -> None:
    description = json.loads((root / "dataset.json").read_text())
    assert description["labels"] == {"0": "background", "1": "liver", "2": "kidney", "3": "lesion"}
    assert description["modality"] == {"0": "phantom"}
    assert description["numTraining"] == len(rows(root))
    found = [(case.case_id, case.images[0], case.label) for case in msd.records(root)]
    assert found == [(row["case_id"], root / row["image"], root / row["label"]) for row in rows(root)]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**40), index=st.integers(0, 500), spatial_dims=st.sampled_from([2, 3]))
def test_any_seed_gives_a_whole_body_in_view_and_an_honest_affine(seed: int, index: int, spatial_dims: int) -> None:
    patient = draw_patient(seed, index, spatial_dims)
    scan = draw_scan(patient, seed, index, 0, spatial_dims)
    found = set(np.unique(scan.label))
    assert {0, LIVER, KIDNEY} <= found <= set(range(len(LABELS)))
    assert (LESION in found) == bool(patient.lesions) == bool(scan.boxes)
    border = np.ones(scan.label.shape, bool)
    border[(slice(1, -1),) * spatial_dims] = False
    assert not scan.label[border].any()
    assert scan.clean[scan.label > 0].min() > scan.clean[border].min()
    assert abs(np.linalg.det(scan.affine[:3, :3])) == pytest.approx(np.prod(scan.spacing), rel=1e-6)
    assert np.linalg.norm(scan.affine[:3, :spatial_dims], axis=0) == pytest.approx(scan.spacing)


def test_an_empty_folder_is_filled_and_that_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p").mkdir()
    root = write_phantom(tmp_path / "p", spatial_dims=2, patients=2)
    monkeypatch.setattr(phantom, "write_cases", lambda *_: pytest.fail("written twice"))
    assert write_phantom(root, spatial_dims=2, patients=2) == root
    assert list(tmp_path.iterdir()) == [root]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, case_id: str, *_: object) -> dict[str, object]:
        (folder / "imagesTr" / f"{case_id}.nii.gz").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(phantom, "write_case", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "p", patients=3)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_at_root_and_the_next_one_is_not_disturbed(tmp_path: Path) -> None:
    root = tmp_path / "p"
    killed = "import os, pathlib, sys; from medexp.data.phantom import write as phantom; phantom.settle = lambda *_: os._exit(9)"
    code = f"{killed}; phantom.write_phantom(pathlib.Path(sys.argv[1]), spatial_dims=2, patients=1)"
    assert subprocess.run([sys.executable, "-c", code, str(root)], check=False).returncode == 9
    assert not root.exists()
    assert len(rows(write_phantom(root, spatial_dims=2, patients=1))) >= 1


def test_the_loser_of_a_race_uses_the_files_of_the_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, settle = tmp_path / "p", phantom.settle

    def overtaken(staging: Path, place: Path, wanted: dict[str, int]) -> None:
        monkeypatch.setattr(phantom, "settle", settle)
        write_phantom(place, spatial_dims=2, patients=1)
        (place / "winner").touch()
        settle(staging, place, wanted)

    monkeypatch.setattr(phantom, "settle", overtaken)
    assert write_phantom(root, spatial_dims=2, patients=1) == root
    assert (root / "winner").exists()
    assert list(tmp_path.iterdir()) == [root]


def test_another_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files.*delete it or give another dataset\.root"):
        write_phantom(tmp_path, patients=1)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_phantom_of_other_parameters_is_refused_by_name(tmp_path: Path) -> None:
    root = write_phantom(tmp_path / "p", spatial_dims=2, patients=1)
    with pytest.raises(UserError, match=r'"patients": 1,.*asked for.*"patients": 2,'):
        write_phantom(root, spatial_dims=2, patients=2)
    (root / "cases.csv").unlink()
    with pytest.raises(UserError, match=r"lost its cases\.csv"):
        write_phantom(root, spatial_dims=2, patients=1)
    (root / "phantom.json").write_text("{")
    with pytest.raises(UserError, match=r"phantom\.json: cannot be read"):
        write_phantom(root, spatial_dims=2, patients=1)


def test_a_place_that_cannot_be_written_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written here \(Not a directory\)"):
        write_phantom(tmp_path / "file" / "p", patients=1)
    with pytest.raises(UserError, match="not a folder"):
        write_phantom(tmp_path / "file", patients=1)
