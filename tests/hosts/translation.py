"""Experiments of images to images on small data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from layouts import dicom, nifti_folder

SLAB = ["dataset.slabs.gap=1", "dataset.draws=2", "model.channels=[4,8]", "model.strides=[2]"]


def host(group: str, option: str, line: str) -> list[list[str]]:
    """A loss that looks through another network is told which; a data set of images alone, where it is."""
    if (group, option) == ("dataset", "dicom_images"):
        return [["experiment=translation/phantom_denoising", "dataset.root=x"]]
    if (group, option) != ("loss", "perceptual"):
        return []
    net = "loss.net={_target_: medexp.models.simple_cnn.SimpleCNN, spatial_dims: 3, in_channels: 1, out_channels: 2}"
    return [["experiment=translation/phantom_denoising", net, f"loss.weights={__file__}", "loss.in_channels=1"]]


def small_data(experiment: str, root: Path, layouts: Any, request: Any) -> list[str] | None:
    if experiment == "translation/ljubljana_t1_to_flair":
        return [
            f"dataset.root={nifti_folder.write(root / 'ms', patients=1, size=(48, 24, 24))}",
            "dataset.patch_size=[8,16,16]",
            *SLAB,
        ]
    if experiment == "translation/nifti_folder":
        return [f"dataset.root={two_modalities(root / 'two')}", "dataset.patch_size=[16,16,16]", *SLAB[1:]]
    if experiment == "translation/sct_mt_to_t1w":
        (root / "mt").mkdir(parents=True)
        for name in ("mt0", "mt1", "t1w"):
            scan = np.random.default_rng(len(name)).normal(100, 20, (48, 24, 8)).astype(np.float32)
            nib.save(nib.Nifti1Image(scan, np.eye(4)), root / "mt" / f"{name}.nii.gz")
        return [f"dataset.root={root}", "dataset.patch_size=[8,16,4]", *SLAB]
    if experiment == "translation/dicom_t1_thick_slices":
        scan = np.random.default_rng(0).integers(0, 900, (16, 48, 16)).astype(np.uint16)
        return [f"dataset.root={dicom.write_series(root / 'dicoms', scan)}", "dataset.patch_size=[8,8,8]", *SLAB]
    return None


def two_modalities(root: Path, patients: int = 10) -> Path:
    """t1/<case>.nii.gz and flair/<case>.nii.gz, of which the last patient lacks the second."""
    for name, sign in (("t1", 1), ("flair", -1)):
        (root / name).mkdir(parents=True)
        for index in range(patients if name == "t1" else patients - 1):
            scan = np.random.default_rng(index).normal(100, 20, (20, 18, 12)).astype(np.float32)
            nib.save(nib.Nifti1Image(sign * scan + 200, np.eye(4)), root / name / f"p{index}.nii.gz")
    return root
