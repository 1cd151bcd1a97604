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
from layouts import findings
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
    made = start([*words, "task=autoencoder", f"run_dir={tmp_path / 'run'}"])
    summary = json.loads((Path(made["run_dir"]) / "summary.json").read_text())["metrics"]
    assert summary["psnr"]["mean"] == pytest.approx(pd.read_csv(tmp_path / "run" / "per_case.csv")["psnr"].mean())


QUICKLY = [*QUICK, *SMALL, "optimizer.lr=1e-3"]
MASKS = ["experiment=anomaly/csv_masks", "dataset.label_values=[0,255]"]


def test_sick_cases_of_a_table_are_for_the_test_alone_whatever_the_split(tmp_path: Path) -> None:
    root = findings.write(tmp_path / "pictures")
    parts = [f"c{index}.png,{('train', 'train', 'val', 'test')[index // 2 % 4]}" for index in range(24)]
    (tmp_path / "split.csv").write_text("\n".join(["case,split", *(line.replace(".png", "") for line in parts)]) + "\n")
    where = [f"dataset.root={root}", "dataset.classes=[background,lesion]", *MASKS, *QUICKLY]
    for name, change in {
        "drawn": [],
        "file": [f"dataset.split.file={tmp_path / 'split.csv'}"],
        "loose": ["dataset.split.stratify=false"],
    }.items():
        run = Path(start([*where, *change, f"run_dir={tmp_path / name}"])["run_dir"])
        split = json.loads((run / "split.json").read_text())
        assert all(int(case[1:]) % 2 == 0 for part in ("train", "val") for case in split[part]), name
        assert {int(case[1:]) % 2 for case in split["test"]} == {0, 1}
        assert "cases with findings are left out" in (run / "train.log").read_text()


def test_it_learns_from_classes_of_images_alone(tmp_path: Path) -> None:
    root = findings.write(tmp_path / "pictures")
    where = ["experiment=anomaly/csv", f"dataset.root={root}", "dataset.classes=[healthy,ill]", *QUICKLY]
    run = Path(start([*where, f"run_dir={tmp_path / 'run'}"])["run_dir"])
    split, table = json.loads((run / "split.json").read_text()), pd.read_csv(run / "per_case.csv")
    assert all(int(case[1:]) % 2 == 0 for part in ("train", "val") for case in split[part])
    assert table["anomalous"].tolist() == [int(case[1:]) % 2 for case in table["case_id"]]
    summary = json.loads((run / "summary.json").read_text())["metrics"]
    assert summary["auroc"]["n"] == len(table)
    assert summary["average_precision"]["mean"] is None
    assert summary["average_precision"]["reason"].startswith("no label maps")
    evaluate(run, None, tmp_path / "again")
    assert (tmp_path / "again" / "per_case.csv").read_text() == (run / "per_case.csv").read_text()
    predict(run, root / "c3.png", tmp_path / "map.png")
    assert (tmp_path / "map.png").is_file()


ANOMALY = "experiment=anomaly/phantom_2d"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["loss=dice"], "compares classes, the task gives images"),
        (["task.kl=-1"], "task.kl: -1 is negative"),
        (["task.out_channels=2"], "task.out_channels: 2, but dataset.in_channels is 1"),
        (["dataset.image_size=null", "dataset.patch_size=[64,64]"], "this network takes whole images of one size"),
        (["inferer=whole_by_8"], "this network takes them whole; choose inferer=simple"),
        (
            ["model=autoencoder_kl", "dataset.image_size=null", "dataset.patch_size=[64,64]"],
            "choose inferer=whole_by_8",
        ),
        (["dataset=phantom_presence_2d"], "'class', but task=anomaly learns from 'mask'; choose task=anomaly_by_class"),
        (["task=anomaly_by_class"], "'boxes']', but task=anomaly_by_class learns from 'class'; choose task=anomaly"),
        (["model=autoencoder_kl", "inferer=whole_by_8", "dataset.image_size=[62,62]"], "cannot take|gives back"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: list[str], message: str) -> None:
    found = problems(ANOMALY, *change)
    assert any(word in problem for problem in found for word in message.split("|")), found
