"""Networks for studies of several frames: an encoder a frame, then a head over the frames, in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from medexp.errors import UserError

RECURRENT: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """torch's RNN, LSTM or GRU over the frames, (B, T, features) -> (B, T, hidden).

    It runs forwards only, so that what is padded after a frame never reaches it.
    """

    def __init__(
        self, kind: Literal["rnn", "lstm", "gru"], features: int, hidden: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width = hidden
        between = dropout if layers > 1 else 0.0  # torch warns of dropout without a layer to follow
        self.net = RECURRENT[kind](features, hidden, layers, batch_first=True, dropout=between)

    def forward(self, features: Tensor, padding: Tensor | None) -> Tensor:
        return self.net(features)[0]


class SelfAttention(nn.Module):
    """torch's Transformer encoder over the frames (Vaswani 2017), (B, T, features) -> (B, T, features).

    padding: (B, T), true where a frame is none: nothing attends to it.
    Raises UserError where the heads do not divide the features.
    """

    def __init__(
        self, features: int, heads: int = 4, layers: int = 2, mlp_dim: int = 128, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if features % heads:
            raise UserError(f"model.head.heads: {heads} does not divide model.features={features}")
        self.width = features
        layer = nn.TransformerEncoderLayer(features, heads, mlp_dim, dropout, batch_first=True, norm_first=True)
        self.net = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(features), enable_nested_tensor=False)

    def forward(self, features: Tensor, padding: Tensor | None) -> Tensor:
        return self.net(features, src_key_padding_mask=padding)


class SequenceNet(nn.Module):
    """Frames (B, T, C, *spatial) to scores: each through `encoder`, their features in order through `head`, whose state
    at a study's last frame a linear layer turns into scores.

    encoder: any network that makes `features` channels of an image: (N, features) of a classifier gives scores (B, K);
        (N, features, *spatial) of a network without strides, or of a U-Net, gives images (B, K, *spatial), where the
        head runs through the frames voxel by voxel.
    head: Recurrent or SelfAttention.
    position: what tells the head where a frame stands: sinusoids (Vaswani 2017) of its "time" (as the data set gives it,
        in units of `time_step`), of its "index" from the last frame backwards, or none (null).
    values: whether the head is also given what was measured at each frame (batch key `values`).
    change: (of images) the scores are added to the last frame, and begin as nothing: an untrained network says that
        nothing changes.

    Padded frames never go through the encoder, so that they touch neither a batch norm nor the outcome. Raises UserError
    where positions need an even number of features, or a study has none of the values that the head was made for.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        features: int,
        out_channels: int,
        position: Literal["time", "index"] | None = "time",
        time_step: float = 1.0,
        values: bool = False,
        change: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if position is not None and features % 2:
            raise UserError(f"model.features: {features} is odd; positions need an even number, or model.position=null")
        self.encoder, self.head = encoder, head
        self.features, self.position, self.time_step, self.change = features, position, time_step, change
        self.measured = nn.Linear(1, features) if values else None
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(int(head.width), out_channels)  # type: ignore[arg-type]  # a number
        if change:
            nn.init.zeros_(self.scores.weight)
            nn.init.zeros_(self.scores.bias)

    def forward(
        self, image: Tensor, frames: Tensor | None = None, times: Tensor | None = None, values: Tensor | None = None
    ) -> Tensor:
        """image: (B, T, C, *spatial). frames: (B,) how many of T are of the study, or a mask (B, T) of those, first ones
        true; None: all. times, values: (B, T)."""
        if image.ndim < 5:
            raise UserError(f"the model reads frames (B, T, C, *spatial), got {tuple(image.shape)}: no sequence")
        count = frames.sum(dim=1) if frames is not None and frames.ndim == 2 else frames
        there = None if count is None else torch.arange(image.shape[1], device=image.device) < count[:, None]  # (B, T)
        features = self._encoded(image, there)  # (B, T, F, *rest)
        rest = features.shape[3:]
        features = features.flatten(3).movedim(3, 1) if rest else features[:, None]  # (B, voxels, T, F)
        features = features + self._told(image, count, times, values)[:, None]
        voxels = features.shape[1]
        padding = None if there is None else ~there.repeat_interleave(voxels, dim=0)
        states = self.head(features.flatten(0, 1), padding).unflatten(0, (-1, voxels))  # (B, voxels, T, width)
        scores = self.scores(self.dropout(_last(states.transpose(1, 2), count)))  # (B, voxels, K)
        scores = scores.transpose(1, 2).contiguous().unflatten(2, rest) if rest else scores[:, 0]
        if not self.change:
            return scores
        newest = _last(image, count)  # (B, C, *spatial)
        return scores + newest.repeat(1, scores.shape[1] // newest.shape[1], *[1] * len(rest))

    def _encoded(self, image: Tensor, there: Tensor | None) -> Tensor:
        if there is None or bool(there.all()):
            return self.encoder(image.flatten(0, 1)).unflatten(0, image.shape[:2])
        found = self.encoder(image[there])
        features = found.new_zeros((*there.shape, *found.shape[1:]))
        features[there] = found
        return features

    def _told(self, image: Tensor, count: Tensor | None, times: Tensor | None, values: Tensor | None) -> Tensor:
        """What is known of each frame beside its image, (B, T, F) or (1, 1, 1) of nothing."""
        total = image.shape[1]
        told = image.new_zeros(1, 1, 1)
        if self.position is not None:
            if self.position == "index" or times is None:
                last = (count if count is not None else torch.full(image.shape[:1], total, device=image.device)) - 1
                times = (torch.arange(total, device=image.device) - last[:, None]) * self.time_step
            told = told + sinusoids(times / self.time_step, self.features).to(told.dtype)
        if self.measured is not None:
            if values is None:
                raise UserError(
                    "model.values: true, but these studies have no value a frame; give them, or train without"
                )
            told = told + self.measured(values[..., None].to(told.dtype))
        return told


def sinusoids(positions: Tensor, features: int) -> Tensor:
    """(B, T) -> (B, T, features): sin and cos of p / 10000^(2i / features) (Vaswani 2017, arXiv:1706.03762)."""
    rates = 10000.0 ** (-torch.arange(0, features, 2, device=positions.device) / features)
    angles = positions[..., None].float() * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def _last(states: Tensor, count: Tensor | None) -> Tensor:
    """Of (B, T, ...) what is at each study's last frame, (B, ...)."""
    if count is None:
        return states[:, -1]
    return states[torch.arange(len(states), device=states.device), count - 1]
