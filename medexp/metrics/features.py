"""Features of a pretrained network: whether they are more than one, and what probes tell from them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from medexp.metrics.table import BLANK, Row, column_names, describe, text
from medexp.targets import has_classes

log = logging.getLogger(__name__)
STILL = 1e-2  # share of the length of features that varies between images: below it they are one point


class EffectiveRank(Metric):
    """How many directions features (B, F) vary in: exp of the entropy of the singular values, as shares of their sum (Roy and
    Vetterli 2007; Garrido et al. 2023, RankMe, arXiv:2210.02885), about their mean, which says nothing of an image. 1 where
    features of all images are one point, or on one line: they have collapsed, which is warned of. F at the most. No label is
    needed.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    seen: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, target: Tensor) -> None:
        """`target` is not used."""
        self.seen.append(features.float())

    def compute(self) -> Tensor:
        features = dim_zero_cat(self.seen).double()
        centred = features - features.mean(dim=0)
        rank = torch.ones((), device=features.device)
        if len(features) > 2 and centred.norm() > STILL * features.norm():
            shares = torch.linalg.svdvals(centred)
            shares = shares / shares.sum()
            rank = torch.exp(-(shares * torch.log(shares + 1e-12)).sum()).float()
        if len(features) > 2 and rank < 1.5:
            log.warning(
                "features of %d validation images have collapsed (effective rank %.2f): they are all but one point; give more "
                "images a step (dataset.batch_size), a lower optimizer.lr, or another task=pretrain_*",
                len(features),
                float(rank),
            )
        return rank


class FeatureScores:
    """Scores what probes say of images. Columns: `label` (blank where none is known), and of each probe `<probe>` (the class
    that it says) and `<probe>_correct`. provides: of the data set; without classes of images there are no probes."""

    def __init__(
        self, classes: Sequence[str], probes: Mapping[str, Any], provides: str | Sequence[str] = "class"
    ) -> None:
        column_names(list(probes))
        self.classes = [str(name) for name in classes]
        self.probes = list(probes) if has_classes(provides, self.classes) else []

    def case(self, said: np.ndarray, target: np.ndarray) -> Row:
        """said: (P, K), scores of each probe, not a number where it was not fitted. target: (1,), -1 where none is known."""
        place = int(target[0])
        row: Row = {"label": self.classes[place] if place >= 0 else BLANK}
        for name, scores in zip(self.probes, said, strict=True):
            chosen = None if math.isnan(float(scores[0])) else int(scores.argmax())
            row[name] = BLANK if chosen is None else self.classes[chosen]
            row[f"{name}_correct"] = BLANK if chosen is None or place < 0 else int(chosen == place)
        return row

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """`{metric: {mean, std, n, ...}}`: of each probe `<probe>`, the share of cases that it tells; per_class: of each class;
        `<probe>_balanced`: the mean of these."""
        found: dict[str, Any] = {}
        for name in self.probes:
            found[name] = describe([row[f"{name}_correct"] for row in rows], "no probe, or no labels")
            each = {
                one: describe([row[f"{name}_correct"] for row in rows if text(row["label"]) == one], "no such case")
                for one in self.classes
            }
            found[name]["per_class"] = each
            means = [entry["mean"] for entry in each.values() if entry["mean"] is not None]
            found[f"{name}_balanced"] = describe(means, "no probe, or no labels")
        return found or {"cases": {"mean": float(len(rows)), "std": None, "n": len(rows)}}
