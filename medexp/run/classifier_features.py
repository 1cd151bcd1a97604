"""What a classifier of medexp sees in images: the layer before its last."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from medexp import build
from medexp.data.preparation.identity import identity
from medexp.data.preparation.prepare import Preparation
from medexp.errors import UserError
from medexp.models.features import SIZE, Encoder
from medexp.run import folder


class ClassifierFeatures:
    """Prepared images (B, C, *spatial) to (B, D): what the last layer of a run's best network is given.

    preparation: of the images; the run's own has to be the same where it changes intensities. Raises UserError.
    """

    def __init__(self, run: Path, preparation: Preparation) -> None:
        cfg = folder.load(run)
        own = build.datamodule(cfg).preparation
        for key in ("spatial_dims", "in_channels", "normalize", "windows"):
            one, other = (identity(getattr(of, key)) for of in (own, preparation))
            if one != other:
                raise UserError(
                    f"metrics.test.features: {run} has another dataset.{key} than the samples; give another run"
                )
        task = build.task(cfg)
        build.load_weights(task, folder.weights(run, "best"))
        size = cfg["dataset"].get("patch_size") or cfg["dataset"].get("image_size") or [SIZE] * own.spatial_dims
        self.encoder = Encoder(task.net.eval(), own.in_channels, size)
        if self.encoder.dense:
            raise UserError(f"metrics.test.features: {run}: its network ends in no linear layer; give a classifier")

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        return self.encoder(images)
