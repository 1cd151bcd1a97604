"""From the fingerprint of a data set to the settings of a training: pure rules, each with its reason in words.

The rules are those of nnU-Net (Isensee et al., Nature Methods 18:203, 2021, doi:10.1038/s41592-020-01008-z, supplement 2).
Where this differs: images are cropped to their nonzero box only where that saves a quarter (nnU-Net always does);
CT is recognised by its values (nnU-Net is told); the memory is counted from layers and measured (`topology.memory`); a
batch may not be larger than the training split; axes stay in the order of the orientation; one resolution, no cascade.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor, prod
from typing import Any

import numpy as np

from medexp.data.planning.fingerprint import Fingerprint
from medexp.data.planning.topology import SMALLEST_EDGE, Topology, memory, topology
from medexp.errors import UserError

ANISOTROPIC = 3.0  # times: voxels and sizes along the worst axis, against the others
CROPPED = 0.75  # a nonzero box below this share of the volume is cut out, and intensities are taken within
START = {2: 2048.0**2, 3: 256.0**3}  # voxels of the first patch that is tried
COVERED = 0.05  # of the training voxels that one batch may see
LEAST_BATCH = 2
# Of the memory given, for weights and activations; the rest is for the CUDA context, cuDNN's workspaces and fragments.
# Set so that nnU-Net's own example, patches of 128^3 two at a time in 16 bits, fills its 8 GB (not measured on a GPU).
GPU_SHARE = 0.7
PROCESS = 0.5  # GiB of a Python process with torch and MONAI, before any training
LARGEST_IMAGE = {2: 224, 3: 128}  # longest edge that classification is proposed
# Batches of classification, rules of thumb: voxels in 8 GiB, share of the cases, most and least images.
CLASSIFIED, CLASSIFIED_COVERED = {2: 32 * 224.0**2, 3: 4 * 128.0**3}, 0.1
CLASSIFIED_MOST, CLASSIFIED_LEAST = 64, 8


@dataclass(frozen=True)
class Plan:
    """Settings of `dataset` and, for segmentation, of the network; `why` has a reason by key.

    memory, ram: GiB of a training step in 16-bit mixed precision on a GPU, of the whole process in 32 bits on a CPU;
    None where nothing was estimated.
    """

    dataset: dict[str, Any]
    why: dict[str, str] = field(default_factory=dict)
    network: Topology | None = None
    memory: float | None = None
    ram: float | None = None


def plan_segmentation(found: Fingerprint, classes: int, budget: float = 8.0) -> Plan:
    """Spacing, patch, batch, normalisation and network for `budget` GiB of GPU memory.

    classes: with the background. Raises UserError where no patch fits the memory.
    """
    crop = found.box_share < CROPPED
    shapes = found.boxes if crop else found.shapes
    spacing, why_spacing = target_spacing(found)
    median = _resampled(found, shapes, spacing)
    lengths = spacing or found.spacing(50)
    net = _largest_patch(lengths, median, len(found.channels), classes, budget)
    batch, why_batch = _batch(net, found, median, classes, budget)
    normalize, why_normalize = normalisation(found, crop)
    share = f"{found.box_share:.0%} of the volume is within the box of nonzero voxels"
    gib = memory(net, len(found.channels), classes, batch, mixed=True)
    return Plan(
        dataset={
            "orientation": found.orientation,
            "spacing": spacing,
            "crop_foreground": crop,
            "normalize": normalize,
            "patch_size": list(net.patch_size),
            "batch_size": batch,
        },
        why={
            "orientation": "the order of the axes below" if found.orientation else "the file's axes",
            "spacing": why_spacing,
            "crop_foreground": f"{share} (median); below {CROPPED:.0%} it is cut out",
            "normalize": why_normalize,
            "patch_size": f"median shape {_by(median)}, strides divide it by {_by(net.divisor)}",
            "batch_size": why_batch,
        },
        network=net,
        memory=gib,
        ram=memory(net, len(found.channels), classes, batch, mixed=False) + PROCESS,
    )


def plan_classification(found: Fingerprint, budget: float = 8.0) -> Plan:
    """Image size, normalisation and batch for classification and regression: no network, no patches.

    The size is the median shape, shrunk with its aspect until the longest edge is at most 224 (2D) or 128 (3D) and then
    rounded to multiples of 8. Batches hold as many voxels as 32 images of 224x224 or 4 of 128^3 for 8 GiB, and of
    smaller images at most 64 and a tenth of the training cases, though 8 where they fit: batch norm wants several.
    """
    dims, median = found.spatial_dims, found.median_shape
    shrink = min(1.0, LARGEST_IMAGE[dims] / max(median))
    size = [round(edge) if shrink == 1 else max(8 * round(edge * shrink / 8), 8) for edge in median]
    fits = max(1, floor(CLASSIFIED[dims] * budget / 8 / prod(size)))
    wanted = min(CLASSIFIED_MOST, max(CLASSIFIED_LEAST, round(CLASSIFIED_COVERED * found.cases)))
    batch = min(max(LEAST_BATCH, min(fits, wanted)), found.cases)
    normalize, why_normalize = normalisation(found, crop=False)
    capped = "" if shrink == 1 else f", longest edge at most {LARGEST_IMAGE[dims]}"
    return Plan(
        dataset={"spacing": None, "image_size": size, "normalize": normalize, "batch_size": batch},
        why={
            "spacing": "image_size decides",
            "image_size": f"median shape {_by(median)} of {found.cases} cases{capped}",
            "normalize": why_normalize,
            "batch_size": f"by image size ({fits} fit), and {CLASSIFIED_COVERED:.0%} of {found.cases} cases",
        },
    )


def target_spacing(found: Fingerprint) -> tuple[list[float] | None, str]:
    """mm a voxel that all cases are resampled to, and why; None where pictures need no resampling.

    The median of each axis. Where one axis has voxels more than 3 times as long as the others, and less than a third of
    their number, its 10th percentile (not below the longest of the others), lest thin-sliced cases lose their detail.
    """
    if found.spatial_dims == 2 and len(set(found.spacings)) == 1:
        return None, "all cases have the same"
    median, shape = np.asarray(found.spacing(50)), np.asarray(found.median_shape)
    worst = int(np.argmax(median))
    others = [axis for axis in range(len(median)) if axis != worst]
    reason = f"median of {found.cases} cases"
    longer = median[worst] > ANISOTROPIC * median[others].max()
    if longer and shape[worst] * ANISOTROPIC < shape[others].min():
        median[worst] = max(found.spacing(10)[worst], median[others].max())
        reason += f", 10th percentile along the anisotropic axis {worst}"
    return [float(f"{value:.4g}") for value in median], reason


def normalisation(found: Fingerprint, crop: bool) -> tuple[dict[str, Any], str]:
    """The node of `dataset.normalize`, and why.

    CT: clipped to the 0.5 and 99.5 percentiles of the foreground, then standardised with its mean and deviation, as HU
    mean the same in every scan. Anything else: standardised case by case, within the nonzero voxels where `crop`.
    """
    ct = [channel.modality == "ct" for channel in found.channels]
    if not any(ct):
        node: dict[str, Any] = {"_target_": "monai.transforms.NormalizeIntensity"}
        inside = ", within nonzero voxels" if crop else ""
        return {**node, "nonzero": crop, "channel_wise": True}, f"no CT: standardised case by case{inside}"
    windows: list[list[float | None]] = []
    for channel in found.channels:
        inside_label = channel.foreground
        if channel.modality != "ct":
            windows.append([None] * 4)
        elif inside_label is None or inside_label.std == 0:  # no label map to take a window from: air to dense bone
            windows.append([-1000.0, 1000.0, 0.0, 500.0])
        else:
            values = (inside_label.percentile_00_5, inside_label.percentile_99_5, inside_label.mean, inside_label.std)
            windows.append([float(f"{value:.4g}") for value in values])
    lists = dict(zip(("low", "high", "mean", "std"), map(list, zip(*windows, strict=True)), strict=True))
    reason = f"CT (darkest voxel about {found.channels[ct.index(True)].minimum:.0f} HU)"
    source = "0.5 and 99.5 percentiles, mean and deviation of the foreground"
    labelled = any(channel.foreground for channel in found.channels if channel.modality == "ct")
    node = {"_target_": "medexp.transforms.normalize.ClipZScore", **lists}
    return node, f"{reason}: {source if labelled else 'air to dense bone'}"


def _resampled(found: Fingerprint, shapes: Sequence[Sequence[int]], spacing: list[float] | None) -> tuple[float, ...]:
    """Median shape at the target spacing, voxels."""
    scale = np.asarray(found.spacings) / np.asarray(spacing) if spacing else 1.0
    sizes = np.maximum(np.rint(np.asarray(shapes) * scale), 1)
    return tuple(map(float, np.median(sizes, axis=0)))


def _largest_patch(
    spacing: Sequence[float], median: Sequence[float], channels: int, classes: int, budget: float
) -> Topology:
    """The network of the largest patch, cubic in mm and within the median shape, that fits the memory two at a time.

    The axis that covers most of the median shape is shortened, one multiple of its strides at a time.
    """
    dims = len(spacing)
    edge = (START[dims] * max(1.0, budget / 8) * prod(spacing)) ** (1 / dims)  # mm
    net = topology(spacing, [min(edge / step, size) for step, size in zip(spacing, median, strict=True)])
    while (needed := memory(net, channels, classes, LEAST_BATCH, mixed=True)) > GPU_SHARE * budget:
        shorter = [_shorter(net, spacing, axis) for axis in range(dims)]
        ratios = [net.patch_size[axis] / median[axis] if shorter[axis] else 0.0 for axis in range(dims)]
        size = shorter[int(np.argmax(ratios))]
        if size is None:
            seen = f"{budget:g} GiB, but a patch of {_by(net.patch_size)} voxels already takes {needed / GPU_SHARE:.1f}"
            raise UserError(f"--memory: {seen}; give more, or plan by hand with fewer model.filters")
        net = topology(spacing, size)
    return net


def _shorter(net: Topology, spacing: Sequence[float], axis: int) -> list[int] | None:
    """The next patch along one axis, or None where it would be shorter than the smallest feature map.

    The step is the multiple that the shorter patch needs: with fewer strides it may be smaller than the present one.
    """
    size = list(net.patch_size)
    trial = [*size[:axis], max(size[axis] - net.divisor[axis], 1), *size[axis + 1 :]]
    size[axis] -= topology(spacing, trial).divisor[axis]
    return size if size[axis] >= SMALLEST_EDGE else None


def _batch(net: Topology, found: Fingerprint, median: Sequence[float], classes: int, budget: float) -> tuple[int, str]:
    """Patches a batch: as many as fit, but no more than 5 % of the training voxels, and not fewer than two."""
    one, two = (memory(net, len(found.channels), classes, count, mixed=True) for count in (1, 2))
    fits = max(LEAST_BATCH, floor((GPU_SHARE * budget - one) / (two - one)) + 1)
    covered = round(COVERED * prod(median) * found.cases / prod(net.patch_size))
    batch = min(max(LEAST_BATCH, min(fits, covered)), found.cases)
    if batch == found.cases:
        return batch, f"the training split has {found.cases} cases"
    if batch == LEAST_BATCH:
        limit = f"{COVERED:.0%} of the training voxels are fewer" if covered < fits else f"{budget:g} GiB hold no more"
        return batch, f"the least; {limit}"
    return batch, f"{COVERED:.0%} of the training voxels" if covered <= fits else f"what {budget:g} GiB hold"


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
