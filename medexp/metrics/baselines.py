"""What can be made of a degraded image without training: the bar that a network has to clear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter

Array = np.ndarray[Any, Any]


def unchanged(image: Array) -> Array:
    """The degraded image itself: of super-resolution its interpolation by cubic splines."""
    return image


def gaussian(image: Array) -> Array:
    """(C, *spatial) smoothed with a standard deviation of 0.8 voxels."""
    return np.stack([gaussian_filter(channel, 0.8) for channel in image])


def median(image: Array) -> Array:
    """(C, *spatial), the median of each voxel and its neighbours."""
    return np.stack([median_filter(channel, 3) for channel in image])


def nonlocal_means(image: Array) -> Array:
    """(C, *spatial) by non-local means, the classical step before BM3D (Buades 2005), with the noise that it shows.

    scikit-image's, with the strength that its authors recommend.
    """
    from skimage.restoration import denoise_nl_means, estimate_sigma

    found = []
    for channel in image.astype(np.float32):
        sigma = float(estimate_sigma(channel))
        found.append(denoise_nl_means(channel, 5, 6, h=0.8 * sigma, sigma=sigma, fast_mode=True))
    return np.stack(found)


def rician_means(image: Array) -> Array:
    """(C, *spatial) by non-local means of the squared magnitude, less what Rician noise adds to it (Manjon 2008,
    doi:10.1016/j.media.2008.02.004); the darkest voxel is taken for no signal."""
    from skimage.restoration import denoise_nl_means, estimate_sigma

    found = []
    for channel in image.astype(np.float32):
        low, sigma = float(channel.min()), float(estimate_sigma(channel))
        square = (channel - low) ** 2
        mean = denoise_nl_means(square, 5, 6, h=0.8 * float(estimate_sigma(square)), fast_mode=True)
        found.append(np.sqrt(np.maximum(mean - 2 * sigma**2, 0)) + low)
    return np.stack(found)


def sharpened(image: Array) -> Array:
    """(C, *spatial) with an unsharp mask of 1.5 voxels and an amount of 1."""
    return np.stack([2 * channel - gaussian_filter(channel, 1.5) for channel in image])


def total_variation(image: Array) -> Array:
    """(C, *spatial) by total variation (Chambolle 2004), scikit-image's, weighted by the noise that it shows."""
    from skimage.restoration import denoise_tv_chambolle, estimate_sigma

    return np.stack([denoise_tv_chambolle(channel, weight=float(estimate_sigma(channel))) for channel in image])


def intensity_map(image: Array, reference: Array) -> Array:
    """The best that can be said of a voxel from its own intensities (C, *spatial) alone: the mean of the reference (K,
    *spatial) over voxels of like intensities, so a bound for every function of them, as it has seen the reference. Like are
    those in one of up to 256 bins (4096 of several channels), of ten voxels or more each, as nearly as quantiles make them."""
    most = min(4096 if len(image) > 1 else 256, image[0].size // 10)
    bins = max(int(most ** (1 / len(image)) + 1e-9), 2)
    edges = [np.unique(np.quantile(channel, np.linspace(0, 1, bins + 1)[1:-1])) for channel in image]
    cells = np.zeros(image.shape[1:], np.int64)
    for channel, inner in zip(image, edges, strict=True):
        cells = cells * (len(inner) + 1) + np.searchsorted(inner, channel, side="right")
    cells = cells.ravel()
    count = np.maximum(np.bincount(cells), 1)
    means = [np.bincount(cells, weights=channel.ravel()) / count for channel in reference]
    return np.stack([mean[cells].reshape(image.shape[1:]) for mean in means]).astype(np.float32)


BASELINES: dict[str, Callable[[Array], Array]] = {
    "input": unchanged,
    "gaussian": gaussian,
    "median": median,
    "nonlocal_means": nonlocal_means,
    "rician_means": rician_means,
    "total_variation": total_variation,
    "sharpened": sharpened,
}
FITTED: dict[str, Callable[[Array, Array], Array]] = {"intensity_map": intensity_map}  # to the reference
NAMES = (*BASELINES, *FITTED)


def made(name: str, image: Array, reference: Array) -> Array | None:
    """What a baseline makes of an image; None where it gives another number of channels than the reference has."""
    found = FITTED[name](image, reference) if name in FITTED else BASELINES[name](image)
    return found if found.shape == reference.shape else None
