"""What a drawn slice is of, the unit of what is drawn, and the scale of errors: the words beneath figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
from monai.transforms import NormalizeIntensity

from medexp.data.preparation.prepare import Preparation
from medexp.transforms.normalize import ClipZScore

Array = np.ndarray[Any, Any]
PLANES = {"L": "sagittal", "R": "sagittal", "A": "coronal", "P": "coronal", "I": "axial", "S": "axial"}
TOP = 99.5  # percentile of errors at which their colours end
SCALE = f"error: one scale for all figures of an evaluation, which ends at percentile {TOP} of the errors in them"


def unit(preparation: Preparation) -> str:
    """Of the values of prepared images, and so of differences between them."""
    how = preparation.normalize
    if isinstance(how, ClipZScore) or (isinstance(how, NormalizeIntensity) and how.divisor is None):
        return "standard deviations"
    if how is not None:
        return "normalised intensity"
    return "intensity" if preparation.windows is None else "share of the window"


def plane_name(affine: Array) -> str:
    """Of slices along the last axis, "axial slice", by the plane that they lie nearest to; "slice" where the file has no place
    in space."""
    if np.array_equal(affine, np.eye(4)):
        return "slice"
    return f"{PLANES[nib.orientations.aff2axcodes(affine)[2]]} slice"


def slice_name(shape: Sequence[int], affine: Array, index: int) -> str:
    """Of a slice along the last axis of a volume, "axial slice 3 of 20", counted from 1; "" of a picture."""
    return "" if len(shape) < 3 else f"{plane_name(affine)} {index + 1} of {shape[-1]}"


def error_end(errors: Sequence[Array]) -> float:
    """Where the colours of errors end: one value for all figures of an evaluation, so that they can be compared."""
    return float(np.percentile(np.concatenate([each.ravel() for each in errors]), TOP)) or 1.0
