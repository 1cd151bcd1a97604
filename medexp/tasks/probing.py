"""What pretraining tasks share: probes of their features, fitted to labels that no gradient ever sees."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from medexp.models.features import Encoder
from medexp.models.probes import Probe
from medexp.targets import has_classes
from medexp.tasks.base import Batch

log = logging.getLogger(__name__)
UNKNOWN = -1  # the label of a case that has none


class Split(Protocol):
    """Of a data module: its training cases outside of training."""

    def training_targets(self) -> Tensor: ...

    def training_cases(self) -> Iterable[Batch]: ...


class Probing(nn.Module):
    """Fits probes to features of the training split before a validation, and counts what they say of validation cases.

    probes: by name. classes, provides: of the data set; without classes of images there are no probes. patch_size: windows in
    which whole images are seen (see `Encoder.of_whole`). Labels are int64 (B, 1), -1 where a case has none. Scores are
    balanced accuracies.
    """

    def __init__(
        self,
        probes: Mapping[str, Probe] | None,
        classes: Sequence[str],
        provides: str | Sequence[str],
        encoder: Encoder,
        patch_size: Sequence[int] | None,
    ) -> None:
        super().__init__()
        self.encoder, self.patch_size, self.classes = encoder, patch_size, len(classes)
        self.probes = nn.ModuleDict(dict(probes or {}) if has_classes(provides, classes) else {})
        self.scores = nn.ModuleDict(
            {name: MulticlassAccuracy(self.classes, average="macro", ignore_index=UNKNOWN) for name in self.probes}
        )
        self.labelled = False  # whether the training split has labels
        self._step = -1  # of the optimizer, at which the probes were fitted

    def learn(self, split: Split) -> None:
        """Looks for labels in the training split, before training."""
        known, count = int(((targets := split.training_targets()) != UNKNOWN).sum()), len(targets)
        self.labelled = known > 0 and len(self.probes) > 0
        if not self.labelled:
            log.info("no class of a training image is known: there are no probes (task.probes)")
        else:
            log.info(
                "probes (%s) are fitted to the classes of %d of %d training images",
                ", ".join(self.probes),
                known,
                count,
            )

    def features(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) to (B, width), float32."""
        return self.encoder.of_whole(image, self.patch_size)

    def fit(self, trainer: Any) -> None:
        """From the training cases of the trainer's data, each rank's share, in the trainer's precision."""
        split = getattr(trainer, "datamodule", None)
        if split is None or not self.labelled or trainer.sanity_checking:
            return
        found = [self._seen(batch, trainer) for batch in split.training_cases()]
        features, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        if trainer.world_size > 1:
            shares: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, (features.cpu(), labels.cpu()))
            features, labels = (torch.cat(parts).to(features.device) for parts in zip(*shares, strict=True))
        known = labels != UNKNOWN
        for probe in self._all():
            probe.fit(features[known], labels[known], self.classes)
        self._step = trainer.global_step

    def _seen(self, batch: Batch, trainer: Any) -> tuple[Tensor, Tensor]:
        batch = trainer.strategy.batch_to_device(batch)
        with trainer.precision_plugin.forward_context():
            return self.features(batch["image"].float()), batch["target"][:, 0]

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Of validation cases."""
        for probe, score in zip(self._all(), self.scores.values(), strict=True):
            if probe.fitted:
                score.update(probe(features), labels[:, 0])  # type: ignore[operator]

    def results(self) -> dict[str, Tensor]:
        """Balanced accuracy by probe, over all ranks; counting starts anew. Nothing without labels."""
        if not self.labelled:
            return {}
        found = {name: score.compute() for name, score in self.scores.items()}  # type: ignore[operator]
        for score in self.scores.values():
            score.reset()  # type: ignore[operator]
        return found

    def described(self, features: Tensor) -> Tensor:
        """(B, P * K + F): scores of each probe, not a number where it was not fitted, and the features."""
        nothing = features.new_full((len(features), self.classes), torch.nan)
        return torch.cat([*(probe(features) if probe.fitted else nothing for probe in self._all()), features], dim=1)

    def without_stale(self, state: dict[str, Tensor], prefix: str, step: int) -> None:
        """Takes probes that were fitted to features of other weights than those of a checkpoint out of its state."""
        if step == self._step:
            return
        for name in [name for name in state if name.startswith(f"{prefix}probes.")]:
            state[name] = state[name].new_zeros(0)

    def _all(self) -> list[Probe]:
        return list(self.probes.values())  # type: ignore[arg-type]
