"""How well maps of errors find what training has not seen, beside maps that need no training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from medexp.errors import UserError, nearest
from medexp.metrics.image_quality import psnr, structure
from medexp.metrics.table import Row, describe, number

Array = np.ndarray[Any, Any]


def error(image: Array, reconstruction: Array) -> Array:
    """(C, *spatial) twice to (*spatial): absolute difference, the mean over channels."""
    return np.asarray(np.abs(image - reconstruction).mean(axis=0))


def blur(image: Array) -> Array:
    """Difference to the image smoothed by 2 voxels: what no learning is needed to miss."""
    return error(image, np.stack([gaussian_filter(channel, 2.0) for channel in image]))


def intensity(image: Array) -> Array:
    """The brightness itself, which often beats reconstruction where findings are bright (Meissen et al. 2021,
    arXiv:2109.06540)."""
    return np.asarray(image.mean(axis=0))


BASELINES: dict[str, Callable[[Array], Array]] = {"blur": blur, "intensity": intensity}


class AnomalyScores:
    """Scores maps of reconstruction errors on the prepared grid.

    share: of the voxels of an image, the worst, whose mean is the score of the image. baselines: maps that go beside.
    """

    def __init__(self, share: float = 0.01, baselines: Sequence[str] = ("blur", "intensity")) -> None:
        if not 0 < share <= 1:
            raise UserError(f"metrics.test.share: {share} is not above 0 and at most 1; 0.01 takes the worst hundredth")
        for name in baselines:
            if name not in BASELINES:
                hint = nearest(name, list(BASELINES)) or ";"
                raise UserError(f"metrics.test.baselines: '{name}'{hint} allowed: {', '.join(BASELINES)}")
        self.share, self.baselines = share, list(baselines)

    def case(
        self, image: Array, reconstruction: Array, label: Array | None = None, anomalous: bool | None = None
    ) -> Row:
        """One row. image, reconstruction: (C, *spatial); label: (*spatial), above 0 where there is a finding. None: it is known of
        the image alone, whether it is `anomalous`.

        `anomalous`: whether there is one; `prevalence`: its share of the voxels, the average precision of guessing;
        `score`, and `average_precision` of the map where a finding is known by its place; each also for the baselines.
        """
        truth = None if label is None else torch.from_numpy(np.ascontiguousarray(label > 0)).flatten().int()
        maps = {"": error(image, reconstruction), **{name: BASELINES[name](image) for name in self.baselines}}
        row: Row = {"anomalous": int(bool(anomalous) if truth is None else bool(truth.any()))}
        row["prevalence"] = None if truth is None else float(truth.float().mean())
        for name, values in maps.items():
            end = f"_{name}" if name else ""
            row[f"score{end}"] = worst(values, self.share)
            row[f"average_precision{end}"] = None if truth is None or not truth.any() else precision(values, truth)
        one, other = (torch.from_numpy(np.ascontiguousarray(each)) for each in (reconstruction, image))
        return row | {"psnr": psnr(one, other), "ssim": structure(one, other)}

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """{metric: {mean, ..., per_class: {"network" and each baseline: ...}}}: AUROC of the scores of images, average
        precision of the maps of anomalous ones, absent where no label map says where; PSNR and SSIM of images with and without
        findings."""
        ends = {"network": "", **{name: f"_{name}" for name in self.baselines}}
        truth = torch.tensor([int(row["anomalous"] or 0) for row in rows])
        areas = {name: self._area(rows, f"score{end}", truth) for name, end in ends.items()}
        found = {"auroc": {**areas["network"], "per_class": areas}}
        cells = {name: [row.get(f"average_precision{end}") for row in rows] for name, end in ends.items()}
        placed = any(row["prevalence"] is not None for row in rows)
        absent = "no findings" if placed else "no label maps: which voxels are of a finding is not known"
        known = {
            name: describe([cell for cell in column if cell is not None or not placed], absent)
            for name, column in cells.items()
        }
        chance = describe([row["prevalence"] for row in rows if row["anomalous"]], absent)
        found["average_precision"] = {**known["network"], "per_class": {**known, "chance": chance}}
        for metric in ("psnr", "ssim"):
            parts = {
                name: describe([row[metric] for row in rows if bool(row["anomalous"]) == anomalous], "no such images")
                for name, anomalous in (("healthy", False), ("anomalous", True))
            }
            found[metric] = {**describe([row[metric] for row in rows], "no images"), "per_class": parts}
        return found

    def _area(self, rows: list[Row], column: str, truth: torch.Tensor) -> dict[str, Any]:
        scores = torch.tensor([number(row[column]) or 0.0 for row in rows], dtype=torch.float64)
        if not 0 < int(truth.sum()) < len(truth):
            return describe([None], "all images are alike: with a finding, or without")
        return {**describe([float(binary_auroc(_ranked(scores), truth))], ""), "n": len(rows)}


def worst(values: Array, share: float) -> float:
    """Mean of the largest values, so large a share of all, one at least."""
    count = max(math.ceil(values.size * share), 1)
    return float(np.partition(values.ravel(), -count)[-count:].mean())


def precision(values: Array, truth: torch.Tensor) -> float:
    """Average precision of a map (*spatial) for its flat truth."""
    flat = torch.from_numpy(np.ascontiguousarray(values)).flatten().double()
    return float(binary_average_precision(_ranked(flat), truth))


def _ranked(values: torch.Tensor) -> torch.Tensor:
    """Order alone, in 0..1: torchmetrics takes other values for logits, and rounds them together."""
    _, places = values.unique(return_inverse=True)
    return places.double() / max(int(places.max()), 1)
