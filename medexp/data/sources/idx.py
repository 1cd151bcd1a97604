"""MNIST as it is published: four idx files of images and labels, packed or not.

LeCun et al. 1998, Proc. IEEE 86:2278.
"""

from __future__ import annotations

from pathlib import Path

from medexp.data.formats.arrays import idx_shape, unpack_idx
from medexp.data.formats.scan import Unreadable
from medexp.data.records import Record
from medexp.data.sources.folders import need_folder
from medexp.errors import Faults, UserError

PARTS = {"train": "train", "t10k": "test"}


def records(root: Path) -> list[Record]:
    """A record a row of train-images and t10k-images, whose rows are the test split. The names may end in .gz, and have
    a dot for the dash before "idx"; where a file is there both ways, the unpacked one is read. Raises Faults."""
    need_folder(root)
    files = {(name, kind): _file(root, f"{name}-{kind}") for name in PARTS for kind in ("images-idx3", "labels-idx1")}
    missing = [f"{root / '-'.join(key)}-ubyte: no such file" for key, path in files.items() if path is None]
    if missing:
        raise Faults(f"dataset.root: {len(missing)} of 4 idx files are missing; set dataset.root=PATH", missing)
    return [
        record
        for name, part in PARTS.items()
        for record in _part(files[name, "images-idx3"], files[name, "labels-idx1"], part)  # type: ignore[arg-type]
    ]


def _file(root: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")
    names = (f"{name}-ubyte", f"{dotted}-ubyte", f"{name}-ubyte.gz", f"{dotted}-ubyte.gz")
    return next((root / each for each in names if (root / each).is_file()), None)


def _part(images: Path, labels: Path, part: str) -> list[Record]:
    path = labels
    try:
        numbers = unpack_idx(labels)
        path = images
        rows = idx_shape(images)[0]
    except Unreadable as error:
        raise UserError(f"{path}: {error}") from None
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise UserError(f"{labels}: is {numbers.ndim}D of {numbers.dtype}, not one class number a row; give the labels")
    if rows != len(numbers):
        raise UserError(
            f"{images.parent}: {rows} rows in {images.name} for {len(numbers)} in {labels.name}; download them again"
        )
    return [
        Record(f"{part}_{row:05d}", (images,), target=int(number), split=part, member=row)
        for row, number in enumerate(numbers)
    ]
