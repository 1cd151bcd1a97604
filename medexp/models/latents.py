"""The latent of an autoencoder, in which another network works: images in, fewer values out, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medexp.errors import UserError


class Latents(nn.Module):
    """A trained autoencoder that learns no more. (AutoencoderKL has neither dropout nor running statistics: it computes the
    same in training and outside of it.)

    net: MONAI's AutoencoderKL, or one with its `encode` and `decode`. weights: checkpoint of a run with that network; where
    it is gone, the weights have to come from a checkpoint that holds this module too. Raises UserError.
    """

    def __init__(self, net: nn.Module, weights: str | None = None) -> None:
        super().__init__()
        self.net = net.requires_grad_(False)
        if weights is not None and Path(weights).is_file():
            state = _state(weights)
            own = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
            try:
                net.load_state_dict(own)
            except RuntimeError as error:
                said = " ".join(str(error).split())[:200]
                raise UserError(f"task.autoencoder: {weights} holds another network: {said}") from None

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) to the mean of the latent (B, L, *smaller), float32."""
        encoder: Any = self.net.encode
        mean: Tensor = encoder(image)[0]
        return mean.float()

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        decoder: Any = self.net.decode
        image: Tensor = decoder(latent)
        return image.float()


def _state(weights: str) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # torch and zipfile raise many kinds for a broken or unsafe file
        said = (str(error) or type(error).__name__).split(". ")[0].splitlines()[0]
        hint = "give a run whose checkpoint is whole, or train it again"
        raise UserError(
            f"task.autoencoder: {weights} holds no weights that can be read safely: {said}; {hint}"
        ) from None
    return state
