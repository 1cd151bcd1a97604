"""The Decathlon's ten tasks: each leaf names its folder, channels and archive; files of several channels are read and trained on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import yaml
from monai.apps.datasets import DecathlonDataset

from medexp.config import paths
from medexp.data.fetching.about import read_about
from medexp.data.images import read_image
from medexp.data.sources import msd
from medexp.errors import UserError
from medexp.run.train import plan, start

TASKS = {  # leaf: archive, channels, classes; medicaldecathlon.com
    "msd_brain_tumour": ("Task01_BrainTumour", 4, 4),
    "msd_heart": ("Task02_Heart", 1, 2),
    "msd_liver": ("Task03_Liver", 1, 3),
    "msd_hippocampus": ("Task04_Hippocampus", 1, 3),
    "msd_prostate": ("Task05_Prostate", 2, 3),
    "msd_lung": ("Task06_Lung", 1, 2),
    "msd_pancreas": ("Task07_Pancreas", 1, 3),
    "msd_hepatic_vessel": ("Task08_HepaticVessel", 1, 3),
    "msd_spleen": ("Task09_Spleen", 1, 2),
    "msd_colon": ("Task10_Colon", 1, 2),
}


def stacked(root: Path, channels: int) -> Path:
    """Images of a Decathlon folder as (x, y, z, channel); channel k is k units brighter."""
    for path in sorted((root / "imagesTr").iterdir()):
        image = nib.load(path)
        array = np.asarray(image.dataobj, dtype=np.float32)
        several = np.stack([array + channel for channel in range(channels)], axis=-1)
        nib.save(nib.Nifti1Image(several, image.affine), path)
    return root


def test_every_task_of_the_decathlon_has_a_leaf() -> None:
    generic = {"msd", "msd_hippocampus_volume"}  # the layout, and another task on the same files
    assert {name for name in paths.options("dataset") if name.startswith("msd")} - generic == set(TASKS)


@pytest.mark.parametrize("leaf", TASKS)
def test_a_leaf_knows_its_archive_channels_and_classes(leaf: str) -> None:
    task, channels, classes = TASKS[leaf]
    node = yaml.safe_load(paths.options("dataset")[leaf].read_text(encoding="utf-8"))
    about = read_about(node["about"], leaf)
    (file,) = about.files
    assert (file.url, file.sums) == (DecathlonDataset.resource[task], {"md5": DecathlonDataset.md5[task]})
    assert file.unpack == "tar"
    assert node.get("in_channels", 1) == channels
    assert len(node["classes"]) == classes
    assert node["classes"][0] == "background"
    cfg = plan(["experiment=segmentation/spleen", f"dataset={leaf}"])
    assert cfg["model"]["in_channels"] == channels
    assert cfg["model"]["out_channels"] == classes


@pytest.mark.parametrize("channels", [2, 4])
def test_channels_come_last_in_the_file_and_first_in_the_image(
    layouts: SimpleNamespace, tmp_path: Path, channels: int
) -> None:
    record = msd.records(stacked(layouts.msd(tmp_path / "task", cases=1), channels))[0]
    image = read_image(record, spatial_dims=3, channels=channels)
    assert image.array.shape == (channels, 24, 28, 20)
    np.testing.assert_allclose(image.array[1], image.array[0] + 1, atol=1e-5)
    with pytest.raises(UserError, match=r"case case_000: .*is 4D .* where 3D is expected; set .*dataset\.in_channels"):
        read_image(record, spatial_dims=3, channels=1)


def test_the_patient_of_a_case_is_what_the_pattern_finds() -> None:
    assert msd.patient("hepaticvessel_001", None) == ""
    assert msd.patient("liver_12_b", r"liver_(\d+)") == "12"


def test_four_sequences_of_brain_tumours_train_and_are_evaluated(layouts: SimpleNamespace, tmp_path: Path) -> None:
    root, run = stacked(layouts.msd(tmp_path / "Task01_BrainTumour", classes=4), 4), tmp_path / "run"
    data = ["dataset=msd_brain_tumour", f"dataset.root={root}", "dataset.patch_size=[16,16,16]"]
    quick = ["debug=fast", "trainer=cpu", "figures=0"]
    start(["experiment=segmentation/phantom", *data, *quick, f"run_dir={run}"])
    assert json.loads((run / "summary.json").read_text())["metrics"]
