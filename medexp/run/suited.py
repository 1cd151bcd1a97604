"""The parts that suit a data set of classes or boxes: `medexp train dataset=mednist` needs no more."""

from __future__ import annotations

import logging
import re

from medexp.config import compose, paths

log = logging.getLogger(__name__)
# Losses of tasks that learn from two views of an image.
OF_VIEWS = {
    "pretrain_contrastive": "contrastive",
    "pretrain_moco": "info_nce",
    "pretrain_barlow": "barlow_twins",
}


def suited(overrides: list[str]) -> list[str]:
    """The overrides, and a task, loss, model and inferer for images with classes (task and loss for boxes) where they choose
    a data set of classes (of boxes, of follow-up), no experiment, and not those parts. What is added is logged. Raises UserError where
    they do not compose."""
    chosen = {text.partition("=")[0]: text.partition("=")[2] for text in overrides}
    if "dataset" not in chosen or chosen.get("experiment", "null") != "null":
        return overrides
    leaf = paths.options("dataset").get(chosen["dataset"])
    plain = [text for text in overrides if not text.startswith("plan=")]  # a plan says nothing of the task
    provided = None if leaf is None else compose.compose(plain).dataset.get("provides")
    if leaf is None or provided not in ("class", "boxes", "survival"):
        return overrides
    many = re.search("multi-?label", leaf.read_text(encoding="utf-8").splitlines()[0])
    task = chosen.get("task", "classification_multilabel" if many else "classification")
    loss = "cross_entropy" if task == "classification" else "bce"
    parts = {"task": task, "loss": loss, "model": "resnet18", "inferer": "simple"}
    if provided == "survival":
        by_intervals = chosen.get("task") == "survival_hazards"
        parts |= {"task": "survival_cox", "loss": "discrete_hazards" if by_intervals else "cox"}
    if provided == "boxes":
        parts = {"task": "detection", "loss": "center_heatmap"}
    if (loss_of_views := OF_VIEWS.get(chosen.get("task", ""))) is not None:
        parts |= {"loss": loss_of_views, "degradation": "two_views", "augmentation": "none"}
    added = [f"{group}={option}" for group, option in parts.items() if group not in chosen]
    if added:
        log.info("%s: with %s, as nothing else is named", f"dataset={chosen['dataset']}", " ".join(added))
    return [*overrides, *added]
