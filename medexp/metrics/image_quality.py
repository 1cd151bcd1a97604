"""How near an image is to its reference: PSNR, SSIM, MS-SSIM, absolute error; beside what needs no training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure as ms_ssim,
)
from torchmetrics.functional.image import (
    structural_similarity_index_measure as ssim,
)

from medexp.errors import UserError, nearest
from medexp.metrics.baselines import NAMES
from medexp.metrics.table import Row, describe, number

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM (Wang 2003)
WINDOW = 11  # voxels of SSIM (Wang 2004, doi:10.1109/TIP.2003.819861), all of one weight
LOSSLESS = 100.0  # dB, given where an image equals its reference, whose PSNR is infinite
SHOWN = {"psnr": "PSNR", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "mae": "absolute error"}


def psnr(image: Tensor, reference: Tensor) -> float:
    """dB, of one image (C, *spatial): the peak is the range of the reference; at most LOSSLESS."""
    error = float(torch.mean((image.double() - reference.double()) ** 2))
    width = _width(reference)
    return LOSSLESS if error == 0 else min(10 * math.log10(width**2 / error), LOSSLESS)


def structure(image: Tensor, reference: Tensor) -> float | None:
    """SSIM of one image (C, *spatial), 2D or 3D; of a stack of few slices the mean over these. None where an axis is shorter
    than its window."""
    images, references = _stack(image), _stack(reference)  # (N, C, *spatial)
    sides = references.shape[2:]
    if min(sides) <= WINDOW // 2:
        return None
    size = min(WINDOW, *(side if side % 2 else side - 1 for side in sides))
    options: dict[str, Any] = {"kernel_size": size, "gaussian_kernel": False}
    return float(ssim(images, references, data_range=_width(reference), **options))  # type: ignore[arg-type]


def scales(image: Tensor, reference: Tensor) -> float | None:
    """MS-SSIM of one image (C, *spatial), with as many of the five scales as the image has room for; of a stack of few slices
    the mean over these. None below two."""
    images, references = _stack(image), _stack(reference)
    shortest, size = min(references.shape[2:]), 7
    room = (n for n in range(len(SCALES), 1, -1) if shortest // (n - 1) ** 2 >= size)  # as torchmetrics asks
    count = next((n for n in room if shortest // 2 ** (n - 1) > size // 2), 0)  # the last scale is mirrored at its ends
    if count < 2:
        return None
    betas = tuple(weight / sum(SCALES[:count]) for weight in SCALES[:count])
    options: dict[str, Any] = {"kernel_size": size, "gaussian_kernel": False, "betas": betas, "normalize": "relu"}
    return float(ms_ssim(images, references, data_range=_width(reference), **options))


def _stack(image: Tensor) -> Tensor:
    """(1, C, *spatial), or the slices (N, C, *spatial) of a volume with too few of them for a window in 3D."""
    sides = image.shape[1:]
    if len(sides) < 3 or min(sides) > WINDOW // 2:
        return image[None].float()
    return image.movedim(1 + sides.index(min(sides)), 0).float()


def _width(reference: Tensor) -> float:
    return float(reference.max() - reference.min()) or 1.0


class CasePSNR(Metric):
    """Mean over images of `psnr`. `update`: images and references (B, C, *spatial)."""

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, images: Tensor, references: Tensor) -> None:
        self.total += sum(psnr(image, reference) for image, reference in zip(images, references, strict=True))
        self.count += len(images)

    def compute(self) -> Tensor:
        """Scalar, dB."""
        return (self.total / self.count.clamp(min=1)).float()


class ImageScores:
    """Scores the images of a network beside the degraded ones and classical filters of them.

    baselines: names of `medexp.metrics.baselines`; "input" is what the network saw. Columns: <metric> of the network and
    <metric>_<baseline>; `mae` is in units of the prepared image (standard deviations where that is standardised). Raises
    UserError for a name that is none.
    """

    def __init__(self, baselines: Sequence[str] = ("input",)) -> None:
        for name in baselines:
            if name not in NAMES:
                hint = nearest(name, list(NAMES)) or ";"
                raise UserError(f"metrics.test.baselines: '{name}'{hint} allowed: {', '.join(NAMES)}")
        self.baselines = list(baselines)

    def case(self, prediction: np.ndarray, target: np.ndarray, others: dict[str, np.ndarray]) -> Row:
        """One row. prediction, target: (C, *spatial). others: what each baseline made of the input."""
        reference = torch.from_numpy(np.ascontiguousarray(target))
        row: Row = {}
        for name, image in {"": prediction, **others}.items():
            end = f"_{name}" if name else ""
            for metric, value in measured(torch.from_numpy(np.ascontiguousarray(image)), reference).items():
                row[metric + end] = value
        return row

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """{metric: {mean, std, n, per_class: {"network" and each baseline: ...}}}, and `better`: share of the cases that
        the network improves on each baseline."""
        summary: dict[str, Any] = {}
        for metric in SHOWN:
            columns = {
                name: [row.get(f"{metric}_{name}" if name else metric) for row in rows] for name in self._names()
            }
            found = {name or "network": describe(cells, self._reason(rows, name)) for name, cells in columns.items()}
            summary[metric] = {**found["network"], "per_class": found}
        return summary | {"better": self._better(rows)}

    def _better(self, rows: list[Row]) -> dict[str, Any]:
        shares = {}
        for name in self.baselines:
            pairs = [(number(row.get("psnr")), number(row.get(f"psnr_{name}"))) for row in rows]
            known = [float(one > two) for one, two in pairs if one is not None and two is not None]
            shares[name] = describe(known, "no cases")
        worst = min(
            shares.values(), key=lambda entry: entry["mean"] if entry["mean"] is not None else 0.0, default=None
        )
        return {**(worst or describe([], "no baselines")), "per_class": shares}

    def _reason(self, rows: list[Row], name: str) -> str:
        """Why a score is not there: PSNR is, unless a baseline gives other channels than the reference has."""
        known = [row.get(f"psnr_{name}" if name else "psnr") is not None for row in rows]
        return "images too small" if any(known) else "other channels than the reference"

    def _names(self) -> list[str]:
        return ["", *self.baselines]


def measured(image: Tensor, reference: Tensor) -> dict[str, float | None]:
    """All metrics of one image."""
    return {
        "psnr": psnr(image, reference),
        "ssim": structure(image, reference),
        "ms_ssim": scales(image, reference),
        "mae": float((image.double() - reference.double()).abs().mean()),
    }
