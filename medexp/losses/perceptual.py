"""Images compared by what a trained network sees in them, beside their absolute error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medexp.errors import UserError, nearest
from medexp.transfer.weights import Weights

SIZE = 64  # voxels an axis of the trial image, whose values are never computed
MOST = 4  # resolutions, from the finest on


class Perceptual(nn.Module):
    """`weight` times the distance of features + |difference| (Johnson 2016, arXiv:1603.08155).

    The distance is that of features scaled to length 1 at each voxel, squared and averaged over voxels and layers, as in
    LPIPS without its learnt weights (Zhang 2018, arXiv:1801.03924). MONAI's PerceptualLoss needs networks that are
    downloaded; here they are those of any run: of medical images, in 2D and 3D.

    net: the network, all of it (`medexp train loss=perceptual loss.run=RUN` takes that of a run). weights: a run folder or
    file of its weights (see medexp/transfer/sources.py), read with the first batch; they are in this loss's state from then
    on, so that a run goes on without the file. in_channels: that `net` takes; with 1, channels of images are compared one by
    one. layers: names of its modules; None: the last of each resolution on the way down, at most four. Raises UserError.
    """

    trained: Tensor

    def __init__(
        self,
        net: nn.Module,
        weights: str,
        spatial_dims: int,
        in_channels: int,
        layers: list[str] | None = None,
        weight: float = 0.1,
        checkpoint: Literal["best", "last"] = "best",
    ) -> None:
        super().__init__()
        if not weight > 0:
            raise UserError(f"loss.weight: {weight} is not above 0; choose loss=mae for the absolute error alone")
        self.net, self.weight, self.in_channels = net.requires_grad_(False), weight, in_channels
        self.weights, self.checkpoint = weights, checkpoint
        self.layers = _layers(net, spatial_dims, in_channels, layers)
        self.register_buffer("trained", torch.zeros((), dtype=torch.bool))
        for name in self.layers:
            net.get_submodule(name).register_forward_hook(self._keep(name))
        self._seen: dict[str, Tensor] = {}

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """Images and references (B, C, *spatial)."""
        if not self.trained:
            self._learn()
        images, references = images.float(), references.float()
        pairs = zip(self._features(images), self._features(references.detach()), strict=True)
        distances = [
            (F.normalize(one, dim=1) - F.normalize(two, dim=1)).square().sum(dim=1).mean() for one, two in pairs
        ]
        return self.weight * torch.stack(distances).mean() + F.l1_loss(images, references)

    def _learn(self) -> None:
        try:
            report = Weights(self.weights, self.checkpoint).into(self.net)
        except UserError as error:
            raise UserError(str(error).replace("init.weights", "loss.weights")) from None
        assert report is not None
        if report.count("kept"):
            what = f"fit {report.share:.0%} of {type(self.net).__name__}; give loss.net as it was trained"
            raise UserError(f"loss.weights: those of {self.weights} {what}")
        self.trained.fill_(True)

    def _features(self, images: Tensor) -> list[Tensor]:
        if self.in_channels == 1:
            images = images.flatten(0, 1).unsqueeze(1)
        self._seen = {}
        self.net.eval()  # whatever the training does to all modules: no dropout, its own statistics
        with suppress(_Enough):
            self.net(images)
        found, self._seen = self._seen, {}
        return [found[name].float() for name in self.layers]

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Tensor) -> None:
            self._seen[name] = output
            if len(self._seen) == len(self.layers):
                raise _Enough  # what follows is the way up

        return hook


class _Enough(Exception):
    """All features are there."""


def _layers(net: nn.Module, spatial_dims: int, in_channels: int, wanted: list[str] | None) -> list[str]:
    """Names of the modules whose outputs are the features, in the order of their calls, from a trial on torch's meta device."""
    trial = copy.deepcopy(net).to("meta")
    seen: dict[str, int] = {}  # voxels

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == spatial_dims + 2:
                seen.setdefault(name, output.shape[2:].numel())

        return hook

    for name, module in trial.named_modules():
        if name:
            module.register_forward_hook(note(name))
    try:
        with torch.no_grad():
            trial.eval()(torch.empty((1, in_channels, *[SIZE] * spatial_dims), device="meta"))
    except Exception as error:  # whatever the network says of the image
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"loss.net: {type(net).__name__} cannot take an image of {SIZE} an axis: {reason}") from None
    if wanted is not None:
        if not wanted:
            raise UserError(
                f"loss.layers: [] names none; null takes the last of each resolution, of {', '.join(list(seen)[:5])}"
            )
        if unknown := [name for name in wanted if name not in seen]:
            hint = nearest(unknown[0], list(seen)) or ";"
            raise UserError(
                f"loss.layers: '{unknown[0]}' gives no features{hint} some that do: {', '.join(list(seen)[:5])}"
            )
        return [name for name in seen if name in wanted]
    last: dict[int, str] = {}
    for name, voxels in seen.items():
        if last and voxels > min(last):
            break  # the way up
        last[voxels] = name
    last.pop(1, None)  # pooled
    return list(last.values())[:MOST]
