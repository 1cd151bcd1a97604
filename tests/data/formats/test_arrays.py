"""Rows of array files: idx and npz read to the end, once, and what is wrong with them said once more for every row."""

from __future__ import annotations

import gzip
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from layouts.idx import CODES, idx_bytes, write_idx

from medexp.data.formats import arrays
from medexp.data.formats.arrays import read_idx, read_npz, unpack_idx
from medexp.data.formats.scan import Unreadable, Wanted

ROW = Wanted(2, 1, member=1, split="train")


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("end", ["", ".gz"])
def test_numbers_of_every_type_come_back(tmp_path: Path, code: str, end: str) -> None:
    values = np.array([[1, 0, 2], [100, 3, 4]])
    array = unpack_idx(write_idx(tmp_path / f"x-idx2-ubyte{end}", values, code))
    np.testing.assert_array_equal(array, values)
    assert array.dtype.isnative
    assert array.dtype == np.dtype(code).newbyteorder("=")


@given(array=arrays_of.arrays(np.uint8, arrays_of.array_shapes(min_dims=1, max_dims=4, max_side=5)), cut=st.integers(1))
def test_idx_comes_back_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, cut: int
) -> None:
    path = tmp_path_factory.mktemp("idx") / "x-idx3-ubyte"
    content = idx_bytes(array)
    path.write_bytes(content)
    np.testing.assert_array_equal(unpack_idx(path), array)
    path.write_bytes(content[: -1 - cut % len(content)])
    with pytest.raises(Unreadable):
        unpack_idx(path)


def test_row_of_idx_is_a_float_image_and_its_neighbours_stay(tmp_path: Path) -> None:
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    path = write_idx(tmp_path / "a-idx3-ubyte.gz", pixels)
    scan = read_idx(path, ROW)
    assert (scan.array.shape, scan.array.dtype, scan.spacing) == ((1, 4, 5), np.float32, (1.0, 1.0))
    scan.array[:] = 0
    np.testing.assert_array_equal(read_idx(path, ROW).array[0], pixels[1])
    assert read_idx(path, Wanted(2, 3, member=2)).array.shape == (3, 4, 5)


BODY = idx_bytes(np.zeros((2, 3, 3)))
DAMAGED = bytearray(gzip.compress(BODY, mtime=0))
DAMAGED[-6] ^= 1  # in gzip's checksum


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a-idx3-ubyte", b"", "is no idx file .*begins with nothing"),
        ("a-idx3-ubyte", b"\x89PNG" + BODY, "is no idx file .*begins with 89504e47"),
        ("a-idx3-ubyte", gzip.compress(BODY, mtime=0), "is no idx file .*it is gzip: name it .gz"),
        ("a-idx3-ubyte", b"\0\0\x07" + BODY[3:], "is no idx file"),
        ("a-idx3-ubyte", BODY[:9], "its header ends early"),
        ("a-idx3-ubyte", BODY[:-1], r"holds 17 of 18 bytes of numbers, shape \(2, 3, 3\)"),
        ("a-idx3-ubyte", BODY + b"\0", "holds more than 18 bytes"),
        ("a-idx3-ubyte", b"\0\0\x0e\x03" + b"\xff" * 12, "announces .* GiB"),
        ("a-idx3-ubyte.gz", BODY, "is damaged"),
        ("a-idx3-ubyte.gz", gzip.compress(BODY, mtime=0)[:-9], "is truncated or damaged"),
        ("a-idx3-ubyte.gz", bytes(DAMAGED), "is damaged .*download it again"),
    ],
)
def test_idx_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unreadable, match=message):
        read_idx(tmp_path / name, ROW)


@pytest.mark.parametrize("member", [2, -1, None, "1.2.3"])
def test_row_that_is_not_there_is_named(tmp_path: Path, member: int | str | None) -> None:
    path = write_idx(tmp_path / "a-idx3-ubyte", np.zeros((2, 3, 3)))
    with pytest.raises(Unreadable, match=f"row {member} of a-idx3-ubyte cannot be read: it has 2 rows"):
        read_idx(path, Wanted(2, 1, member=member))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_bit_that_flipped_in_a_zip_member_is_found(tmp_path: Path, save: object) -> None:
    rng = np.random.default_rng(0)
    save(tmp_path / "a.npz", train_images=rng.integers(0, 255, (50, 28, 28), dtype=np.uint8))  # type: ignore[operator]
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 16
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(Unreadable, match=r"train_images cannot be read \(.*\); download it again"):
        read_npz(tmp_path / "a.npz", ROW)


def test_broken_npz_is_unpacked_once_for_all_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", train_images=np.zeros((9, 5, 5)))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[:-80])
    opened = []
    load = np.load
    monkeypatch.setattr(arrays.np, "load", lambda *a, **k: opened.append(1) or load(*a, **k))
    for row in range(9):
        with pytest.raises(Unreadable, match="train_images cannot be read"):
            read_npz(tmp_path / "a.npz", Wanted(2, 1, member=row, split="train"))
    assert len(opened) == 1


def test_threads_share_one_unpacked_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(20 * 9, dtype=np.uint8).reshape(20, 3, 3)
    np.savez_compressed(tmp_path / "a.npz", train_images=pixels)
    opened = []
    load = np.load
    monkeypatch.setattr(arrays.np, "load", lambda *a, **k: opened.append(1) or load(*a, **k))
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda i: read_npz(tmp_path / "a.npz", Wanted(2, 1, member=i, split="train")), range(20)))
    np.testing.assert_array_equal([scan.array[0] for scan in rows], pixels)
    assert len(opened) == 1


def test_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    import os

    for moment, value in ((1, 5), (2, 7)):
        np.savez(tmp_path / "a.npz", train_images=np.full((2, 3, 3), value))
        os.utime(tmp_path / "a.npz", (moment, moment))
        assert read_npz(tmp_path / "a.npz", ROW).array.max() == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"val_images": np.zeros((2, 3, 3))}, r"holds no train_images \(it holds val_images\)"),
        ({"train_images": np.zeros(3)}, "train_images is 1D of float64, no row of images"),
        ({"train_images": np.array([["a", "b"]])}, "train_images is 2D of <U1, no row of images"),
        ({"train_images": np.array([None, 1], dtype=object)}, "train_images cannot be read .*allow_pickle"),
    ],
)
def test_npz_without_images_is_named(tmp_path: Path, content: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **content)  # type: ignore[arg-type]
    with pytest.raises(Unreadable, match=message):
        read_npz(tmp_path / "a.npz", ROW)


def test_npz_beyond_memory_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        np.save(tmp_path / "x.npy", np.zeros((1, 2, 2), np.uint8))
        head = (tmp_path / "x.npy").read_bytes().replace(b"(1, 2, 2)", b"(9999999, 9999999, 9999)")
        archive.writestr("train_images.npy", head)
    with pytest.raises(Unreadable, match=r"train_images (does not fit into memory|cannot be read)"):
        read_npz(tmp_path / "a.npz", ROW)
