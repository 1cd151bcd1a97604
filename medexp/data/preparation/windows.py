"""Windows of a CT: level and width in HU, a channel each."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from medexp.data.formats.scan import Array
from medexp.errors import UserError


def check_windows(windows: Sequence[Sequence[float]], in_channels: int) -> None:
    """Raises UserError for windows that are none, or not one a channel."""
    for window in windows:
        pair = isinstance(window, list | tuple) and len(window) == 2 and all(isinstance(n, int | float) for n in window)
        if not pair or not all(map(isfinite, window)) or window[1] <= 0:
            raise UserError(f"dataset.windows: {window} is no level and width (HU, above 0), e.g. [40, 80]")
    if len(windows) != in_channels:
        seen = f"{len(windows)} windows make {len(windows)} channels, dataset.in_channels is {in_channels}"
        raise UserError(f"dataset.windows: {seen}; set dataset.in_channels={len(windows)}")


def windowed(values: Array, windows: Sequence[Sequence[float]]) -> Array:
    """(1, *spatial) in HU to (windows, *spatial), each 0 to 1."""
    made = np.empty((len(windows), *values.shape[1:]), dtype=np.float32)
    for channel, (level, width) in zip(made, windows, strict=True):
        np.subtract(values[0], level - width / 2, out=channel)
        channel /= width
        np.clip(channel, 0, 1, out=channel)
    return made
