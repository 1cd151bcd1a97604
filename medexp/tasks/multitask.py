"""Several tasks from one network: a label map, and measures and classes of the whole image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from monai.losses import DeepSupervisionLoss
from torch import Tensor, nn

from medexp.errors import UserError, nearest
from medexp.targets import unit, width
from medexp.tasks.base import Batch, Step, Task
from medexp.tasks.regression import Split, Standard

MAP = "map"  # the name of the label map beside those of the targets


class MultiTask(Task):
    """Label maps, and what `dataset.targets` names: a number where it gives a unit (squared error of what is standardised by
    the training split), a class where it gives classes (cross-entropy). The network's outputs for these are channels beside
    those of the map (medexp/models/heads.py).

    loss: of the map. weights: of each loss by name ("map" for the map), 1 where none is given. uncertainty: each loss is
    divided by a variance that is learnt with it, so that their scales find each other (Kendall 2018, arXiv:1705.07115).
    """

    def __init__(
        self,
        loss: nn.Module,
        targets: Mapping[str, Any],
        target: Literal["multitask"] = "multitask",
        weights: Mapping[str, float] | None = None,
        uncertainty: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(loss=DeepSupervisionLoss(loss), **shared)  # type: ignore[arg-type]  # any loss module will do
        self.targets, names = dict(targets), [MAP, *targets]
        for name, weight in (weights or {}).items():
            if name not in names or weight < 0:
                seen = f"{weight} is below 0" if name in names else f"no such target{nearest(name, names) or ';'}"
                raise UserError(f"task.weights.{name}: {seen}; targets: {', '.join(names)}")
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in names}
        self.values = [place for place, entry in enumerate(self.targets.values()) if unit(entry) is not None]
        self.standard = Standard(len(self.values))
        self.log_variances = nn.Parameter(torch.zeros(len(names))) if uncertainty else None

    def learn(self, split: Split) -> None:
        """Takes mean and standard deviation of the numbers from the training split, before training."""
        if self.values:
            self.standard.learn(split.training_targets()[:, self.values])

    def step(self, batch: Batch) -> Step:
        scores = self(batch)  # (B, K + H, *spatial), or a list of which the first is such
        maps = [head.float() for head in scores] if isinstance(scores, list | tuple) else [scores.float()]
        whole = maps[0]
        maps[0] = whole[:, : self.out_channels]
        losses = {MAP: self.loss(maps if len(maps) > 1 else maps[0], batch["label"])}
        losses |= self._losses_of_heads(self._heads(whole), batch["target"])
        return Step(self._together(losses), whole, {**self._truth(batch["target"]), MAP: batch["label"]})  # type: ignore[arg-type]

    def _heads(self, whole: Tensor) -> dict[str, Tensor]:
        """Outputs (B, width) of each head from its channels, which are equal at every voxel."""
        flat = whole[:, self.out_channels :].flatten(2).mean(dim=2)
        parts = flat.split([width(entry) for entry in self.targets.values()], dim=1)
        return dict(zip(self.targets, parts, strict=True))

    def _losses_of_heads(self, heads: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        wanted = target.clone()
        wanted[:, self.values] = self.standard(target[:, self.values])
        found = {}
        for place, (name, scores) in enumerate(heads.items()):
            column = wanted[:, place]
            if place in self.values:
                found[name] = F.mse_loss(scores[:, 0], column)
            elif scores.shape[1] == 1:
                found[name] = F.binary_cross_entropy_with_logits(scores[:, 0], column)
            else:
                found[name] = F.cross_entropy(scores, column.long())
        return found

    def _together(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum. With variances s^2: L / s^2 + log s, of a squared error L / (2 s^2) + log s."""
        total = torch.zeros((), device=self.device)
        for place, (name, loss) in enumerate(losses.items()):
            if self.log_variances is not None:
                share = 0.5 if place - 1 in self.values else 1.0
                spread = self.log_variances[place]
                loss = share * torch.exp(-spread) * loss + 0.5 * spread
            total = total + self.weights[name] * loss
        return total

    def probabilities(self, scores: Tensor) -> Tensor:
        """(B, K + ..., *spatial): of the map its classes; then, equal at every voxel, of a number its value in its own unit and
        what the training split's mean says, of a class its probability, or those of all where there are more than two."""
        scores = scores.float()
        found = self._seen(self._heads(scores))
        usual = iter(self.standard.usual)
        flat = []
        for place, value in enumerate(found.values()):
            flat.append(value)
            if place in self.values:
                flat.append(next(usual).expand_as(value))
        spread = torch.cat(flat, dim=1)
        spread = spread.view(*spread.shape, *[1] * (scores.ndim - 2)).expand(-1, -1, *scores.shape[2:])
        return torch.cat([torch.softmax(scores[:, : self.out_channels], dim=1), spread], dim=1)

    def _seen(self, heads: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs of the heads as users see them."""
        names = list(heads)
        if self.values:
            own = self.standard.back(torch.cat([heads[names[place]] for place in self.values], dim=1))
            heads = heads | {names[place]: own[:, [column]] for column, place in enumerate(self.values)}
        return {
            name: value
            if place in self.values
            else torch.sigmoid(value)
            if value.shape[1] == 1
            else value.softmax(dim=1)
            for place, (name, value) in enumerate(heads.items())
        }

    def _truth(self, target: Tensor) -> dict[str, Tensor]:
        """Targets by name as metrics take them: numbers (B, 1), yes-or-no (B, 1) and class indices (B,) as integers."""
        found = {}
        for place, (name, entry) in enumerate(self.targets.items()):
            column = target[:, [place]]
            found[name] = (
                column if place in self.values else column.long() if width(entry) == 1 else column[:, 0].long()
            )
        return found

    def metric_inputs(self, step: Step) -> Any:
        """Predictions and targets by name, for `medexp.metrics.heads.OfHead`."""
        whole = step.scores
        return {MAP: whole[:, : self.out_channels], **self._seen(self._heads(whole))}, step.target
