"""NRRD volumes keep values and place, and whatever is wrong with a file is said before a voxel is used."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from layouts.nci_isbi_2013 import header

from medexp.data.formats.nrrd import nrrd_header, read_nrrd
from medexp.data.formats.scan import Scan, Unreadable, Wanted

VOLUME = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
LABEL = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
DIRECTIONS = np.diag([1.5, 2.0, 4.0])


def write(path: Path, array: np.ndarray, **fields: Any) -> Path:
    nrrd.write(str(path), array, header(DIRECTIONS, (1.0, 2.0, 3.0)) | fields)
    return path


def plain(path: Path, array: np.ndarray, **fields: Any) -> Path:
    nrrd.write(str(path), array, {"encoding": "raw"} | fields)
    return path


def read(path: Path, channels: int | None = 1, label: bool = False, dims: int = 3, time: int | None = None) -> Scan:
    return read_nrrd(path, Wanted(dims, channels, label, time=time))


def refused(path: Path, message: str) -> None:
    with pytest.raises(Unreadable, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "text"])
def test_a_volume_keeps_values_place_and_spacing(tmp_path: Path, encoding: str) -> None:
    array = np.round(VOLUME * 1000) if encoding == "text" else VOLUME
    scan = read(write(tmp_path / "a.nrrd", array, encoding=encoding))
    np.testing.assert_array_equal(scan.array, array[None])
    assert scan.array.dtype == np.float32
    np.testing.assert_array_equal(scan.affine, [[-1.5, 0, 0, -1], [0, -2, 0, -2], [0, 0, 4, 3], [0, 0, 0, 1]])
    assert scan.spacing == (1.5, 2.0, 4.0)
    shape, affine = nrrd_header(tmp_path / "a.nrrd")
    assert shape == (5, 6, 7)
    np.testing.assert_array_equal(affine, scan.affine)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("scanner-xyz", (1, 1, 1)),
    ],
)
def test_spaces_are_turned_to_ras(tmp_path: Path, space: str, signs: tuple[int, ...]) -> None:
    scan = read(write(tmp_path / "a.nrrd", VOLUME, space=space))
    np.testing.assert_array_equal(np.diag(scan.affine)[:3], np.array([1.5, 2, 4]) * signs)
    np.testing.assert_array_equal(scan.affine[:3, 3], np.array([1, 2, 3]) * signs)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint32, np.int64, np.float64])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_a_label_map_keeps_its_type(tmp_path: Path, kind: type, endian: str) -> None:
    path = write(tmp_path / "a.nrrd", LABEL.astype(np.dtype(kind).newbyteorder("<" if endian == "little" else ">")))
    array = read(path, label=True).array
    assert array.dtype == kind
    np.testing.assert_array_equal(array[0], LABEL)


@given(array=arrays.arrays(np.int16, st.tuples(*[st.integers(1, 5)] * 3)))
@settings(max_examples=25, deadline=None)
def test_any_volume_survives(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    path = write(tmp_path_factory.mktemp("n") / "a.nrrd", array)
    np.testing.assert_array_equal(read(path).array[0], array)


def test_without_directions_the_spacings_or_one_are_taken(tmp_path: Path) -> None:
    assert read(plain(tmp_path / "a.nrrd", VOLUME)).spacing == (1, 1, 1)
    scan = read(plain(tmp_path / "b.nrrd", VOLUME, spacings=[0.5, 0.25, 3.0]))
    assert scan.spacing == (0.5, 0.25, 3.0)
    np.testing.assert_array_equal(scan.affine, np.diag([0.5, 0.25, 3.0, 1.0]))


def test_components_come_first_in_the_file_and_become_channels(tmp_path: Path) -> None:
    many = np.stack([VOLUME, VOLUME + 1])
    directions = np.vstack([[np.nan] * 3, DIRECTIONS])
    fields = {"space directions": directions, "kinds": ["vector", "domain", "domain", "domain"]}
    scan = read(write(tmp_path / "a.nrrd", many, **fields), channels=2)
    np.testing.assert_array_equal(scan.array, many)
    assert scan.spacing == (1.5, 2.0, 4.0)


def test_a_time_point_of_a_list_is_taken(tmp_path: Path) -> None:
    many = np.stack([VOLUME, VOLUME + 1, VOLUME + 2], axis=-1)
    path = plain(tmp_path / "a.nrrd", many, kinds=["space", "space", "space", "time"])
    np.testing.assert_array_equal(read(path, time=2).array[0], VOLUME + 2)
    assert nrrd_header(path)[0] == (5, 6, 7, 3)
    refused(path, "is 4D")


def test_an_image_of_two_axes_comes_as_rows_and_columns(tmp_path: Path) -> None:
    scan = read(plain(tmp_path / "a.nrrd", VOLUME[..., 0], spacings=[0.5, 0.25]), dims=2)
    np.testing.assert_array_equal(scan.array[0], VOLUME[..., 0].T)
    assert scan.spacing == (0.25, 0.5)
    colour = np.arange(3 * 5 * 6, dtype=np.uint8).reshape(3, 5, 6)
    path = plain(tmp_path / "b.nrrd", colour, kinds=["RGB-color", "domain", "domain"])
    np.testing.assert_array_equal(read(path, channels=3, dims=2).array, colour.swapaxes(1, 2))


def test_data_may_lie_in_a_file_beside_the_header(tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "a.nhdr"), VOLUME, header(DIRECTIONS, (1.0, 2.0, 3.0)), detached_header=True)
    np.testing.assert_array_equal(read(tmp_path / "a.nhdr").array[0], VOLUME)
    next(path for path in tmp_path.iterdir() if path.suffix != ".nhdr").unlink()
    refused(tmp_path / "a.nhdr", r"its data file 'a\.raw\.gz' is missing")


@pytest.mark.parametrize("name", ["../secret.raw", "/etc/passwd"])
def test_data_outside_of_the_folder_are_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.raw").write_bytes(VOLUME.tobytes())
    (tmp_path / "in").mkdir()
    text = f"NRRD0004\ntype: float\ndimension: 3\nsizes: 5 6 7\nencoding: raw\nendian: little\ndata file: {name}\n\n"
    (tmp_path / "in" / "a.nhdr").write_text(text)
    refused(tmp_path / "in" / "a.nhdr", "names data outside of its folder")


def test_skips_of_lines_and_bytes_are_honoured(tmp_path: Path) -> None:
    fields = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 5 6 7\nencoding: {}\n{}\ndata file: a.raw\n\n"
    for number, (encoding, skip, data) in enumerate(
        [
            ("raw", "line skip: 1\nbyte skip: 3", b"one line\nabc" + LABEL.tobytes(order="F")),
            ("raw", "byte skip: -1", b"a header of any length" + LABEL.tobytes(order="F")),
            ("gzip", "byte skip: 4", gzip.compress(b"abcd" + LABEL.tobytes(order="F"), mtime=0)),
        ]
    ):
        (tmp_path / "a.raw").write_bytes(data)
        (tmp_path / f"{number}.nhdr").write_text(fields.format(encoding, skip))
        np.testing.assert_array_equal(read(tmp_path / f"{number}.nhdr", label=True).array[0], LABEL)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "text"])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.nrrd", LABEL, encoding=encoding)
    whole = path.read_bytes()
    last = len(whole) - (2 if encoding == "text" else 1)  # a line break may be lacking behind text
    for length in [*range(0, len(whole), 11), last]:
        path.write_bytes(whole[:length])
        refused(path, "truncated|damaged|no NRRD|lacks|makes no sense|voxels")


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_a_flipped_bit_in_a_compressed_stream_is_found(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.nrrd", VOLUME, encoding=encoding)
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    path.write_bytes(content)
    refused(path, "is damaged")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"NRRD000", b"NIFTI00", "is no NRRD file"),
        (b"NRRD000", b"<!DOCTYPE html>", "is a web page"),
        (b"sizes: 5 6 7", b"sizes: 5 6 0", r"claims the sizes \(5, 6, 0\)"),
        (b"sizes: 5 6 7", b"sizes: 5 6", r"claims the sizes \(5, 6\) of 3 axes"),
        (b"sizes: 5 6 7", b"sizes: 500000 600000 7", "announces .* GiB; it is no scan"),
        (b"sizes: 5 6 7", b"sizes: 5 6 6", "goes on beyond the 720 bytes"),
        (b"sizes: 5 6 7", b"sizes: 5 6 8", "is truncated: 840 of 960 bytes"),
        (b"type: float", b"type: block", "holds 'block' voxels"),
        (b"encoding: raw", b"encoding: hex", "is stored as 'hex'"),
        (b"endian: little\n", b"", "little or big endian"),
        (b"(1.5,0,0)", b"(0,0,0)", "singular"),
        (b"(1.5,0,0)", b"(nan,0,0)", "singular or not finite"),
        (b"(1.5,0,0)", b"none", r"has 2 axes in space \(5, 6, 7\)"),
        (b"dimension: 3", b"dimension: x", "damaged header"),
        (b"kinds: domain", b'space units: "cm" "cm" "cm"\nkinds: domain', "its spacing is in cm"),
        (b"encoding: raw", b"encoding: raw\ndata file: LIST", "spreads its data over several files"),
    ],
)
def test_a_header_that_is_wrong_is_said(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = write(tmp_path / "a.nrrd", VOLUME, encoding="raw")
    content = path.read_bytes().replace(b"1.5,0.0,0.0", b"1.5,0,0")
    assert old in content
    path.write_bytes(content.replace(old, new))
    refused(path, message)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd", LABEL)
    head = path.read_bytes().split(b"\n\n")[0]
    path.write_bytes(head + b"\n\n" + gzip.compress(bytes(50_000_000)))
    refused(path, "goes on beyond the 210 bytes")
