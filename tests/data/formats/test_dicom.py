"""DICOM series become volumes, or it is said which file makes that impossible; no message names the patient."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import dicom
from PIL import Image
from pydicom.encaps import encapsulate

from medexp.data.formats.dicom import dicom_header, read_dicom, time_points
from medexp.data.formats.scan import Scan, Unreadable, Wanted
from medexp.data.images import read_image
from medexp.data.records import Record

RLE = "1.2.840.10008.1.2.5"
VOLUME = np.random.default_rng(0).integers(0, 4000, (5, 7, 6)).astype(np.int16)


def volume(path: Path, time: int | None = None, member: str | None = None) -> Scan:
    return read_dicom(path, Wanted(3, 1, member=member, time=time))


def image(path: Path, channels: int | None = 1, time: int | None = None) -> Scan:
    return read_dicom(path, Wanted(2, channels, time=time))


def refused(path: Path, message: str, **wanted: Any) -> str:
    with pytest.raises(Unreadable, match=message) as caught:
        read_dicom(path, Wanted(**{"spatial_dims": 3, "channels": 1, **wanted}))
    text = str(caught.value)
    assert "Roe" not in text
    assert "\n" not in text
    return text


def slice_file(folder: Path, index: int) -> Path:
    return next(folder.glob(f"*_{index}_0*"))


def test_a_series_is_a_volume_of_columns_rows_and_slices(tmp_path: Path) -> None:
    scan = volume(dicom.write_series(tmp_path / "s", VOLUME))
    assert scan.array.dtype == np.float32
    np.testing.assert_array_equal(scan.array, VOLUME[None])
    np.testing.assert_array_equal(scan.affine, [[-1.5, 0, 0, 30], [0, -2, 0, 40], [0, 0, 4, 50], [0, 0, 0, 1]])
    assert scan.spacing == (1.5, 2.0, 4.0)
    assert dicom_header(tmp_path / "s")[0] == (5, 7, 6)


@pytest.mark.parametrize("end", ["", ".dcm", ".IMA", ".123"])
def test_other_files_are_passed_over_whatever_the_names(tmp_path: Path, end: str) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME, end=end)
    (folder / "README").write_text("Jane Roe, T2")
    (folder / "notes.txt").write_text("")
    (folder / ".DS_Store").write_bytes(b"\0" * 200)
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "report.pdf").write_bytes(b"\x08\x00 looks like a tag")
    (folder / "below").mkdir()
    np.testing.assert_array_equal(volume(folder).array, VOLUME[None])


def test_a_file_without_preamble_is_dicom_by_its_sop_class(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME)
    path = slice_file(folder, 2)
    dataset = pydicom.dcmread(path)
    bare = pydicom.Dataset({element.tag: element for element in dataset})
    bare.save_as(path, implicit_vr=True, little_endian=True)
    assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(volume(folder).array, VOLUME[None])


def test_slope_and_intercept_are_each_slices_own(tmp_path: Path) -> None:
    spoil = {i: {"RescaleSlope": 0.5 * (i + 1), "RescaleIntercept": -1000 + i} for i in range(6)}
    scan = volume(dicom.write_series(tmp_path / "s", VOLUME, spoil=spoil, Modality="CT"))
    wanted = VOLUME * (0.5 * np.arange(1, 7)) + np.arange(6) - 1000
    np.testing.assert_array_equal(scan.array[0], wanted.astype(np.float32))


@pytest.mark.parametrize(("modality", "top"), [("CR", 65535), ("CT", None)])
def test_in_monochrome1_more_is_made_brighter_but_quantities_stay(
    tmp_path: Path, modality: str, top: int | None
) -> None:
    pixels = VOLUME.astype(np.uint16)
    folder = dicom.write_series(tmp_path, pixels, PhotometricInterpretation="MONOCHROME1", Modality=modality)
    np.testing.assert_array_equal(volume(folder).array[0], pixels if top is None else top - pixels.astype(int))


@given(angles=st.tuples(*[st.floats(-3, 3)] * 3), gap=st.floats(0.5, 6), seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_voxel_keeps_its_place_in_the_patient(
    tmp_path_factory: pytest.TempPathFactory, angles: tuple[float, ...], gap: float, seed: int
) -> None:
    """The affine takes (column, row, slice) to where the headers say that the pixel is (PS3.3 C.7.6.2.1.1)."""
    turn = nib.eulerangles.euler2mat(*angles)
    origin = np.random.default_rng(seed).uniform(-200, 200, 3)
    orientation = tuple(np.round(turn[:, :2].T.ravel(), 9))
    folder = tmp_path_factory.mktemp("s")
    dicom.write_series(folder, VOLUME, origin=tuple(np.round(origin, 6)), orientation=orientation, gap=round(gap, 6))
    scan = volume(folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        row, column = np.asarray(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
        i, j = 3, 5
        lps = np.asarray(header.ImagePositionPatient, dtype=float) + row * 1.5 * i + column * 2.0 * j
        voxel = np.linalg.inv(scan.affine) @ [-lps[0], -lps[1], lps[2], 1]
        np.testing.assert_allclose(voxel, np.rint(voxel), atol=1e-4)
        at = tuple(np.rint(voxel).astype(int)[:3])
        assert at[:2] == (i, j)
        assert scan.array[(0, *at)] == header.pixel_array[j, i]


def test_time_points_of_a_4d_series_are_read_one_at_a_time(tmp_path: Path) -> None:
    moving = np.random.default_rng(1).integers(0, 4000, (5, 7, 3, 4)).astype(np.int16)
    folder = dicom.write_series(tmp_path / "s", moving)
    assert time_points(folder) == 4
    assert dicom_header(folder)[0] == (5, 7, 3, 4)
    for time in range(4):
        np.testing.assert_array_equal(volume(folder, time).array[0], moving[..., time])
    refused(folder, "has 4 time points; set dataset.times=each")
    refused(folder, "has 4 time points; there is no number 4", time=4)


@pytest.mark.parametrize("tag", ["TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "AcquisitionTime"])
def test_the_first_tag_that_tells_time_points_apart_orders_them(tmp_path: Path, tag: str) -> None:
    """Instance numbers run the other way, so that they would give another order."""
    moving = np.random.default_rng(1).integers(0, 4000, (5, 7, 3, 2)).astype(np.int16)
    folder = dicom.write_series(tmp_path / "s", moving)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        time = int(path.stem.split("_")[2])
        setattr(dataset, tag, f"10000{time}.5" if tag == "AcquisitionTime" else time + 1)
        dataset.InstanceNumber = 100 - dataset.InstanceNumber
        dataset.save_as(path)
    np.testing.assert_array_equal(volume(folder, 1).array[0], moving[..., 1])


def test_a_time_point_that_lacks_a_slice_is_said(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", np.stack([VOLUME] * 3, -1))
    next(folder.glob("*_2_1.dcm")).unlink()
    text = refused(folder, "has 3 time points, but not of every slice", time=0)
    assert "2 at the place of" in text
    assert time_points(folder) == 1


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME)
    before, lost, after = (slice_file(folder, index) for index in (2, 3, 4))
    lost.unlink()
    text = refused(folder, "1 slice is missing: 8.00 mm between ")
    assert f"{before.name} and {after.name}" in text
    assert "4.00 mm elsewhere" in text


def test_uneven_spacing_is_said_with_the_gap_and_the_files(tmp_path: Path) -> None:
    moved = {4: {"ImagePositionPatient": [-30.0, -40.0, 66.4]}}
    folder = dicom.write_series(tmp_path / "s", VOLUME, spoil=moved)
    text = refused(folder, "slices are unevenly spaced: 4.40 mm between .*, 3.60 mm between ")
    assert slice_file(folder, 4).name in text


def test_positions_rounded_when_written_are_even(tmp_path: Path) -> None:
    rounded = {i: {"ImagePositionPatient": [-30.0, -40.0, round(50 + 4 * i + 0.01 * (-1) ** i, 2)]} for i in range(6)}
    scan = volume(dicom.write_series(tmp_path / "s", VOLUME, spoil=rounded))
    assert scan.spacing[2] == pytest.approx(4.0, abs=0.01)


def test_a_slice_that_lies_beside_the_others_is_said(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME, spoil={3: {"ImagePositionPatient": [-20.0, -40.0, 62.0]}})
    assert slice_file(folder, 3).name in refused(folder, "do not lie on one even line.*10.00 mm off")


def test_a_tilted_gantry_gives_a_sheared_affine(tmp_path: Path) -> None:
    tilted = {i: {"ImagePositionPatient": [-30.0, -40.0 + i, 50.0 + 4 * i]} for i in range(6)}
    scan = volume(dicom.write_series(tmp_path / "s", VOLUME, spoil=tilted))
    np.testing.assert_allclose(scan.affine[:3, 2], [0, -1, 4])


def test_a_slice_under_two_names_is_said(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME)
    path = slice_file(folder, 1)
    (folder / "copy.dcm").write_bytes(path.read_bytes())
    assert f"copy.dcm = {path.name}" in refused(folder, "holds 1 images twice")


def test_two_slices_at_one_place_are_said(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME, spoil={1: {"ImagePositionPatient": [-30.0, -40.0, 58.0]}})
    text = refused(folder, "holds 1 slices more than once")
    assert slice_file(folder, 1).name in text
    assert slice_file(folder, 2).name in text


def test_images_at_one_place_that_nothing_orders_are_said(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", np.stack([VOLUME] * 2, -1), AcquisitionNumber=None)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.InstanceNumber
        dataset.save_as(path)
    refused(folder, "holds 2 images at each place .* none of TemporalPosition", time=0)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "2 orientations: 5 like .*, but not"),
        ({"PixelSpacing": [2.5, 1.5]}, "2 pixel spacings: 5 like .*, but not"),
        ({"ImagePositionPatient": None}, "1 of 6 images have no ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "1 of 6 images have no ImageOrientationPatient"),
        ({"PixelSpacing": None}, "1 of 6 images have no PixelSpacing"),
        ({"PixelSpacing": [0, 1.5]}, "2 pixel spacings|impossible"),
        ({"ImagePositionPatient": [1.0, 2.0]}, "ImagePositionPatient holds 2 values, not 3"),
    ],
)
def test_a_slice_of_another_geometry_is_named(tmp_path: Path, tags: dict[str, Any], message: str) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME, spoil={3: tags})
    assert slice_file(folder, 3).name in refused(folder, message)


def test_slices_of_two_patients_in_one_series_are_said_without_naming_them(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME, spoil={3: {"PatientID": "Roe^John"}})
    text = refused(folder, r"holds images of 2 patients: 5 like .*, but not .* \(PatientID differs\); move those")
    assert slice_file(folder, 3).name in text
    with pytest.raises(Unreadable, match="holds images of 2 patients"):
        dicom_header(folder)


def test_a_slice_without_patient_is_no_other_patients(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME, spoil={3: {"PatientID": None}})
    np.testing.assert_array_equal(volume(folder).array[0], VOLUME)


def test_a_slice_of_another_size_is_named(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME)
    other = dicom.slice_dataset(np.zeros((9, 5), np.int16), name="odd", ImagePositionPatient=[-30.0, -40.0, 74.0])
    dicom.save(other, folder / "odd.dcm")
    refused(folder, r"2 sizes \(rows, columns\): 6 like .*, but not odd.dcm")


def test_two_series_in_a_folder_are_told_apart_by_their_uid(tmp_path: Path) -> None:
    dicom.write_series(tmp_path, VOLUME, series="one", end="_1.dcm", SeriesNumber=1, SeriesDescription="t1")
    dicom.write_series(tmp_path, VOLUME + 1, series="two", end="_2.dcm", SeriesNumber=2, SeriesDescription="t2")
    np.testing.assert_array_equal(volume(tmp_path, member=dicom.uid("two")).array[0], VOLUME + 1)
    refused(tmp_path, "holds 2 series .number 1 t1 .*: 6 files, number 2 t2 .*: 6 files.")
    refused(tmp_path, "holds no images of the series", member=dicom.uid("three"))


def test_localizers_and_reports_beside_the_series_do_not_count(tmp_path: Path) -> None:
    dicom.write_series(tmp_path, VOLUME)
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    dicom.write_series(tmp_path, VOLUME, series="scout", end="_scout.dcm", **scout)
    report = dicom.slice_dataset(VOLUME[..., 0], series="report", SOPClassUID=dicom.REPORT, Modality="SR")
    for tag in ("PixelData", "Rows", "Columns", "BitsAllocated"):
        del report[tag]
    dicom.save(report, tmp_path / "report.dcm")
    np.testing.assert_array_equal(volume(tmp_path).array[0], VOLUME)
    refused(tmp_path / "report.dcm", r"holds no image \(modality SR\)")


def test_a_folder_without_dicom_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing")
    refused(tmp_path, "holds no DICOM image")


@pytest.mark.parametrize("compress", [None, RLE])
def test_a_file_cut_off_anywhere_is_named(tmp_path: Path, compress: str | None) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME, compress=compress)
    path = slice_file(folder, 3)
    whole = path.read_bytes()
    last = len(whole) - (1 if compress is None else 8)  # the delimiter behind compressed data may be lacking
    for length in [*range(0, len(whole) - 8, 13), last]:
        path.write_bytes(whole[:length])
        assert path.name in refused(folder, "truncated|damaged|empty|no DICOM|pixel data")


def test_a_file_of_zeros_is_named(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME, end="")
    slice_file(folder, 3).write_bytes(b"\0" * 900)
    assert slice_file(folder, 3).name in refused(folder, "1 DICOM files that cannot be read")


def test_jpeg_2000_is_decoded(tmp_path: Path) -> None:
    pixels = VOLUME[..., 0].T.astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    path = _encapsulated(tmp_path / "a.dcm", pixels, stream.getvalue(), "1.2.840.10008.1.2.4.90")
    np.testing.assert_array_equal(image(path).array[0], pixels)


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        ("1.2.840.10008.1.2.4.80", "is compressed as JPEG-LS Lossless.* pip install pylibjpeg pylibjpeg-libjpeg"),
        ("1.2.840.10008.1.2.4.70", "is compressed as JPEG Lossless.* pip install pylibjpeg pylibjpeg-libjpeg"),
        (
            "1.2.840.10008.1.2.4.201",
            "is compressed as High-Throughput JPEG 2000.* pip install pylibjpeg pylibjpeg-openjpeg",
        ),
        ("1.2.840.10008.1.2.4.102", "is stored as MPEG-4.*, which is no image"),
    ],
)
def test_a_compression_that_cannot_be_decoded_is_said_with_what_to_install(
    tmp_path: Path, syntax: str, message: str
) -> None:
    path = _encapsulated(tmp_path / "a.dcm", VOLUME[..., 0].T.astype(np.uint8), b"\xff\xd8\xff\xd9", syntax)
    with pytest.raises(Unreadable, match=message):
        image(path)


def _encapsulated(path: Path, pixels: np.ndarray, stream: bytes, syntax: str) -> Path:
    dataset = dicom.slice_dataset(np.ascontiguousarray(pixels), PixelData=encapsulate([stream]))
    dataset["PixelData"].is_undefined_length = True
    dicom.save(dataset, path)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.save_as(path)
    return path


def test_a_file_is_an_image_of_rows_and_columns(tmp_path: Path) -> None:
    pixels = VOLUME[..., 0].T  # (rows, columns)
    path = dicom.save(dicom.slice_dataset(pixels, RescaleIntercept=-1000), tmp_path / "x")
    scan = image(path)
    np.testing.assert_array_equal(scan.array, pixels[None] - 1000)
    assert scan.spacing == (2.0, 1.5)
    np.testing.assert_array_equal(scan.affine, np.diag([2.0, 1.5, 1, 1]))
    assert image(path, channels=3).array.shape == (3, 7, 5)
    by_record = read_image(Record("case7", (path,)), spatial_dims=2, channels=1)
    np.testing.assert_array_equal(by_record.array, scan.array)


def test_an_x_ray_takes_the_spacing_of_its_detector_and_a_photograph_none(tmp_path: Path) -> None:
    bare = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    ray = dicom.slice_dataset(VOLUME[..., 0].T, ImagerPixelSpacing=[0.2, 0.3], **bare)
    assert image(dicom.save(ray, tmp_path / "ray.dcm")).spacing == (0.2, 0.3)
    colour = np.random.default_rng(0).integers(0, 255, (7, 5, 3)).astype(np.uint8)
    path = dicom.save(dicom.slice_dataset(colour, **bare), tmp_path / "photo.dcm")
    scan = image(path, channels=3)
    np.testing.assert_array_equal(scan.array, np.moveaxis(colour, 2, 0))
    assert scan.spacing == (1.0, 1.0)


def test_a_label_map_keeps_its_stored_whole_numbers(tmp_path: Path) -> None:
    path = dicom.save(dicom.slice_dataset(VOLUME[..., 0].T, RescaleSlope=0.5), tmp_path / "x.dcm")
    label = read_dicom(path, Wanted(2, 1, label=True)).array
    assert label.dtype == np.int16
    np.testing.assert_array_equal(label[0], VOLUME[..., 0].T)


def test_an_enhanced_file_is_a_volume_sorted_by_its_frames_places(tmp_path: Path) -> None:
    path = dicom.write_enhanced(tmp_path / "x.dcm", VOLUME)
    scan = volume(path)
    wanted = VOLUME * 2.0 + np.arange(6)
    np.testing.assert_array_equal(scan.array[0], wanted[..., ::-1])
    np.testing.assert_array_equal(scan.affine[:3, 2:], [[0, 0], [0, 0], [4, -20]])
    with pytest.raises(Unreadable, match=r"holds 6 images where one is expected; set dataset\.spatial_dims=3"):
        image(path)
    np.testing.assert_array_equal(image(path, time=1).array[0], wanted[..., 1].T)


def test_an_enhanced_file_may_hold_time_points(tmp_path: Path) -> None:
    path = dicom.write_enhanced(tmp_path / "x.dcm", VOLUME, times=2)
    assert time_points(path) == 2
    np.testing.assert_array_equal(volume(path, 1).array[0], (VOLUME * 2.0 + np.arange(6))[..., 5::-2])


def test_frames_without_places_are_stacked_only_with_a_spacing(tmp_path: Path) -> None:
    frames = np.ascontiguousarray(np.moveaxis(VOLUME, 2, 0).swapaxes(1, 2))
    dataset = dicom.slice_dataset(frames[0], NumberOfFrames=6, PixelData=frames.tobytes(), SpacingBetweenSlices=2.5)
    scan = volume(dicom.save(dataset, tmp_path / "x.dcm"))
    np.testing.assert_array_equal(scan.array[0], VOLUME)
    assert scan.spacing == (1.5, 2.0, 2.5)
    del dataset.SpacingBetweenSlices, dataset.SliceThickness
    refused(dicom.save(dataset, tmp_path / "y.dcm"), "holds 6 frames without place or spacing")


def test_values_that_break_the_standard_are_read_without_a_word_of_the_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME)
    path = slice_file(folder, 3)
    path.write_bytes(path.read_bytes().replace(b"t2 axial", b"t2\xff\xfe\x00\x01al"))
    with caplog.at_level(logging.DEBUG):
        np.testing.assert_array_equal(volume(folder).array[0], VOLUME)
    assert "Roe" not in caplog.text


def test_headers_are_read_again_only_where_the_folder_changed(tmp_path: Path) -> None:
    folder = dicom.write_series(tmp_path / "s", VOLUME)
    assert volume(folder).array.shape[3] == 6
    slice_file(folder, 5).unlink()
    assert volume(folder).array.shape[3] == 5


@pytest.mark.real_data
def test_every_time_point_agrees_with_another_tools_conversion(real_data: Callable[[str], Path]) -> None:
    """dcm2niix turns the rows over; in the same orientation values and affine are the same."""
    root = real_data("dicom_epi_4d_ge")
    folder = root / "In/20180918GE/mr_0004"
    reference: Any = nib.as_closest_canonical(nib.load(root / "Ref/DCM2NIIX_regression_test_4.nii"))
    voxels = np.asarray(reference.dataobj)
    assert time_points(folder) == voxels.shape[3] == 10
    for time in range(10):
        scan = volume(folder, time)
        own: Any = nib.as_closest_canonical(nib.Nifti1Image(scan.array[0], scan.affine))
        np.testing.assert_array_equal(np.asarray(own.dataobj), voxels[..., time])
        np.testing.assert_allclose(own.affine, reference.affine, atol=1e-3)


@pytest.mark.real_data
def test_an_oblique_structural_series_is_a_volume(real_data: Callable[[str], Path]) -> None:
    scan = volume(real_data("dicom_t1_structural") / "dicoms")
    assert scan.array.shape == (1, 274, 384, 32)
    np.testing.assert_allclose(scan.spacing, (0.69998783, 0.66666669, 0.66666669), atol=1e-6)
    np.testing.assert_allclose(scan.affine[:3, 3], [95.5436184, 145.0181363, -26.8850636], atol=1e-5)
    assert (scan.array.min(), scan.array.max()) == (0, 179)
