"""Where leaves and experiments of each way to learn are tested: one module a way, found by its presence here.

A module may have
- `host(group, option, line) -> list[list[str]]`: overrides of experiments into which the option fits; [] where it is of another way.
  line: what the leaf says of itself.
- `model(option, line) -> list[list[str]]`: overrides with which a model fits two, and three, dimensions.
- `small_data(experiment, root, layouts, request) -> list[str] | None`: overrides that point an experiment at small data
  made below root; None where it is of another way.
- `exchanged(experiment) -> list[str] | None`: overrides that exchange the parts of an experiment.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def asked(name: str, *words: Any) -> Any:
    """What the first module that knows says; None where none does."""
    for found in pkgutil.iter_modules(__path__):
        function = getattr(importlib.import_module(f"{__name__}.{found.name}"), name, None)
        answer = function(*words) if function else None
        if answer:
            return answer
    return None
