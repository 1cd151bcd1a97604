"""Images to images: denoising, deblurring, super-resolution, and one modality from others."""

from __future__ import annotations

from medexp.tasks.base import Task
from medexp.tasks.pairs import Pairs


class Translation(Pairs, Task):
    """Images (B, C, *spatial) from degraded ones, or from other channels. residual: see Pairs."""
