"""Scores of predicted label maps, one row a case: overlap, surface distances and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medexp.errors import UserError
from medexp.metrics.summary import Value, column, describe, mean
from medexp.metrics.surfaces import Surface, distances

MEASURES = ("dice", "iou", "hd95", "asd", "surface_dice", "volume_error", "volume_error_ml")
CHUNK = 1 << 22  # voxels counted at a time: bincount needs 8 bytes a voxel
ROUNDING = 1e-6  # mm: a distance of exactly the tolerance must not fail by a rounding error


class SegmentationScores:
    """Dice, IoU, HD95, ASD, surface Dice and volume errors of label maps on the source grid, for each class.

    dice, iou: overlap of voxels, 0 to 1.
    hd95: the greater of the two directed 95th percentiles of surface distance, mm.
    asd: symmetric average surface distance, the mean over the voxels of both surfaces, mm.
    surface_dice: share of both surfaces within `tolerance` mm of the other, surface voxels counted once each
        (Nikolov et al. 2021, doi:10.2196/26151, without sub-voxel areas).
    volume_error: (predicted - true) / true volume, signed. volume_error_ml: predicted - true, ml; 3D only.
    These agree with MONAI's compute_dice, compute_iou, compute_hausdorff_distance(percentile=95),
    compute_average_surface_distance(symmetric=True) and compute_surface_dice.

    Columns: `dice_<class>` and the mean over classes, `dice`; likewise for the others.

    Empty masks. Absent from both prediction and label: every measure of the class is left blank (None), is not in any
    mean, and is counted as n_absent. Present in one only: dice = iou = surface_dice = 0 and hd95 = asd = the diagonal of
    the image in mm, the worst that the image allows; volume_error is -1 where the class was missed, and blank where it
    was invented (there is no true volume to relate to). The summary counts both: n_missed, n_invented.

    classes: names by label value; the first is the background.
    tolerance: mm, of surface_dice.
    include_background: whether class 0 is scored.
    """

    def __init__(self, classes: Sequence[str], tolerance: float = 1.0, include_background: bool = False) -> None:
        self.classes, self.tolerance = list(classes), float(tolerance)
        self.scored = range(0 if include_background else 1, len(self.classes))
        if not self.scored:
            raise UserError(f"metrics.test.classes: {self.classes} holds no foreground class; name the background first")
        if not self.tolerance >= 0:
            raise UserError(f"metrics.test.tolerance: {tolerance} mm; it must be 0 or more")
        names = [column(measure, self.classes[label]) for measure in MEASURES for label in self.scored]
        twice = sorted({name for name in names if names.count(name) > 1 or name in MEASURES})
        if twice:
            raise UserError(f"dataset.classes: {self.classes} make the column {twice[0]} twice; rename a class")

    def case(self, prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> dict[str, Value]:
        """One row of the table. prediction, target: integer label maps (*spatial), 2D or 3D; spacing: mm an axis.

        Raises UserError for shapes that differ and for label values outside of `classes`.
        """
        prediction, target = np.asarray(prediction), np.asarray(target)
        self._verify(prediction, target, spacing)
        sides = np.asarray(spacing, dtype=float)
        box = slice(None) if 0 in self.scored else _foreground(prediction, target)
        joint = self._joint(prediction[box], target[box])
        surfaces = Surface(prediction[box], sides), Surface(target[box], sides)
        diagonal = float(np.linalg.norm(np.array(target.shape) * sides))
        scores: dict[str, list[Value]] = {}
        for label in self.scored:
            counts = joint[label, label], joint[:, label].sum(), joint[label].sum()
            one = self._overlap(*counts) | self._surface(*counts[1:], surfaces, label, diagonal)
            for measure, value in (one | _volumes(*counts[1:], sides)).items():
                scores.setdefault(measure, []).append(value)
        row = {measure: mean(values) for measure, values in scores.items()}
        for measure, values in scores.items():
            row |= {column(measure, self.classes[k]): v for k, v in zip(self.scored, values, strict=True)}
        return row

    def summarize(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """{measure: {mean, std, n, n_absent, per_class: {class: {..., n_missed, n_invented}}}}, plain values, no NaN.

        The mean of a measure is that of its column: over cases, of the mean over the classes that the case has.
        """
        names = [self.classes[label] for label in self.scored]
        result = {}
        for measure in MEASURES:
            if rows and measure not in rows[0]:
                continue  # ml of a 2D image
            per_class = {name: describe([row[column(measure, name)] for row in rows]) | _empty(rows, name) for name in names}
            result[measure] = describe([row[measure] for row in rows]) | {"per_class": per_class}
        return result

    def _verify(self, prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> None:
        if prediction.shape != target.shape:
            raise UserError(f"prediction {prediction.shape} and label {target.shape} differ in shape; score both on the source grid")
        if len(spacing) != target.ndim or min(spacing, default=0) <= 0:
            raise UserError(f"spacing {tuple(spacing)} for a label map of {target.ndim} axes; give a positive number of mm an axis")
        for noun, labels in (("prediction", prediction), ("label", target)):
            if labels.dtype.kind not in "iub":
                raise UserError(f"the {noun} holds {labels.dtype} values; scores need an integer label map")

    def _joint(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Voxels (target class, predicted class), from one histogram."""
        count = len(self.classes)
        joint = np.zeros(count * count, dtype=np.int64)
        for noun, labels in (("prediction", prediction), ("label", target)):
            if labels.size and not 0 <= labels.min() <= labels.max() < count:
                seen = labels.min() if labels.min() < 0 else labels.max()
                raise UserError(f"the {noun} holds {seen}, allowed: 0 .. {count - 1}; check dataset.classes")
        ours, theirs = prediction.reshape(-1), target.reshape(-1)
        for start in range(0, len(ours), CHUNK):
            code = np.multiply(theirs[start : start + CHUNK], count, dtype=np.int64)
            code += ours[start : start + CHUNK]
            joint += np.bincount(code, minlength=count * count)
        return joint.reshape(count, count)

    def _overlap(self, both: int, predicted: int, true: int) -> dict[str, Value]:
        if not predicted and not true:
            return {"dice": None, "iou": None}
        return {"dice": float(2 * both / (predicted + true)), "iou": float(both / (predicted + true - both))}

    def _surface(
        self, predicted: int, true: int, surfaces: tuple[Surface, Surface], label: int, diagonal: float
    ) -> dict[str, Value]:
        if not predicted and not true:
            return {"hd95": None, "asd": None, "surface_dice": None}
        if not predicted or not true:
            return {"hd95": diagonal, "asd": diagonal, "surface_dice": 0.0}
        directed = distances(*surfaces, label)
        both = np.concatenate(directed)
        return {
            "hd95": max(float(np.percentile(side, 95)) for side in directed),
            "asd": float(both.mean()),
            "surface_dice": float((both <= self.tolerance + ROUNDING).mean()),
        }


def _volumes(predicted: int, true: int, spacing: np.ndarray) -> dict[str, Value]:
    error = int(predicted) - int(true)
    result: dict[str, Value] = {"volume_error": float(error / true) if true else None}
    if len(spacing) == 3:
        result["volume_error_ml"] = error * float(spacing.prod()) / 1000 if predicted or true else None
    return result


def _foreground(prediction: np.ndarray, target: np.ndarray) -> tuple[slice, ...]:
    """The box that holds every non-zero voxel of both; empty where there is none."""
    inside = (prediction != 0) | (target != 0)
    box = []
    for axis in range(inside.ndim):
        hits = np.flatnonzero(inside.any(axis=tuple(other for other in range(inside.ndim) if other != axis)))
        box.append(slice(int(hits[0]), int(hits[-1]) + 1) if len(hits) else slice(0, 0))
    return tuple(box)


def _empty(rows: list[dict[str, Any]], name: str) -> dict[str, int]:
    """Cases that have the class only in the label (missed) or only in the prediction (invented)."""
    missed = sum(row[column("volume_error", name)] == -1 for row in rows)
    apart = sum(row[column("dice", name)] == 0 for row in rows)
    truly = sum(row[column("dice", name)] == 0 and row[column("volume_error", name)] is not None for row in rows)
    return {"n_missed": missed, "n_invented": apart - truly}
