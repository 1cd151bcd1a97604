"""How near generated images come to real ones, and whether they are copies of training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from medexp.errors import UserError
from medexp.metrics.table import describe

NEIGHBOURS, COPY = 50, 0.5  # of the rule for copies (Carlini et al. 2023)
SINGLE = "a single training image"  # why a score is not there
MOST = 1_000_000  # samples that are drawn at once
AT_ONCE = 256  # training images whose distances are taken together


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Squared Frechet distance between normal distributions fitted to features (N, D) and (M, D) (Dowson and Landau 1982;
    with features of Inception, the FID of Heusel et al. 2017, arXiv:1706.08500).

    MONAI's asks SciPy for a square root of an unsymmetric product, by an argument that SciPy is about to drop; its trace is
    that of the root of a symmetric one.
    """
    first, second = one.double(), other.double()
    covariances = [torch.atleast_2d(torch.cov(features.T)) for features in (first, second)]
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    apart = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    return float(apart + covariances[0].trace() + covariances[1].trace() - 2 * product)


def kernel_distance(one: Tensor, other: Tensor) -> float:
    """Squared maximum mean discrepancy of features (N, D) and (N, D) with the kernel (x y / D + 1)^3, without bias: the
    KID (Binkowski et al. 2018, arXiv:1801.01401), torchmetrics'. (MONAI's MMD is that of x y, which sees means alone.)
    """
    return float(poly_mmd(one.double(), other.double()))


@dataclass(frozen=True)
class Neighbours:
    """Of N images, among training images. nearest: index (N,) and distance (N,) of the nearest, root mean squared over
    voxels. ratio: its distance as a share of the mean distance of the NEIGHBOURS nearest; NaN of a single training image."""

    nearest: Tensor
    distance: Tensor
    ratio: Tensor

    @property
    def copy(self) -> Tensor:
        """(N,) 1: suspected copies, less than half as far from one training image as from its neighbours together
        (Carlini et al. 2023, arXiv:2301.13188, for pixels); else 0, and NaN where there is no ratio. A mirrored or turned
        copy is not found."""
        return torch.where(self.ratio.isnan(), self.ratio, (self.ratio < COPY).to(self.ratio))


def neighbours(images: Tensor, training: Tensor) -> Neighbours:
    """images (N, C, *spatial) among training (M, C, *spatial)."""
    flat = images.flatten(1).float()
    parts = [torch.cdist(flat, part.flatten(1).float()) for part in training.split(AT_ONCE)]
    distances = torch.cat(parts, dim=1) / flat.shape[1] ** 0.5
    nearest, places = distances.topk(min(NEIGHBOURS, len(training)), dim=1, largest=False)
    mean = nearest.mean(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    ratio = nearest[:, 0] / mean if len(training) > 1 else torch.full_like(mean, torch.nan)
    return Neighbours(places[:, 0], nearest[:, 0], ratio)


class GenerationScores:
    """Compares as many samples with training images, beside held-out images of the test split with the same.

    count: samples to draw for an evaluation. features: run folder of a classifier, whose last layer but one is looked at;
    None: a convolutional network of random weights, always the same ones, which sees texture and says less of anatomy.
    seed: of the samples.
    """

    def __init__(self, count: int = 64, features: str | None = None, seed: int = 0) -> None:
        if count < 2:
            raise UserError(f"metrics.test.count: {count}: 2 samples or more are needed to compare distributions")
        if count > MOST:
            raise UserError(f"metrics.test.count: {count}: more than {MOST} samples; for FID 10000 to 50000 are usual")
        self.count, self.features, self.seed = count, features, seed

    def summarize(self, found: dict[str, Neighbours], features: dict[str, Tensor]) -> dict[str, Any]:
        """{metric: {mean, ..., per_class: {samples, held_out}}}. found: of "samples" and of "held_out", if any; features:
        of these and "training". `fid` and `mmd` are to training images, as many on either side for samples and held-out
        images: both depend on the number. What needs two training images is absent where there is one."""
        summary = dict(self._distributions(features))
        for name in ("distance", "ratio", "copy"):
            cells = {part: getattr(one, name).double().tolist() for part, one in found.items()}
            parts = {part: describe(values, SINGLE) for part, values in cells.items()}
            summary[name] = {**parts["samples"], "per_class": parts}
        return summary

    def _distributions(self, features: dict[str, Tensor]) -> dict[str, Any]:
        parts = [part for part in ("samples", "held_out") if len(features.get(part, ())) > 1]
        if len(features["training"]) < 2:
            absent = {part: describe([None], SINGLE) for part in parts}
            return {name: {**absent["samples"], "per_class": absent} for name in ("fid", "mmd")}
        count = min(len(features[part]) for part in [*parts, "training"])
        training = spread(features["training"], count)
        made: dict[str, Any] = {}
        for name, distance in (("fid", frechet_distance), ("mmd", kernel_distance)):
            values = {part: {"mean": distance(spread(features[part], count), training), "n": count} for part in parts}
            made[name] = {**values["samples"], "per_class": values}
        return made


def spread(values: Tensor, count: int) -> Tensor:
    """`count` of (N, ...), evenly over their order."""
    return values[torch.linspace(0, len(values) - 1, count).long()]
