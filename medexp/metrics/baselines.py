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

    made = []
    for channel in image.astype(np.float32):
        sigma = float(estimate_sigma(channel))
        made.append(denoise_nl_means(channel, 5, 6, h=0.8 * sigma, sigma=sigma, fast_mode=True))
    return np.stack(made)


def total_variation(image: Array) -> Array:
    """(C, *spatial) by total variation (Chambolle 2004), scikit-image's, weighted by the noise that it shows."""
    from skimage.restoration import denoise_tv_chambolle, estimate_sigma

    return np.stack([denoise_tv_chambolle(channel, weight=float(estimate_sigma(channel))) for channel in image])


BASELINES: dict[str, Callable[[Array], Array]] = {
    "input": unchanged,
    "gaussian": gaussian,
    "median": median,
    "nonlocal_means": nonlocal_means,
    "total_variation": total_variation,
}
