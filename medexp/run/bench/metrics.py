"""`medexp bench metrics`: scores of label maps and of validation batches, against MONAI's calls and counts class by class."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from medexp.metrics.dice import CaseDice
from medexp.metrics.segmentation import SegmentationScores
from medexp.run.bench.rounds import Timing, interleaved
from medexp.run.bench.tables import Row

SPACING, TOLERANCE = (0.8, 0.8, 1.5), 1.0  # mm
SPECKLES = 0.002  # share of voxels of a noisy prediction that have a class at random
Array = np.ndarray[Any, Any]


def run(rounds: int, size: int = 256, classes: int = 6) -> dict[str, Any]:
    """Surfaces of a displaced and of a speckled prediction of size^3 voxels, counts of the latter, and Dice of a batch.

    Each part: {"seconds": {name: Timing as JSON}, "ratios": {name: its time over medexp's}}; surfaces have
    {"difference": {metric: the largest to MONAI's, relative}} as well.
    """
    target = label_map(size, classes)
    moved = np.roll(target, (2, -1, 1), axis=(0, 1, 2))
    noisy = speckled(moved, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI calls its own deprecated argument
        return {
            "size": size,
            "classes": classes,
            "surfaces": {
                "displaced": surfaces(moved, target, classes, rounds),
                "speckled": surfaces(noisy, target, classes, rounds),
            },
            "counts": counts(noisy, target, classes, rounds),
            "batch": batch(target[: size // 2], classes, rounds),
        }


def label_map(size: int, classes: int) -> Array:
    """Ellipsoids in (size, size, size), one a class, some in each other's way."""
    rng, target = np.random.default_rng(0), np.zeros((size,) * 3, np.uint8)
    along = np.arange(size, dtype=np.float32)
    for label in range(1, classes):
        centre, reach = rng.uniform(0.3, 0.7, 3) * size, rng.uniform(0.08, 0.2, 3) * size
        x, y, z = (((along - at) / far) ** 2 for at, far in zip(centre, reach, strict=True))
        target[np.less(x[:, None, None] + y[:, None] + z, 1)] = label
    return target


def speckled(labels: Array, classes: int) -> Array:
    """With single voxels of any class everywhere, as a badly trained network leaves them."""
    rng, noisy = np.random.default_rng(1), labels.copy()
    where = np.less(rng.random(labels.shape, dtype=np.float32), SPECKLES)
    noisy[where] = rng.integers(0, classes, int(where.sum()))
    return noisy


def surfaces(prediction: Array, target: Array, classes: int, rounds: int) -> dict[str, Any]:
    """HD95, average surface distance and surface Dice, with Dice, IoU and volumes beside them in medexp's time."""
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    scorer = SegmentationScores(["background", *(f"c{label}" for label in range(1, classes))], TOLERANCE)
    one, two = _one_hot(prediction, classes), _one_hot(target, classes)
    space: dict[str, Any] = {"spacing": list(SPACING)}
    found: dict[str, Any] = {}

    def medexp() -> None:
        found["medexp"] = scorer.case(prediction, target, SPACING)

    def monai() -> None:
        found["hd95"] = compute_hausdorff_distance(one, two, percentile=95, **space)[0]
        found["asd"] = compute_average_surface_distance(one, two, symmetric=True, **space)[0]
        found["surface_dice"] = compute_surface_dice(one, two, [TOLERANCE] * (classes - 1), **space)[0]

    timings = interleaved({"medexp": medexp, "MONAI": monai}, rounds)
    found["hd95"] = _hd95(one[0], two[0])  # MONAI's own ranks its distances in float32: off by 1e-4 among 10^5
    names = ("hd95", "asd", "surface_dice")
    pairs = {
        name: [
            (found["medexp"][f"{name}_c{label}"], float(value)) for label, value in enumerate(found[name].tolist(), 1)
        ]
        for name in names
    }
    difference = {
        name: max(abs(ours - theirs) / max(theirs, 1.0) for ours, theirs in values if math.isfinite(theirs))
        for name, values in pairs.items()
    }
    return _beside(timings) | {"difference": difference}


def counts(prediction: Array, target: Array, classes: int, rounds: int) -> dict[str, Any]:
    """What Dice, IoU and volumes are read from."""
    from monai.metrics import compute_dice, compute_iou

    scorer = SegmentationScores(["background", *(f"c{label}" for label in range(1, classes))])
    one, two = _one_hot(prediction, classes), _one_hot(target, classes)

    def by_class() -> Any:
        found = []
        for label in range(1, classes):
            said, real = prediction == label, target == label
            overlap, union = np.logical_and(said, real).sum(), np.logical_or(said, real).sum()
            found.append((int(overlap), int(union), int(said.sum()), int(real.sum())))
        return found

    timings = interleaved(
        {
            "medexp": lambda: scorer._counts(prediction, target),
            "NumPy, class by class": by_class,
            "MONAI, Dice and IoU": lambda: (compute_dice(one, two), compute_iou(one, two)),
        },
        rounds,
    )
    return _beside(timings)


def batch(label: Array, classes: int, rounds: int) -> dict[str, Any]:
    """Dice of validation scores (1, K, *spatial)."""
    from monai.metrics import compute_dice
    from monai.networks.utils import one_hot

    truth = torch.from_numpy(label)[None, None]
    scores = one_hot(truth, classes) + torch.randn(
        (1, classes, *label.shape), generator=torch.Generator().manual_seed(0)
    )
    metric = CaseDice(classes)

    def monai() -> None:
        compute_dice(one_hot(scores.argmax(1, keepdim=True), classes), one_hot(truth, classes))

    return _beside(interleaved({"medexp": lambda: metric.update(scores, truth), "MONAI": monai}, rounds))


def rows(result: Mapping[str, Any]) -> list[Row]:
    """Table of all parts."""
    grid = f"{result['size']}^3, {result['classes']} classes"
    named = [(f"HD95, ASD, surface Dice, {grid}, {kind}", part) for kind, part in result["surfaces"].items()]
    named += [(f"counts for Dice and IoU, {grid}", result["counts"]), ("Dice of a validation batch", result["batch"])]
    found: list[Row] = []
    for text, part in named:
        seconds = {name: values["median_s"] for name, values in part["seconds"].items()}
        for name, ratio in part["ratios"].items():
            found.append((text, f"{seconds['medexp']:.3f} s", f"{seconds[name]:.3f} s ({name})", f"{ratio:.1f}x"))
    return found


def _one_hot(labels: Array, classes: int) -> torch.Tensor:
    """Boolean (1, K, *spatial)."""
    return torch.stack([torch.from_numpy(labels == label) for label in range(classes)])[None]


def _hd95(prediction: torch.Tensor, target: torch.Tensor) -> Array:
    """From MONAI's distances of each class, ranked in float64. Of masks (K, *spatial)."""
    from monai.metrics.utils import get_edge_surface_distance

    found = []
    for said, real in zip(prediction[1:].float(), target[1:].float(), strict=True):
        _, distances, _ = get_edge_surface_distance(said, real, spacing=list(SPACING), symmetric=True)
        found.append(max(np.percentile(far.double().numpy(), 95) for far in distances))
    return np.asarray(found)


def _beside(timings: Mapping[str, Timing]) -> dict[str, Any]:
    ratios = {name: timing.median / timings["medexp"].median for name, timing in timings.items() if name != "medexp"}
    return {"seconds": {name: timing.as_json() for name, timing in timings.items()}, "ratios": ratios}
