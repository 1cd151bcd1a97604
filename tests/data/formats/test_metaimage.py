"""MetaImage files: values and places as the header means them, and whatever is wrong with a file is said."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts.luna16 import TYPES, write_metaimage

from medexp.data.formats.metaimage import metaimage_header, read_metaimage, voxel_file
from medexp.data.formats.part import cut_window
from medexp.data.formats.scan import Scan, Unreadable, Wanted
from medexp.data.records import Window

VOLUME = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 7
PLACED = {"Offset": "-10 -20 30", "ElementSpacing": "0.5 2 3"}


def read(path: Path, dims: int = 3, channels: int | None = 1, label: bool = False, time: int | None = None) -> Scan:
    return read_metaimage(path, Wanted(dims, channels, label, time=time))


def refused(path: Path, message: str) -> None:
    with pytest.raises(Unreadable, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mhd", "a.mha"])
def test_voxels_run_along_x_first_and_the_image_becomes_float(tmp_path: Path, name: str) -> None:
    data = b"".join(int(value).to_bytes(2, "little", signed=True) for value in range(-3, 3))
    scan = read(write_metaimage(tmp_path / name, np.zeros((3, 2, 1), np.int16), data))
    assert scan.array.dtype == np.float32
    assert scan.array.flags.c_contiguous
    assert scan.array[0, :, :, 0].tolist() == [[-3, 0], [-2, 1], [-1, 2]]


def test_lps_becomes_ras(tmp_path: Path) -> None:
    scan = read(write_metaimage(tmp_path / "a.mhd", VOLUME, **PLACED))
    assert scan.affine.tolist() == [[-0.5, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]]
    assert scan.spacing == (0.5, 2.0, 3.0)
    assert (scan.affine @ [1, 2, 3, 1]).tolist() == [9.5, 16.0, 39.0, 1.0]


def test_each_triple_of_the_transform_matrix_is_the_direction_of_a_voxel_axis(tmp_path: Path) -> None:
    """First axis towards posterior, second towards superior, third towards left (LPS +y, +z, +x)."""
    turned = {**PLACED, "TransformMatrix": "0 1 0 0 0 1 1 0 0"}
    scan = read(write_metaimage(tmp_path / "a.mhd", VOLUME, **turned))
    origin = np.array([10.0, 20.0, 30.0])
    np.testing.assert_array_equal(scan.affine[:3, 3], origin)
    np.testing.assert_array_equal(scan.affine[:3, 0], [0, -0.5, 0])
    np.testing.assert_array_equal(scan.affine[:3, 1], [0, 0, 2])
    np.testing.assert_array_equal(scan.affine[:3, 2], [-3, 0, 0])


def test_older_names_of_offset_matrix_and_spacing_are_understood(tmp_path: Path) -> None:
    new = read(write_metaimage(tmp_path / "a.mhd", VOLUME, **PLACED, TransformMatrix="0 1 0 1 0 0 0 0 1"))
    old = {"Position": "-10 -20 30", "ElementSize": "0.5 2 3", "Orientation": "0 1 0 1 0 0 0 0 1"}
    np.testing.assert_array_equal(read(write_metaimage(tmp_path / "b.mhd", VOLUME, **old)).affine, new.affine)


def test_a_file_without_a_place_lies_at_the_origin_with_unit_spacing(tmp_path: Path) -> None:
    scan = read(write_metaimage(tmp_path / "a.mha", VOLUME))
    np.testing.assert_array_equal(scan.affine, np.diag([-1, -1, 1, 1]))
    np.testing.assert_array_equal(scan.array[0], VOLUME)


def test_microscopic_voxels_are_no_fault(tmp_path: Path) -> None:
    path = write_metaimage(tmp_path / "a.mha", VOLUME, ElementSpacing="5e-5 5e-5 5e-5")
    assert read(path).spacing == pytest.approx((5e-5,) * 3)
    assert metaimage_header(path)[0] == VOLUME.shape


@pytest.mark.parametrize("kind", TYPES)
def test_a_label_map_keeps_its_type(tmp_path: Path, kind: str) -> None:
    scan = read(write_metaimage(tmp_path / "a.mhd", np.abs(VOLUME).astype(kind)), label=True)
    assert scan.array.dtype == np.dtype(kind)
    np.testing.assert_array_equal(scan.array[0], np.abs(VOLUME))


def test_long_has_four_bytes_whatever_the_machine(tmp_path: Path) -> None:
    scan = read(write_metaimage(tmp_path / "a.mha", VOLUME.astype(np.int32), ElementType="MET_LONG"))
    np.testing.assert_array_equal(scan.array[0], VOLUME)


@pytest.mark.parametrize("key", ["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])
def test_big_endian_voxels(tmp_path: Path, key: str) -> None:
    fields = {"BinaryDataByteOrderMSB": None, key: True}
    path = write_metaimage(tmp_path / "a.mhd", VOLUME, VOLUME.astype(">i2").tobytes(order="F"), **fields)
    np.testing.assert_array_equal(read(path).array[0], VOLUME)
    assert read(path, label=True).array.dtype.isnative


@pytest.mark.parametrize("name", ["a.mhd", "a.mha"])
@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
@pytest.mark.parametrize("said", [True, False])
def test_compressed_voxels(tmp_path: Path, name: str, pack: Any, said: bool) -> None:
    packed = pack(VOLUME.tobytes(order="F"))
    fields = {"CompressedData": True, **({"CompressedDataSize": len(packed)} if said else {})}
    path = write_metaimage(tmp_path / name, VOLUME, packed, **fields)
    np.testing.assert_array_equal(read(path).array[0], VOLUME)


def test_channels_lie_side_by_side_in_the_file_and_first_in_the_array(tmp_path: Path) -> None:
    data = bytes([1, 2, 3, 11, 12, 13])  # two voxels of three channels
    fields = {"ElementNumberOfChannels": 3, "ElementType": "MET_UCHAR_ARRAY"}
    path = write_metaimage(tmp_path / "a.mha", np.zeros((2, 1, 1), np.uint8), data, **fields)
    assert read(path, channels=3).array[:, :, 0, 0].tolist() == [[1, 11], [2, 12], [3, 13]]
    assert metaimage_header(path)[0] == (2, 1, 1, 3)


def test_two_dimensions_and_a_volume_of_one_slice(tmp_path: Path) -> None:
    plane = write_metaimage(tmp_path / "a.mha", VOLUME[0], ElementSpacing="2 3", TransformMatrix="0 1 1 0")
    scan = read(plane, dims=2)
    np.testing.assert_array_equal(scan.array[0], VOLUME[0])
    np.testing.assert_array_equal(scan.affine[:2, :2], [[0, -3], [-2, 0]])
    assert scan.spacing == (2.0, 3.0)
    np.testing.assert_array_equal(
        read(write_metaimage(tmp_path / "b.mha", VOLUME[..., :1]), dims=2).array[0], VOLUME[..., 0]
    )


def test_a_time_point_of_four_dimensions(tmp_path: Path) -> None:
    series = np.stack([VOLUME, VOLUME + 100], axis=-1)
    path = write_metaimage(tmp_path / "a.mhd", series, ElementSpacing="1 2 3 1.5", Offset="1 2 3 0")
    scan = read(path, time=1)
    np.testing.assert_array_equal(scan.array[0], VOLUME + 100)
    assert scan.spacing == (1.0, 2.0, 3.0)
    refused(path, "is 4D .* where 3D is expected")


def test_bytes_before_the_voxels_are_passed_over(tmp_path: Path) -> None:
    voxels = VOLUME.tobytes(order="F")
    for skip in (5, -1):
        path = write_metaimage(tmp_path / "a.mhd", VOLUME, b"12345" + voxels, HeaderSize=skip)
        np.testing.assert_array_equal(read(path).array[0], VOLUME)


def test_a_header_is_read_without_voxels(tmp_path: Path) -> None:
    path = write_metaimage(tmp_path / "a.mhd", VOLUME, **PLACED)
    (tmp_path / "a.raw").unlink()
    shape, affine = metaimage_header(path)
    assert shape == (2, 3, 4)
    np.testing.assert_array_equal(np.diag(affine), [-0.5, -2, 3, 1])


@pytest.mark.parametrize("name", ["a.mhd", "a.mha"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_window_is_the_part_of_the_whole(tmp_path: Path, name: str, compressed: bool, channels: int) -> None:
    voxels = np.arange(channels * 6 * 7 * 8, dtype=np.int16)
    data = zlib.compress(voxels.tobytes()) if compressed else voxels.tobytes()
    fields = {**PLACED, "CompressedData": compressed, "ElementNumberOfChannels": channels}
    path = write_metaimage(tmp_path / name, np.zeros((6, 7, 8), np.int16), data, **fields)
    wanted = Wanted(3, channels)
    for centre in ((9.0, 16.0, 39.0), (10.0, 20.0, 30.0)):  # the second at the corner, where the edge is repeated
        window = Window(centre, (1.5, 6.0, 12.0))
        whole, part = cut_window(read_metaimage(path, wanted), window), read_metaimage(path, wanted, window)
        assert part.array.shape == (channels, 3, 3, 4)
        assert part.array.dtype == np.float32
        np.testing.assert_array_equal(part.array, whole.array)
        np.testing.assert_array_equal(part.affine, whole.affine)
        assert part.spacing == whole.spacing
    with pytest.raises(Unreadable, match="outside of the volume"):
        read_metaimage(path, wanted, Window((-99.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    flat = write_metaimage(tmp_path / "flat.mha", VOLUME[0])
    with pytest.raises(Unreadable, match=r"is 2D .*windows are parts of 3D volumes"):
        read_metaimage(flat, Wanted(2, 1), window)


def test_a_window_of_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write_metaimage(tmp_path / "a.mhd", VOLUME, VOLUME.tobytes()[:-1])
    with pytest.raises(Unreadable, match="is truncated: 47 of 48 bytes"):
        read_metaimage(path, Wanted(3, 1), Window((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))


def test_the_file_of_the_voxels_is_known(tmp_path: Path) -> None:
    assert voxel_file(write_metaimage(tmp_path / "a.mhd", VOLUME)) == tmp_path / "a.raw"
    assert voxel_file(write_metaimage(tmp_path / "b.mha", VOLUME)) == tmp_path / "b.mha"
    (tmp_path / "a.raw").unlink()
    with pytest.raises(Unreadable, match=r"its voxels are in a\.raw, which is not beside it"):
        voxel_file(tmp_path / "a.mhd")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_grid_is_read_back(tmp_path: Path, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=3, max_size=3)))
    axes = np.linalg.qr(np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(3, 3)))[0]
    spacing = data.draw(st.lists(st.floats(0.1, 9), min_size=3, max_size=3))
    offset = data.draw(st.lists(st.floats(-500, 500), min_size=3, max_size=3))
    volume = np.random.default_rng(1).integers(-1000, 1000, shape).astype(np.int16)
    words = {"TransformMatrix": axes.T.ravel(), "ElementSpacing": spacing, "Offset": offset}
    fields = {key: " ".join(repr(float(value)) for value in values) for key, values in words.items()}
    scan = read(write_metaimage(tmp_path / "a.mhd", volume, **fields))
    np.testing.assert_array_equal(scan.array[0], volume)
    lps = np.asarray(offset) + axes @ (np.asarray(spacing) * [1, 2, 3])
    np.testing.assert_allclose((scan.affine @ [1, 2, 3, 1])[:3], lps * [-1, -1, 1], atol=1e-9)


@pytest.mark.parametrize("cut", [0, 1, 47])
def test_a_truncated_file_is_named(tmp_path: Path, cut: int) -> None:
    path = write_metaimage(tmp_path / "a.mhd", VOLUME, VOLUME.tobytes()[:cut])
    refused(path, rf"is truncated: {cut} of 48 bytes of voxels in a\.raw; copy it again")


@pytest.mark.parametrize("cut", [1, 4, 12])
def test_a_truncated_compressed_file_is_named(tmp_path: Path, cut: int) -> None:
    packed = zlib.compress(VOLUME.tobytes(order="F"))[:-cut]
    refused(write_metaimage(tmp_path / "a.mha", VOLUME, packed, CompressedData=True), "is truncated: the zlib stream")


def test_a_flipped_bit_in_a_compressed_file_is_named(tmp_path: Path) -> None:
    packed = bytearray(zlib.compress(VOLUME.tobytes(order="F"), 0))
    packed[20] ^= 1
    refused(write_metaimage(tmp_path / "a.mha", VOLUME, bytes(packed), CompressedData=True), "a.mha is damaged .*check")


def test_a_decompression_bomb_is_never_unpacked(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(2**26))
    refused(write_metaimage(tmp_path / "a.mha", VOLUME, bomb, CompressedData=True), "does not unpack to the 48 bytes")
    refused(write_metaimage(tmp_path / "b.mha", VOLUME, bomb, CompressedData=True, DimSize="9999 9999 9"), "truncated")
    refused(write_metaimage(tmp_path / "c.mha", VOLUME, DimSize="9e9 9e9 9e9"), "GiB; it is no scan")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"DimSize": "2 3 3"}, "a.raw holds 48 bytes of voxels, the header announces 36"),
        ({"DimSize": "2 3"}, "DimSize = 2 3; 3 whole numbers expected"),
        ({"DimSize": "2 3 x"}, "DimSize = 2 3 x; 3 whole numbers"),
        ({"DimSize": "2 -3 4"}, r"claims the shape \(2, -3, 4\)"),
        ({"DimSize": "0 3 4"}, r"claims the shape \(0, 3, 4\)"),
        ({"DimSize": None}, "its header lacks DimSize"),
        ({"NDims": 5}, "NDims = 5; 2, 3 and 4 can be read"),
        ({"NDims": "three"}, "NDims = three; 1 whole number expected"),
        ({"ElementType": "MET_STRING"}, "holds MET_STRING voxels; known: MET_CHAR"),
        ({"ElementSpacing": "1 1"}, "ElementSpacing = 1 1; 3 numbers expected"),
        ({"ElementSpacing": "1 1 0"}, "are singular or not finite"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "are singular or not finite"),
        ({"Offset": "nan 0 0"}, "are singular or not finite"),
        ({"BinaryData": False}, "holds text or rescaled voxels"),
        ({"ElementToIntensityFunctionSlope": 2}, "holds text or rescaled voxels"),
        ({"ElementToIntensityFunctionSlope": "x"}, "Slope = x; 1 number expected"),
        ({"ElementDataFile": "LIST"}, "keeps its slices in files of their own"),
        ({"ElementDataFile": "slice%03d.raw 1 4 1"}, "keeps its slices in files of their own"),
        ({"ElementDataFile": "../a.raw"}, r"ElementDataFile = \.\./a\.raw does not lie in its folder"),
        ({"ElementDataFile": "/etc/passwd"}, "ElementDataFile = /etc/passwd does not lie in its folder"),
        ({"ElementDataFile": "..\\a.raw"}, "does not lie in its folder"),
        ({"ElementDataFile": "sub/gone.raw"}, r"its voxels are in sub/gone\.raw, which is not beside it"),
        ({"CompressedData": True}, "a.raw is damaged"),
        ({"CompressedData": True, "CompressedDataSize": 10**18}, "a.raw is damaged"),
        ({"HeaderSize": 4}, "is truncated: 44 of 48 bytes"),
    ],
)
def test_a_header_that_cannot_be_used_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    refused(write_metaimage(tmp_path / "a.mhd", VOLUME, **fields), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"ObjectType = Image\nNDims = 3\n", "is no MetaImage .its header has no ElementDataFile"),
        (bytes(range(256)) * 100, "is no MetaImage"),
    ],
)
def test_a_file_that_is_no_metaimage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mhd").write_bytes(content)
    refused(tmp_path / "a.mhd", message)
