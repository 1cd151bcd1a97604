"""What a step draws at random."""

from __future__ import annotations

import torch


def reseed(seed: int, device: torch.device) -> None:
    """torch.manual_seed for the generators that a step draws from: for a device that is not there yet, torch formats
    three stack traces a call, which is more than a small step takes."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
