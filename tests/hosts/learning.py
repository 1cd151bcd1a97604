"""Ways to learn from unlabelled cases, and in spite of wrong labels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

SEGMENTATION, CLASSIFICATION = "experiment=segmentation/phantom", "experiment=classification/phantom_presence_2d"


def host(group: str, option: str, line: str) -> list[list[str]]:
    """Both kinds of tasks that the way says it is for."""
    if group != "learning":
        return []
    hosts = [
        host for word, host in (("segmentation", SEGMENTATION), ("classification", CLASSIFICATION)) if word in line
    ]
    return [[host] for host in hosts]


def small_data(experiment: str, root: Path, layouts: SimpleNamespace, request: Any) -> list[str] | None:
    """The experiments of these ways, of whose training cases all but one lose their labels."""
    if experiment == "noisy_labels/mednist":
        classes = ["AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"]
        pictures = layouts.pictures(root / "pictures", classes, size=32)
        return [f"dataset.root={pictures}", "dataset.image_size=[32,32]"]
    if experiment == "semi_supervised/csv":
        pictures = layouts.pictures(root / "pictures", ["benign", "malignant"], each=10, size=32)
        lines = (pictures / "labels.csv").read_text().splitlines()
        blank = [line if number % 4 else f"{line.rsplit(',', 1)[0]}," for number, line in enumerate(lines[1:])]
        (pictures / "labels.csv").write_text("\n".join([lines[0], *blank]) + "\n")
        return [f"dataset.root={pictures}", "dataset.classes=[benign,malignant]", "dataset.image_size=[32,32]"]
    if not experiment.startswith("semi_supervised"):
        return None
    if "phantom_2d" in experiment:
        return [
            f"dataset.root={request.getfixturevalue('phantom_2d')}",
            "dataset.source.patients=12",
            "dataset.labelled=1",
        ]
    return [
        f"dataset.root={layouts.msd(root / 'msd', classes=3)}",
        "dataset.patch_size=[16,16,16]",
        "dataset.labelled=1",
    ]


def exchanged(experiment: str) -> list[str] | None:
    """Another network, optimizer, curve and way to learn."""
    parts = ["optimizer=sgd", "scheduler=plateau", "augmentation=none", "trainer=cpu"]
    if experiment == "semi_supervised/csv":
        return [*parts, "model=simple_cnn", "inferer=simple", "learning=cross_pseudo"]
    if experiment.startswith("semi_supervised"):
        size = "[64,64]" if experiment.endswith("2d") else "[64,64,64]"
        return [*parts, "model=basic_unet", "inferer=whole", "learning=cross_pseudo", f"dataset.patch_size={size}"]
    if experiment.startswith("noisy_labels"):
        return [*parts, "model=simple_cnn", "inferer=simple", "learning=co_teaching"]
    return None
