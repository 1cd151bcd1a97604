"""What becomes of outcomes: rows and figures of an evaluation, files of a prediction. A module a kind of result."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from medexp.data.module import DataModule
from medexp.run.results.base import Results

# By the task's target: where its results are. Imported when asked for.
WHERE = {
    "mask": "maps.Maps",
    "image": "images.Images",
    "index": "classes.Classes",
    "binary": "classes.Classes",
    "multilabel": "classes.Classes",
    "next_value": "next_values.NextValues",
    "next_frame": "next_frames.NextFrames",
    "boxes": "boxes.Boxes",
    "instances": "boxes.Boxes",
    "views": "features.Features",
    "survival": "risks.Risks",
    "value": "values.Values",
    "ordinal": "grades.Grades",
    "multitask": "heads.Heads",
    "reconstruction": "reconstructions.Reconstructions",
    "anomaly": "reconstructions.Reconstructions",
    "anomaly_by_class": "reconstructions.Reconstructions",
    "generation": "samples.Samples",
    "generation_by_class": "samples.Samples",
}


def results(cfg: dict[str, Any], data: DataModule) -> Results:
    """What a run of this config makes of outcomes."""
    module, _, name = WHERE[data.target].partition(".")
    made: Results = getattr(import_module(f"{__name__}.{module}"), name)(cfg, data)
    return made
