"""Each layout of pictures from its files to a trained and evaluated network, one step of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layouts.em_stack import write_em_stack
from layouts.idx import write_mnist
from layouts.object_masks import write_object_masks
from layouts.retina import write_chase_db1, write_drive
from layouts.voc import write_voc

from medexp.run.train import start

SEGMENTS = ["experiment=segmentation/phantom_2d", "dataset.patch_size=[32,32]"]
CLASSIFIES = ["experiment=classification/phantom_presence_2d", "model=simple_cnn"]
SINGLE = ["task=classification", "loss=cross_entropy"]
MULTIPLE = ["task=classification_multilabel", "loss=bce"]


def cells(root: Path) -> Path:
    objects = {
        f"im{i:02d}": [("RBC", 5, 5, 30, 30)] * (i % 2) + [("WBC", 9, 9, 12, 12)] * (i % 3 > 0) for i in range(12)
    }
    names = list(objects)
    return write_voc(root, objects, {"train": names[:6], "val": names[6:9], "test": names[9:]})


def pathology(root: Path) -> Path:
    rng = np.random.default_rng(0)
    shape, labels = (18, 28, 28, 3), (np.arange(18) % 9)[:, None]
    parts = {f"{part}_images": rng.integers(0, 255, shape, dtype=np.uint8) for part in ("train", "val", "test")}
    root.mkdir()
    np.savez(root / "pathmnist.npz", **parts, **{name.replace("images", "labels"): labels for name in parts})
    return root / "pathmnist.npz"


CASES: dict[str, tuple[list[str], Callable[[Path], Path]]] = {
    "drive": (SEGMENTS, write_drive),
    "chase_db1": (SEGMENTS, write_chase_db1),
    "dsb2018": (SEGMENTS, write_object_masks),
    "object_masks": (SEGMENTS, write_object_masks),
    "isbi2012_em": (SEGMENTS, write_em_stack),
    "mnist": ([*CLASSIFIES, *SINGLE], write_mnist),
    "bccd": ([*CLASSIFIES, *MULTIPLE, "dataset.classes=[RBC,WBC]", "dataset.image_size=[32,32]"], cells),
    "medmnist/pathmnist": ([*CLASSIFIES, *SINGLE], pathology),
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_trained_and_evaluated(name: str, tmp_path: Path) -> None:
    host, write = CASES[name]
    root, run = write(tmp_path / "data"), tmp_path / "run"
    quick = ["debug=fast", "trainer=cpu", "trainer.precision=32-true", "trainer.check_val_every_n_epoch=1", "figures=0"]
    start([*host, f"dataset={name}", f"dataset.root={root}", *quick, "dataset.batch_size=2", f"run_dir={run}"])
    assert json.loads((run / "summary.json").read_text())["metrics"]
    assert (run / "per_case.csv").read_text().count("\n") > 1
