"""LUNA16 (luna16.grand-challenge.org/Data) in small: subset folders of .mhd and .raw, candidates, annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

TYPES = {
    **{"int8": "CHAR", "uint8": "UCHAR", "int16": "SHORT", "uint16": "USHORT", "int32": "INT", "uint32": "UINT"},
    **{"int64": "LONG_LONG", "uint64": "ULONG_LONG", "float32": "FLOAT", "float64": "DOUBLE"},
}


def uid(number: int) -> str:
    return f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{number:06d}"


def write_metaimage(path: Path, array: np.ndarray[Any, Any], data: bytes | None = None, **fields: Any) -> Path:
    """An image (x, y[, z]) as ITK writes it: ElementDataFile comes last. data: the voxels' bytes as the file holds them."""
    name = fields.pop("ElementDataFile", path.with_suffix(".raw").name if path.suffix == ".mhd" else "LOCAL")
    header = {
        "ObjectType": "Image",
        "NDims": array.ndim,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": False,
        "DimSize": " ".join(map(str, array.shape)),
        "ElementType": f"MET_{TYPES[array.dtype.newbyteorder('=').name]}",
        **fields,
        "ElementDataFile": name,
    }
    head = "".join(f"{key} = {value}\n" for key, value in header.items() if value is not None).encode()
    content = array.tobytes(order="F") if data is None else data
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + content if name == "LOCAL" else head)
    if name != "LOCAL" and "/" not in name:
        (path.parent / name).write_bytes(content)
    return path


def write(root: Path, scans: int = 10, each: int = 3, size: tuple[int, int, int] = (24, 22, 20)) -> Path:
    """Scans of 1.5 x 1.5 x 2 mm in two subsets: of `each` candidates the first is a nodule, a bright ball of 3 voxels."""
    rng = np.random.default_rng(0)
    spacing, offset = np.array([1.5, 1.5, 2.0]), np.array([-100.0, -80.0, -300.0])
    candidates = ["seriesuid,coordX,coordY,coordZ,class"]
    annotations = ["seriesuid,coordX,coordY,coordZ,diameter_mm"]
    for scan in range(scans):
        array = rng.normal(-850, 30, size).astype(np.int16)
        for index in range(each):
            centre = rng.integers(5, np.asarray(size) - 5)
            place = ",".join(f"{value:.3f}" for value in offset + centre * spacing)
            candidates.append(f"{uid(scan)},{place},{int(index == 0)}")
            if index == 0:
                array[tuple(slice(value - 1, value + 2) for value in centre)] = 100
                annotations.append(f"{uid(scan)},{place},6.5")
        write_metaimage(
            root / f"subset{scan % 2}" / f"{uid(scan)}.mhd",
            array,
            TransformMatrix="1 0 0 0 1 0 0 0 1",
            Offset=" ".join(map(str, offset)),
            ElementSpacing=" ".join(map(str, spacing)),
        )
    (root / "candidates_V2.csv").write_text("\n".join(candidates) + "\n")
    (root / "annotations.csv").write_text("\n".join(annotations) + "\n")
    return root
