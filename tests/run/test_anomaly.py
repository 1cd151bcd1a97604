"""Anomaly maps from the command to the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from layouts.configs import problems

from medexp import build
from medexp.run import folder
from medexp.run.evaluate import evaluate
from medexp.run.predict import predict
from medexp.run.train import start

QUICK = ["model.channels=[4,8]", "model.strides=[2,2]", "model.latent_size=4", "trainer.max_epochs=1"]
SMALL = ["dataset.image_size=[16,16]", "dataset.split.val=0.3", "trainer.check_val_every_n_epoch=1", "figures=1"]


@pytest.fixture(scope="module")
def words(phantom_2d: Path) -> list[str]:
    root = [f"dataset.root={phantom_2d}", "dataset.source.patients=12"]
    return ["experiment=anomaly/phantom_2d", *root, *QUICK, *SMALL]


@pytest.fixture(scope="module")
def run(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(start([*words, f"run_dir={tmp_path_factory.mktemp('runs') / 'anomaly'}"])["run_dir"])


def test_it_learns_from_healthy_cases_and_is_tested_on_both(run: Path) -> None:
    table, split = pd.read_csv(run / "per_case.csv"), json.loads((run / "split.json").read_text())
    assert sorted(table["case_id"]) == sorted(split["test"])
    assert set(table["anomalous"]) == {0, 1}
    data = build.datamodule(folder.load(run))
    data.split = split
    for record in [*data.parts()["train"], *data.parts()["val"]]:
        assert not data.preparation.read_label(record).array.any()
    summary = json.loads((run / "summary.json").read_text())["metrics"]
    assert set(summary["auroc"]["per_class"]) == {"network", "blur", "intensity"}
    assert list((run / "figures").glob("*.png"))


def test_an_evaluation_repeats_the_test(run: Path, tmp_path: Path) -> None:
    evaluate(run, None, tmp_path)
    assert (tmp_path / "per_case.csv").read_text() == (run / "per_case.csv").read_text()


def test_a_map_lies_where_the_image_does_and_is_its_error(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    image = next(iter(sorted((phantom_2d / "imagesTr").iterdir())))
    predict(run, image, tmp_path / "map.nii.gz")
    source: Any = nib.load(image)
    found: Any = nib.load(tmp_path / "map.nii.gz")
    assert found.shape == source.shape
    np.testing.assert_allclose(found.affine, source.affine, atol=1e-5)
    cfg = folder.load(run)
    data, task = build.datamodule(cfg), build.task(cfg).eval()
    build.load_weights(task, folder.weights(run, "best"))
    record = next(record for record in data.records() if record.files[0] == image)
    prepared = data.load(record)[1]
    with torch.no_grad():
        wanted = (prepared.image - task.predict_step({"image": prepared.image[None].float()}, 0)[0]).abs().mean()
    assert float(np.asarray(found.dataobj).mean()) == pytest.approx(float(wanted), rel=0.1)


def test_reconstruction_needs_no_label_maps(words: list[str], tmp_path: Path) -> None:
    change = ["task=autoencoder", "dataset.split._target_=medexp.data.splits.make_split"]
    made = start([*words, *change, f"run_dir={tmp_path / 'run'}"])
    summary = json.loads((Path(made["run_dir"]) / "summary.json").read_text())["metrics"]
    assert summary["psnr"]["mean"] == pytest.approx(pd.read_csv(tmp_path / "run" / "per_case.csv")["psnr"].mean())


ANOMALY = "experiment=anomaly/phantom_2d"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["task=autoencoder"], "reads findings from label maps, which task.target=reconstruction does not ask for"),
        (["loss=dice"], "compares classes, the task gives images"),
        (["task.kl=-1"], "task.kl: -1 is negative"),
        (["task.out_channels=2"], "task.out_channels: 2, but dataset.in_channels is 1"),
        (["dataset.image_size=null", "dataset.patch_size=[64,64]"], "this network takes whole images of one size"),
        (["inferer=whole_by_8"], "this network takes them whole; choose inferer=simple"),
        (
            ["model=autoencoder_kl", "dataset.image_size=null", "dataset.patch_size=[64,64]"],
            "choose inferer=whole_by_8",
        ),
        (["dataset=phantom_presence_2d"], "learns from 'mask'"),
        (["model=autoencoder_kl", "inferer=whole_by_8", "dataset.image_size=[62,62]"], "cannot take|gives back"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: list[str], message: str) -> None:
    found = problems(ANOMALY, *change)
    assert any(word in problem for problem in found for word in message.split("|")), found
