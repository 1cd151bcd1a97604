"""Networks as parts of others: any class of a leaf, with the inputs and outputs that the whole wants of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from medexp.errors import UserError

# Names under which network classes take them, in leaves as in signatures.
INPUTS = ("in_channels", "n_input_channels")
OUTPUTS = ("out_channels", "num_classes")


def part(net: Callable[..., nn.Module], in_channels: int, out_channels: int) -> nn.Module:
    """The network of `net` (a class with its other arguments) from so many channels to so many. Raises UserError for a
    class that takes neither under a name that is known."""
    known = inspect.signature(net).parameters
    given: dict[str, Any] = {}
    for names, count in ((INPUTS, in_channels), (OUTPUTS, out_channels)):
        name = next((name for name in names if name in known), None)
        if name is None:
            what = f"takes none of {', '.join(names)}, so that it cannot be a part; choose another model@model.net"
            raise UserError(f"model.net: {getattr(net, 'func', net).__name__} {what}")
        given[name] = count
    return net(**given)
