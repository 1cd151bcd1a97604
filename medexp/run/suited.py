"""The parts that suit a data set, for verbs that look at data alone: `medexp check dataset=mednist` needs no more."""

from __future__ import annotations

import re

from medexp.config import compose, paths


def suited(overrides: list[str]) -> list[str]:
    """The overrides, and a task, loss, model and inferer for images with classes where a data set of classes is chosen
    and nothing says for what. Raises UserError where they do not compose."""
    chosen = {text.partition("=")[0]: text.partition("=")[2] for text in overrides}
    if "dataset" not in chosen or {"task", "experiment"} & set(chosen):
        return overrides
    cfg = compose.compose(overrides)
    if cfg.dataset.get("provides") != "class" or cfg.task.get("target") != "mask":
        return overrides
    leaf = paths.options("dataset").get(chosen["dataset"])
    many = leaf is not None and re.search("multi-?label", leaf.read_text(encoding="utf-8").splitlines()[0])
    task, loss = ("classification_multilabel", "bce") if many else ("classification", "cross_entropy")
    parts = {"task": task, "loss": loss, "model": "simple_cnn", "inferer": "simple"}
    return [*overrides, *(f"{group}={option}" for group, option in parts.items() if group not in chosen)]
