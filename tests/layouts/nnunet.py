"""nnU-Net's raw format, version 2 (its documentation/dataset_format.md), in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from layouts.luna16 import write_metaimage


def save(path: Path, array: np.ndarray[Any, Any]) -> None:
    """A volume (x, y, z) by the suffix of its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mha":
        write_metaimage(path, array, TransformMatrix="-1 0 0 0 -1 0 0 0 1", ElementSpacing="1 1.5 2")
    elif path.suffix == ".png":
        Image.fromarray(array[..., 0].astype(np.uint8)).save(path)
    else:
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.5, 2.0, 1.0])), path)


def describe(root: Path, **content: Any) -> Path:
    """dataset.json of two channels and three labels; keywords change it."""
    facts = {
        "channel_names": {"0": "T2", "1": "ADC"},
        "labels": {"background": 0, "PZ": 1, "TZ": 2},
        "numTraining": None,
        "file_ending": ".nii.gz",
        **content,
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps({key: value for key, value in facts.items() if value is not None}))
    return root


def write(root: Path, cases: int = 10, channels: int = 2, ending: str = ".nii.gz") -> Path:
    """Boxes in noise: label k is k times brighter, in the first channel most. imagesTs has a case without labels."""
    rng = np.random.default_rng(0)
    size = (24, 28, 20)
    for index in range(cases + 1):
        label = np.zeros(size, np.uint8)
        for value in (1, 2):
            corner = rng.integers(1, np.asarray(size) - 9)
            label[tuple(slice(c, c + 8) for c in corner)] = value
        part = "Tr" if index < cases else "Ts"
        for channel in range(channels):
            noise = rng.normal(50, 5, size) + label * 60 / (channel + 1)
            save(root / f"images{part}" / f"prostate_{index:02d}_{channel:04d}{ending}", noise.astype(np.float32))
        if index < cases:
            save(root / "labelsTr" / f"prostate_{index:02d}{ending}", label)
    names = {str(channel): name for channel, name in enumerate(("T2", "ADC")[:channels])}
    return describe(root, channel_names=names, numTraining=cases, file_ending=ending)
