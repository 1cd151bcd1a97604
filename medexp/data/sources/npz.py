"""MedMNIST files: one .npz with train_images, train_labels, val_*, test_* (Yang et al. 2023, Sci. Data 10:41)."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from medexp.data.records import Record
from medexp.errors import UserError

PARTS = ("train", "val", "test")


def records(root: Path, *, file: str | None = None) -> list[Record]:
    """A record a row. root: the .npz, or its folder with `file`. Labels of several columns become lists of 0 and 1."""
    path = root if file is None else root / file
    if not path.is_file():
        raise UserError(
            f"dataset.root: {path} is not a file; set dataset.root=FILE.npz (or a folder with dataset.source.file)"
        )
    found: list[Record] = []
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            rows = {part: _rows(archive, f"{part}_images") for part in PARTS if f"{part}_images" in names}
        with np.load(path, allow_pickle=False) as arrays:
            for part in PARTS:
                if f"{part}_labels" in names:
                    found += _part(path, part, np.asarray(arrays[f"{part}_labels"]), rows.get(part))
    except (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as .npz: {str(error).splitlines()[0]}; download it again") from None
    if not found:
        raise UserError(
            f"{path}: holds {', '.join(names) or 'nothing'}; a MedMNIST file holds train_images, train_labels, ..."
        )
    return found


def _rows(archive: zipfile.ZipFile, name: str) -> int:
    """Rows of an array by its header, so that no image is unpacked."""
    with archive.open(f"{name}.npy") as file:
        major, _ = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape = read(file)[0]
    return int(shape[0]) if shape else 0


def _part(path: Path, part: str, labels: np.ndarray, images: int | None) -> list[Record]:
    if images != len(labels):
        have = "no" if images is None else str(images)
        raise UserError(f"{path}: {have} rows in {part}_images for {len(labels)} in {part}_labels; download it again")
    if labels.dtype.kind not in "biu" and not np.array_equal(labels, np.rint(labels)):
        raise UserError(f"{path}: {part}_labels are not whole numbers; classes are numbered from 0")
    rows = labels.astype(np.int64).reshape(len(labels), -1)
    targets = rows[:, 0].tolist() if rows.shape[1] == 1 else rows.tolist()
    return [
        Record(
            f"{part}_{index:06d}",
            (path,),
            target=target if isinstance(target, list) else int(target),
            split=part,
            member=index,
        )
        for index, target in enumerate(targets)
    ]
