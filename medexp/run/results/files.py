"""Results that are a file a case: where they go, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from medexp.data.images import NIFTI, PLACED, suffix
from medexp.data.records import Record
from medexp.errors import UserError
from medexp.run.results.base import Results

Array = np.ndarray[Any, Any]


class Files(Results):
    """An image a case: NIfTI for NIfTI and what else has a place in space, PNG otherwise."""

    def outputs(self, records: Sequence[Record], output: Path) -> dict[str, Path]:
        single = bool(suffix(output)) or output.suffix == ".csv"
        if single and len(records) > 1:
            raise UserError(f"--output: {output} is one file for {len(records)} cases; give a folder")
        paths = {}
        for record in records:
            end = ending(record)
            ends = NIFTI if end in NIFTI else (end,)
            if single and not output.name.lower().endswith(ends):
                what = f"{record.files[0].name} gives a {' or '.join(ends)}"
                raise UserError(f"--output: {output.name}, but {what}; give that or a folder")
            path = output if single else output / f"{record.case_id}{end}"
            if any(path.exists() and path.samefile(image) for image in record.files):
                raise UserError(f"--output: {path} is the image itself; give another folder or file")
            paths[record.case_id] = path
        return paths


def ending(record: Record) -> str:
    """Suffix of the label map of a case: NIfTI for a volume that has a place in space, PNG for a picture."""
    path = record.files[0]
    if suffix(path) in NIFTI:
        return suffix(path)
    return ".nii.gz" if suffix(path) in PLACED or path.is_dir() else ".png"  # a DICOM series is its folder


def save_image(values: Array, like: Path, path: Path, affine: Array) -> None:
    """Voxels (a class map, an image) with the geometry `affine`, and the header of the image they were made from where
    that is NIfTI of the same place; whole or not at all."""
    part = path.with_name(f".part-{path.name}")
    source: Any = nib.load(like) if suffix(like) in NIFTI else None
    if suffix(path) in NIFTI and (source is None or not np.allclose(source.affine, affine)):
        image = nib.Nifti1Image(values, affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, part)
    elif suffix(path) in NIFTI:
        image = nib.Nifti1Image(values.reshape(_shape(source.shape, values)), source.affine)
        for code, place in (
            (source.header["qform_code"], image.set_qform),
            (source.header["sform_code"], image.set_sform),
        ):
            place(source.affine, int(code) or 1)
        image.header.set_xyzt_units(*source.header.get_xyzt_units())
        nib.save(image, part)
    else:
        Image.fromarray(values).save(part, format="PNG")
    part.replace(path)


def _shape(source: Any, values: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """The source's own shape where it differs by axes of 1 only."""
    return tuple(source) if math.prod(source) == values.size else values.shape
