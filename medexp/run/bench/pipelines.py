"""MONAI's dictionary pipelines as its users write them, for comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

SPACING = (1.0, 1.0, 2.0)  # mm that scans are brought to
PATCH = (64, 64, 64)
LIGHT: dict[str, Any] = {"flip": 0.5, "affine": 0.3, "rotate": 10, "scale": 0.1, "noise": 0.1, "noise_std": 0.05}


def chain() -> Any:
    import monai.transforms as mt

    keys = ["image", "label"]
    return mt.Compose(
        [
            mt.LoadImaged(keys, reader="NibabelReader"),
            mt.EnsureChannelFirstd(keys),
            mt.Orientationd(keys, axcodes="RAS", labels=None),
            mt.Spacingd(keys, pixdim=SPACING, mode=("bilinear", "nearest")),
            mt.NormalizeIntensityd("image", channel_wise=True),
        ]
    )


def tuned() -> list[Any]:
    """What a careful user caches: plain tensors and the places of the foreground."""
    import monai.transforms as mt

    return [mt.EnsureTyped(["image", "label"], track_meta=False), mt.FgBgToIndicesd("label")]


def random(indexed: bool) -> list[Any]:
    import monai.transforms as mt

    keys = ["image", "label"]
    indices = {"fg_indices_key": "label_fg_indices", "bg_indices_key": "label_bg_indices"} if indexed else {}
    turn = np.deg2rad(LIGHT["rotate"])
    return [
        mt.RandCropByPosNegLabeld(keys, "label", PATCH, pos=1, neg=1, num_samples=1, **indices),  # type: ignore[arg-type]
        *(mt.RandFlipd(keys, prob=LIGHT["flip"], spatial_axis=axis) for axis in range(3)),
        mt.RandAffined(
            keys,
            prob=LIGHT["affine"],
            rotate_range=[turn] * 3,
            scale_range=[LIGHT["scale"]] * 3,
            mode=("bilinear", "nearest"),
            padding_mode="border",
        ),
        mt.RandGaussianNoised("image", prob=LIGHT["noise"], std=LIGHT["noise_std"]),
    ]
