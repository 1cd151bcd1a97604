"""What goes into a model that makes images, what comes out of it and in which unit, for whoever is given it."""

from __future__ import annotations

from typing import Any

from monai.transforms import NormalizeIntensity

from medexp import build
from medexp.data.preparation.prepare import Preparation
from medexp.run.missing import names
from medexp.run.planes import unit

ERRORS, SAMPLES = ("reconstruction", "anomaly"), ("generation", "generation_by_class")
IMAGES = ("image", "next_frame", *ERRORS, *SAMPLES)  # targets of tasks that make images


def channels(cfg: dict[str, Any]) -> dict[str, Any]:
    """Of a run's config: names of the channels that go in (`inputs`; none where images are made of noise), names or what else
    comes out (`outputs`), and its `unit`; {} of a model that makes no images."""
    target = str(cfg["task"].get("target"))
    if target not in IMAGES:
        return {}
    known, degradation = names(cfg), cfg.get("degradation") or {}
    inputs, outputs = (
        known if degradation.get(key) is None else [known[place] for place in degradation[key]]
        for key in ("inputs", "outputs")
    )
    preparation = build.datamodule(cfg).preparation
    prepared = f"{unit(preparation)} of the prepared image"
    if target in ERRORS:
        return {"inputs": inputs, "outputs": ["the absolute error of the reconstruction"], "unit": prepared}
    if target in SAMPLES:
        return {"inputs": [], "outputs": outputs, "unit": _of_files(preparation, prepared)}
    other = degradation.get("outputs") is not None  # the line back to the scanner's unit is that of the input alone
    return {"inputs": inputs, "outputs": outputs, "unit": prepared if other else "the unit of what goes in"}


def _of_files(preparation: Preparation, prepared: str) -> str:
    """Of samples, see `medexp.run.sample_files.units`."""
    if isinstance(preparation.normalize, NormalizeIntensity):
        return f"{prepared}; as PNG from 0 to 255"
    return "the unit of the training images"
