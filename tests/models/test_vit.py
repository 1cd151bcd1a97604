from __future__ import annotations

import pytest
import torch

from medexp.errors import UserError
from medexp.models.vit import ViT

SMALL = {"hidden_size": 12, "mlp_dim": 16, "num_layers": 1, "num_heads": 2}


def test_logits_are_not_squashed() -> None:
    net = ViT(spatial_dims=2, in_channels=1, out_channels=2, img_size=16, patch_size=8, **SMALL)
    torch.nn.init.constant_(net.net.classification_head.bias, 50.0)
    assert net(torch.zeros(1, 1, 16, 16)).min() > 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"img_size": [20, 16]}, r"model.img_size: \[20, 16\] is no multiple of the patches \[8, 8\]"),
        ({"img_size": [16, 16, 16]}, "one fixed image size: set dataset.image_size"),
        ({"img_size": None}, "one fixed image size: set dataset.image_size"),
        ({"num_heads": 5}, "model.num_heads: 5 does not divide model.hidden_size=12"),
    ],
)
def test_impossible_sizes_are_named(changes: dict[str, object], words: str) -> None:
    options = {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 2,
        "img_size": 16,
        "patch_size": 8,
        **SMALL,
        **changes,
    }
    with pytest.raises(UserError, match=words):
        ViT(**options)
