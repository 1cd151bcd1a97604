"""What a network that makes one modality from others is given in use: those others alone, for the modality to be made is not there."""

from __future__ import annotations

import copy
from typing import Any

LISTS = ("images", "image")  # of a source: a pattern, file or column a channel
CHANNELWISE = ("low", "high", "mean", "std")  # of dataset.normalize


def inputs_alone(cfg: dict[str, Any]) -> dict[str, Any]:
    """The config of a run for prediction: of a data set with a file a channel, those of `degradation.inputs` are all that it has.

    Where one file holds all channels, or windows of one image are the channels, nothing changes: the network takes its own
    from such a file.
    """
    chosen, dataset = (cfg.get("degradation") or {}).get("inputs"), cfg["dataset"]
    source = dataset["source"]
    key = next((name for name in LISTS if isinstance(source.get(name), list)), None)
    if chosen is None or key is None or dataset.get("windows"):
        return cfg
    made = copy.deepcopy(cfg)
    made["dataset"]["source"][key] = [source[key][channel] for channel in chosen]
    made["dataset"]["in_channels"] = len(chosen)
    made["degradation"]["inputs"] = None
    normalize = made["dataset"].get("normalize") or {}
    for name in CHANNELWISE:
        if isinstance(normalize.get(name), list):
            normalize[name] = [normalize[name][channel] for channel in chosen]
    return made
