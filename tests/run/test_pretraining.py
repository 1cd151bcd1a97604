"""Pretraining without labels, from the command to what begins with it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from forks import warm

from medexp.run.evaluate import evaluate
from medexp.run.predict import predict
from medexp.run.train import start

NET = ["model.channels=[4,8]", "model.hidden=12"]
SMALL = [*NET, "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1", "figures=2", "dataset.batch_size=8"]
MOCO = ["task=pretrain_moco", "task.queue=20", "loss=info_nce"]


@pytest.fixture(scope="module")
def root(phantom_2d: Path) -> list[str]:
    return [f"dataset.root={phantom_2d}", "dataset.source.patients=12"]


@pytest.fixture(scope="module")
def words(root: list[str]) -> list[str]:
    return ["experiment=pretraining/phantom_presence_2d", *root, *SMALL, *MOCO]


@pytest.fixture(scope="module")
def run(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(start([*words, f"run_dir={tmp_path_factory.mktemp('runs') / 'moco'}"])["run_dir"])


def test_the_test_table_says_what_each_probe_tells(run: Path) -> None:
    table, summary = pd.read_csv(run / "per_case.csv"), json.loads((run / "summary.json").read_text())
    assert list(table.columns) == ["case_id", "label", "knn", "knn_correct", "linear", "linear_correct"]
    assert table.notna().all(axis=None)
    assert ((table["knn"] == table["label"]) == table["knn_correct"].astype(bool)).all()
    assert summary["metrics"]["linear"]["mean"] == pytest.approx(table["linear_correct"].mean())
    assert {path.name for path in (run / "figures").iterdir()} == {"cases.png", "features.png"}


def test_an_evaluation_repeats_the_test(run: Path, tmp_path: Path) -> None:
    evaluate(run, None, tmp_path)
    assert (tmp_path / "per_case.csv").read_text() == (run / "per_case.csv").read_text()


def test_probes_have_seen_the_training_split_alone(run: Path) -> None:
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    split = json.loads((run / "split.json").read_text())
    assert len(state["probing.probes.knn.bank"]) == len(split["train"])


def test_a_prediction_is_a_table_of_features(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    predict(run, phantom_2d / "imagesTr", tmp_path / "features.csv")
    table = pd.read_csv(tmp_path / "features.csv")
    assert list(table.columns[:4]) == ["case_id", "knn", "linear", "feature_0"]
    assert table.filter(like="feature_").shape[1] == 12
    assert len(table) == len(list((phantom_2d / "imagesTr").iterdir()))
    tested = pd.read_csv(run / "per_case.csv").merge(table, on="case_id", suffixes=("", "_again"))
    assert len(tested) > 0
    assert (tested["linear"] == tested["linear_again"]).all()


def test_a_resumed_run_and_one_with_workers_are_the_unbroken_one(words: list[str], run: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    start([*words, "scheduler=constant", "trainer.max_epochs=1", f"run_dir={half}"])
    start([f"resume={half}", "trainer.max_epochs=2"])
    whole = tmp_path / "whole"
    start([*words, "scheduler=constant", "dataset.num_workers=1", f"run_dir={whole}"])
    metrics = [(one / "metrics.csv").read_text() for one in (half, whole)]
    assert metrics[0] == metrics[1]
    for name, value in torch.load(half / "checkpoints/last.ckpt", weights_only=True)["state_dict"].items():
        assert torch.equal(value, torch.load(whole / "checkpoints/last.ckpt", weights_only=True)["state_dict"][name])


def test_rows_without_a_class_are_learnt_from_and_probes_are_fitted_to_the_others(
    layouts: SimpleNamespace, tmp_path: Path
) -> None:
    root = layouts.pictures(tmp_path / "pictures", ["benign", "malignant"], each=16, size=32)
    lines = (root / "labels.csv").read_text().splitlines()
    known = [line if number % 2 else line.rsplit(",", 1)[0] + "," for number, line in enumerate(lines[1:])]
    (root / "labels.csv").write_text("\n".join([lines[0], *known]) + "\n")
    table = ["dataset=csv", f"dataset.root={root}", "dataset.classes=[benign,malignant]", "dataset.image_size=[32,32]"]
    where = [*table, *SMALL, *MOCO, f"run_dir={tmp_path / 'run'}"]
    start(["experiment=pretraining/phantom_presence_2d", *where])
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert sum(map(len, split.values())) == 32
    labelled = {line.split(",")[0].removesuffix(".png").replace("/", "_") for line in known if not line.endswith(",")}
    assert (
        f"of {len(labelled & set(split['train']))} of {len(split['train'])} training images"
        in (tmp_path / "run" / "train.log").read_text()
    )
    tested = pd.read_csv(tmp_path / "run" / "per_case.csv").set_index("case_id")
    assert tested["label"].notna().to_dict() == {case: case in labelled for case in tested.index}
    assert tested["linear_correct"].notna().to_dict() == {case: case in labelled for case in tested.index}


@pytest.mark.parametrize("way", [["task=pretrain_contrastive", "loss=contrastive"], MOCO], ids=["contrastive", "moco"])
def test_two_ranks_contrast_the_views_of_both(way: list[str], root: list[str], tmp_path: Path) -> None:
    """Half the batch on each of two ranks learns what the whole batch on one does: each view is told from those of all ranks."""
    net = ["model=dynunet", "model.kernel_size=[3,3,3]", "model.strides=[1,2,2]", "model.upsample_kernel_size=[2,2]"]
    net += [
        "model.filters=[4,4,8]",
        "model.deep_supr_num=1",
        "dataset.patch_size=[16,16]",
        "task.projector=[8]",
    ]  # no batch norm
    few = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "figures=0", "dataset.split.limit_train=8"]
    words = ["experiment=pretraining/phantom_presence_2d", *root, "dataset=phantom_2d", *net, *way, *few]
    start([*words, "dataset.batch_size=8", f"run_dir={tmp_path / 'one'}"])
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "dataset.batch_size=4"]
    done = warm("train", *words, *ranks, f"run_dir={tmp_path / 'two'}")
    assert (done.returncode, done.stderr) == (0, "")
    one, two = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("one", "two")
    )
    learnt = [name for name in one if name.startswith(("net.", "projector."))]
    assert learnt
    losses = [pd.read_csv(tmp_path / name / "metrics.csv").groupby("epoch").first() for name in ("one", "two")]
    for part in ("train/loss", "val/loss"):
        assert losses[1][part][0] == pytest.approx(losses[0][part][0], rel=1e-3)
        assert losses[0][part][0] > 0.1
    for name in learnt:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_classifier_begins_with_the_encoder(root: list[str], run: Path, tmp_path: Path) -> None:
    words = ["experiment=classification/phantom_presence_2d", *root, *NET, "trainer.max_epochs=1", "figures=0"]
    start([*words, f"init.weights={run}", f"run_dir={tmp_path / 'run'}"])
    table = pd.read_csv(tmp_path / "run/transfer.csv").fillna("")
    fates = table[table["tensor"] != ""].set_index("tensor")["outcome"]
    assert set(fates[~fates.index.str.startswith("head.")]) == {"loaded"}
    assert set(fates[fates.index.str.startswith("head.")]) == {"kept"}


def test_an_encoder_of_a_u_net_is_counted_where_it_goes(root: list[str], tmp_path: Path) -> None:
    """Contrast of label-free patches, then a segmentation: the encoder comes, the decoder is as drawn."""
    net = ["model=dynunet", "model.kernel_size=[3,3,3]", "model.strides=[1,2,2]", "model.upsample_kernel_size=[2,2]"]
    net += ["model.filters=[4,4,8]", "model.deep_supr_num=1", "dataset.patch_size=[16,16]", "figures=0"]
    few = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "dataset.batch_size=4"]
    source = ["experiment=pretraining/phantom_presence_2d", *root, "dataset=phantom_2d", *net, *few]
    first = start([*source, f"run_dir={tmp_path / 'source'}"])
    assert json.loads((tmp_path / "source/summary.json").read_text())["metrics"]["cases"]["n"] > 0
    assert "val/knn" not in (tmp_path / "source/metrics.csv").read_text()
    assert "there are no probes" in (tmp_path / "source/train.log").read_text()
    words = ["experiment=segmentation/phantom_2d", *root, *net, "inferer=whole_by_8", *few]
    start([*words, f"init.weights={first['run_dir']}", f"run_dir={tmp_path / 'run'}"])
    table = pd.read_csv(tmp_path / "run/transfer.csv").fillna("")
    counts = table[table["tensor"] != ""].groupby("outcome").size().to_dict()
    encoder = table["tensor"].str.startswith(("input_block", "downsamples", "bottleneck"))
    assert set(table[encoder]["outcome"]) == {"loaded"}
    assert counts == {"loaded": int(encoder.sum()), "kept": int((table["tensor"] != "").sum() - encoder.sum())}
    assert "had no part in the training of the source" in set(table["reason"])


def test_a_u_net_that_restores_is_handed_over_whole_but_for_its_outputs(phantom: Path, tmp_path: Path) -> None:
    data = [f"dataset.root={phantom}", "dataset.source.patients=10", "dataset.patch_size=[16,16,16]", "figures=1"]
    net = ["model=dynunet", "model.filters=[4,4,8,8]", "trainer.max_epochs=1", "dataset.batch_size=2"]
    source = ["experiment=translation/phantom_denoising", "task=pretrain_restoration", "degradation=models_genesis"]
    start([*source, *data, *net, "model.deep_supervision=false", "loss=mse", f"run_dir={tmp_path / 'source'}"])
    scored = pd.read_csv(tmp_path / "source/per_case.csv")
    assert {"psnr", "psnr_input"} <= set(scored.columns)
    assert list((tmp_path / "source/figures").glob("*.png"))
    words = ["experiment=segmentation/phantom", *data, *net, "inferer=whole_by_8"]
    start([*words, f"init.weights={tmp_path / 'source'}", f"run_dir={tmp_path / 'run'}"])
    table = pd.read_csv(tmp_path / "run/transfer.csv").fillna("")
    kept = table[(table["tensor"] != "") & (table["outcome"] != "loaded")]["tensor"]
    assert kept.str.contains("output_block|deep_supervision_heads").all()
    assert (table["outcome"] == "loaded").sum() > 30


def test_data_without_classes_give_a_last_layer_that_is_not_empty(root: list[str], tmp_path: Path) -> None:
    words = [
        "experiment=pretraining/phantom_presence_2d",
        *root,
        *SMALL,
        "dataset.classes=[]",
        "dataset.provides=[]",
        "dataset.label_values=null",
    ]
    run = Path(start([*words, "figures=0", "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"])["run_dir"])
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert all(value.numel() for name, value in state.items() if name.startswith("net."))
