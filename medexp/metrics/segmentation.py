"""Scores of a predicted label map: overlap, distances between surfaces, and volume, a class and a case at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medexp.errors import UserError
from medexp.metrics.surface import surface_distances
from medexp.metrics.table import BLANK, Cell, Row, column_names, describe, mean, number
from medexp.targets import IGNORED

CHUNK = 2**16  # voxels counted at a time: they stay in the processor's cache
_ABSENT = "absent from the target and the prediction of every case"
_SPARSE = "most voxels of every case are not annotated"
OVERLAP = ("dice", "iou")
SPARSE = 0.5  # share of voxels without annotation beyond which surfaces and volumes are those of the annotation
_NO_REFERENCE = "absent from the target of every case"


class SegmentationScores:
    """Scores label maps on the source grid, in mm; `classes` names every label, the background (label 0) first.

    Columns, each as the mean over the classes of the case (`dice`) and a class (`dice_<class>`, white space as `_`):

    - `dice`, `iou`: overlap, 0 to 1;
    - `hd95`: 95th percentile Hausdorff distance, mm: the larger of the two directed percentiles;
    - `asd`: average symmetric surface distance, mm;
    - `surface_dice`: share of both surfaces within `tolerance` mm of the other (https://arxiv.org/abs/1809.04430);
    - `volume_error`: |V_prediction - V_target| / V_target; `volume_error_ml`: |V_prediction - V_target| in ml.
      For images of two dimensions they are `area_error` and `area_error_mm2`.

    Empty masks, by one rule, and never NaN:

    - a class in neither the target nor the prediction is absent: its cells are blank, it enters no mean, and the
      summary counts it (`n_absent`). A score of 1 would reward a test set for the classes that it lacks
      (nnU-Net and MetricsReloaded leave such cases out as well);
    - a class in only one of them is wholly wrong: dice = iou = surface_dice = 0, and hd95 = asd = the diagonal of the
      image in mm, the finite worst case (the convention of BraTS, whose 373.13 mm is the diagonal of its images);
    - `volume_error` has no denominator where the target lacks the class: that cell is blank, `volume_error_ml` is not;
    - a case whose classes are all absent has blank means.
    """

    def __init__(self, classes: Sequence[str], tolerance: float = 1.0, include_background: bool = False) -> None:
        if len(classes) < 2:
            raise UserError(
                f"metrics.test.classes: {list(classes)}: name every label, the background first (two or more)"
            )
        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise UserError(f"metrics.test.tolerance: {tolerance}: a distance in mm, 0 or more")
        self.names, self.classes = [str(name) for name in classes], column_names(classes)
        self.tolerance = float(tolerance)
        self.labels = list(range(0 if include_background else 1, len(classes)))
        self._check_columns()

    def case(self, prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> Row:
        """One row from two integer label maps (*spatial) of one shape; `spacing` in mm, one number an axis. Where the target is
        IGNORED both are background; where that is most of the image (scribbles, points) there are surfaces and volumes of
        strokes alone, and all but the overlap is blank.

        Raises `UserError` for shapes that differ, values that are not labels, or a label without a class.
        """
        self._check(prediction, target, spacing)
        sparse = False
        if len(self.classes) <= IGNORED and (ignored := target == IGNORED).any():
            sparse = bool(ignored.mean() > SPARSE)
            prediction, target = np.where(ignored, 0, prediction), np.where(ignored, 0, target)
        kind = np.min_scalar_type(len(self.classes) - 1)
        prediction, target = prediction.astype(kind, copy=False), target.astype(kind, copy=False)
        diagonal = float(np.linalg.norm(np.multiply(target.shape, spacing)))  # mm
        if 0 not in self.labels:
            box = _foreground(prediction, target)
            prediction, target = prediction[box], target[box]
        counts = self._counts(prediction, target)
        distances = surface_distances(prediction, target, spacing, self.labels)
        scores: dict[str, dict[str, Cell]] = {name: {} for name in metric_names(target.ndim)}
        for label in self.labels:
            overlap, predicted, real = int(counts[label, label]), int(counts[:, label].sum()), int(counts[label].sum())
            values = self._overlap(overlap, predicted, real) | self._volume(predicted, real, spacing)
            if label in distances:
                near = distances[label]
                values |= {
                    "hd95": near.percentile(95),
                    "asd": near.average(),
                    "surface_dice": near.within(self.tolerance),
                }
            elif predicted or real:
                values |= {"hd95": diagonal, "asd": diagonal, "surface_dice": 0.0}
            for name in scores:
                scores[name][self.classes[label]] = BLANK if sparse and name not in OVERLAP else values.get(name, BLANK)
        return self._row(scores)

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """The summary of rows from `case`, or of the same rows read back from a CSV file.

        `{metric: {mean, std, n, n_absent, per_class: {class: the same}}}`: over the cases with a value; `mean` of a
        metric is the mean over cases of its column, so of each case's mean over classes.
        """
        flat = any("area_error" in row for row in rows)
        summary = {}
        for name in metric_names(2 if flat else 3):
            absent = _NO_REFERENCE if name in ("volume_error", "area_error") else _ABSENT
            known = {key: any(number(row.get(key)) is not None for row in rows) for key in ("dice", "hd95")}
            if name not in OVERLAP and known["dice"] and not known["hd95"]:
                absent = _SPARSE
            summary[name] = describe((row.get(name) for row in rows), absent)
            summary[name]["per_class"] = {
                self.names[label]: describe((row.get(f"{name}_{self.classes[label]}") for row in rows), absent)
                for label in self.labels
            }
        return summary

    def _check_columns(self) -> None:
        for spatial_dims in (2, 3):
            names = metric_names(spatial_dims)
            columns = names + [f"{name}_{self.classes[label]}" for name in names for label in self.labels]
            twice = sorted({column for column in columns if columns.count(column) > 1})
            if twice:
                raise UserError(f"dataset.classes: a class name makes the column {twice[0]} twice; rename the class")

    def _check(self, prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> None:
        if prediction.shape != target.shape or len(spacing) != target.ndim:
            raise UserError(
                f"prediction {prediction.shape}, target {target.shape} and spacing {tuple(spacing)} are not on one grid"
            )
        for what, labels in (("prediction", prediction), ("target", target)):
            if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
                raise UserError(f"{what} holds {labels.dtype}: a label map holds integers; round it where it was read")
            if labels.size == 0:
                raise UserError(f"{what} has no voxels: shape {labels.shape}")
            if what == "target" and len(self.classes) <= IGNORED:
                labels = labels[labels != IGNORED]
                if not labels.size:
                    continue
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= len(self.classes):
                raise UserError(
                    f"{what} holds labels {low} to {high}, dataset.classes names 0 to {len(self.classes) - 1} "
                    f"({', '.join(self.classes)}); name the label in dataset.classes or map it when the label is read"
                )

    def _counts(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Joint histogram (target label, predicted label) of voxels, which all overlaps and volumes are read from."""
        num_classes = len(self.classes)
        counts = np.zeros(num_classes**2, dtype=np.intp)
        kind = np.min_scalar_type(num_classes**2 - 1)
        truth, said = target.ravel(), prediction.ravel()
        for start in range(0, truth.size, CHUNK):
            joint = truth[start : start + CHUNK].astype(kind)
            joint *= kind.type(num_classes)
            joint += said[start : start + CHUNK]
            found = joint[joint != 0]  # most voxels are background in both, and counted quicker by their absence
            counts[0] += joint.size - found.size
            counts += np.bincount(found, minlength=num_classes**2)
        return counts.reshape(num_classes, num_classes)

    @staticmethod
    def _overlap(overlap: int, predicted: int, real: int) -> dict[str, float]:
        if predicted + real == 0:
            return {}
        return {"dice": 2 * overlap / (predicted + real), "iou": overlap / (predicted + real - overlap)}

    @staticmethod
    def _volume(predicted: int, real: int, spacing: tuple[float, ...]) -> dict[str, float]:
        if predicted + real == 0:
            return {}
        relative, absolute = metric_names(len(spacing))[-2:]
        per_unit = 1.0 if len(spacing) == 2 else 1000.0  # mm2 in mm2, mm3 in ml
        values = {absolute: abs(predicted - real) * math.prod(float(step) for step in spacing) / per_unit}
        return values | ({relative: abs(predicted - real) / real} if real else {})

    @staticmethod
    def _row(scores: dict[str, dict[str, Cell]]) -> Row:
        row: Row = {}
        for name, cells in scores.items():
            over_classes = mean(float(cell) for cell in cells.values() if cell is not BLANK)
            row[name] = over_classes
        for name, cells in scores.items():
            row |= {f"{name}_{column}": cell for column, cell in cells.items()}
        return row


def metric_names(spatial_dims: int) -> list[str]:
    """The metrics in the order of their columns; the last two are the relative and the absolute error of size."""
    size = ["area_error", "area_error_mm2"] if spatial_dims == 2 else ["volume_error", "volume_error_ml"]
    return ["dice", "iou", "hd95", "asd", "surface_dice", *size]


def _foreground(prediction: np.ndarray, target: np.ndarray) -> tuple[slice, ...]:
    """The box around all foreground of both, with a margin of one voxel so that edges inside it stay what they were."""
    union = (prediction != 0) | (target != 0)
    box = []
    for axis, length in enumerate(union.shape):
        others = tuple(other for other in range(union.ndim) if other != axis)
        where = np.flatnonzero(union.any(axis=others))
        box.append(slice(max(where[0] - 1, 0), min(where[-1] + 2, length)) if where.size else slice(0, 1))
    return tuple(box)
