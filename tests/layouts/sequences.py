"""Small studies of several frames, and the experiments that leaves of sequences fit into."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile

VALUES, FRAMES, CLASSES = (
    f"experiment=sequence/{name}" for name in ("phantom_growth", "fmri_next", "phantom_presence")
)


def host(group: str, option: str, line: str) -> list[str]:
    """The experiment that an option of sequences fits into; line: what its leaf says of itself."""
    given = ["dataset.root=x", "dataset.spatial_dims=3"] if option in ("studies", "visits") else []
    given += ["dataset.image_size=[32,32,32]"] if option == "visits" else []
    if group == "dataset":
        return [CLASSES if "classification" in line else FRAMES if "of frames" in line else VALUES, *given]
    chosen = FRAMES if option == "sequence_frame" or "next frames" in line else VALUES
    return [chosen, *([f"task={option}"] if group == "metrics" else [])]


def exchanged(experiment: str) -> str:
    """Another model for it."""
    return "sequence_voxels" if experiment.endswith("_next") else "sequence_transformer"


def small_data(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    """Overrides that point an experiment of sequences at small data in its own layout."""
    if kind.startswith("phantom"):
        return [f"dataset.root={request.getfixturevalue('phantom_2d')}", "dataset.source.patients=12"]
    if kind == "fmri_next":
        write_scan(tmp_path / "fmri" / "fmri.nii.gz")
        return [f"dataset.root={tmp_path / 'fmri'}", "dataset.patch_size=[8,8,4]"]
    write_frames(tmp_path / "timelapse" / "Sequence1")
    return [f"dataset.root={tmp_path / 'timelapse'}", "dataset.patch_size=[16,16]"]


def write_scan(path: Path, shape: tuple[int, ...] = (12, 10, 6, 24)) -> Path:
    """A 4D scan whose signal rises and falls over time."""
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.sin(np.arange(shape[-1]) / 3) * 40
    voxels = rng.normal(200, 60, shape[:-1])[..., None] + wave + rng.normal(0, 5, shape)
    image = nib.Nifti1Image(voxels.astype(np.int16), np.diag([-2.0, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def write_frames(folder: Path, count: int = 12, size: tuple[int, int] = (32, 40)) -> Path:
    """RGB TIFF frames of a spot that moves to the right."""
    folder.mkdir(parents=True)
    for time in range(count):
        pixels = np.random.default_rng(time).integers(0, 20, (*size, 3)).astype(np.uint8)
        pixels[10:18, 2 * time : 2 * time + 8, 1] = 200
        tifffile.imwrite(folder / f"frame_{time}.tif", pixels, photometric="rgb")
    return folder
