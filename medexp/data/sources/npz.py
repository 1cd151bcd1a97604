"""MedMNIST files: one .npz with train_images, train_labels, val_*, test_* (Yang et al. 2023, Sci. Data 10:41)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medexp.data.records import Record
from medexp.errors import UserError

PARTS = ("train", "val", "test")


def records(root: Path, *, file: str | None = None) -> list[Record]:
    """A record a row. root: the .npz, or its folder with `file`. Labels of several columns become lists of 0 and 1."""
    path = root if file is None else root / file
    if not path.is_file():
        raise UserError(f"dataset.root: {path} is not a file; set dataset.root=FILE.npz (or a folder with dataset.source.file)")
    found: list[Record] = []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays.files
            for part in PARTS:
                if f"{part}_labels" in names:
                    found += _part(path, part, np.asarray(arrays[f"{part}_labels"]))
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as .npz: {str(error).splitlines()[0]}; download it again") from None
    if not found:
        raise UserError(f"{path}: holds {', '.join(names) or 'nothing'}; a MedMNIST file holds train_images, train_labels, ...")
    return found


def _part(path: Path, part: str, labels: np.ndarray) -> list[Record]:  # type: ignore[type-arg]
    rows = labels.reshape(len(labels), -1)
    targets = rows[:, 0].tolist() if rows.shape[1] == 1 else rows.tolist()
    return [
        Record(f"{part}_{index:06d}", (path,), target=target if isinstance(target, list) else int(target), split=part, member=index)
        for index, target in enumerate(targets)
    ]
