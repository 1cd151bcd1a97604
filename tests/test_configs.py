"""Every shipped YAML, found by glob: it says what it is, composes, passes the check; each experiment runs a step."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medexp.config import paths
from medexp.run.train import plan, start

LEAVES = sorted(paths.shipped().rglob("*.yaml"))
SEGMENTATION = ["experiment=segmentation/phantom"]
CLASSIFICATION = ["experiment=classification/phantom_presence_2d"]
MULTICLASS = ["task=classification", "loss=cross_entropy"]
MULTILABEL = ["task=classification_multilabel", "loss=bce"]
LARGE = "dataset.patch_size=[64,64,64]"  # a multiple of every network's strides
# What a leaf that describes a kind of data wants to be told.
GIVEN = {
    "classification/csv": ["dataset.root=x", "dataset.classes=[a,b]", "dataset.image_size=[32,32]"],
    "classification/image_folder": ["dataset.root=x", "dataset.classes=[a,b]", "dataset.image_size=[32,32]"],
    "classification/npz": ["dataset.root=x.npz", "dataset.classes=[a,b,c]"],
    "classification/voc": ["dataset.root=x", "dataset.classes=[a,b]", "dataset.image_size=[32,32]"],
    "classification/dicom": ["dataset.root=x", "dataset.classes=[a,b]", "dataset.image_size=[32,32,32]"],
    "segmentation/dicom_masks": ["dataset.root=x", "dataset.classes=[background,tumour]"],
    "segmentation/bids": ["dataset.root=x", "dataset.classes=[background,lesion]"],
    "segmentation/nnunet": ["dataset.root=x", "dataset.classes=[background,lesion]"],
    "segmentation/nifti_folder": ["dataset.root=x", "dataset.classes=[background,lesion]"],
    "segmentation/object_masks": ["dataset.root=x"],
    "segmentation/csv_masks": ["dataset.root=x", "dataset.classes=[background,tumour]"],
    "segmentation/msd": ["dataset.root=x", "dataset.classes=[background,atrium]"],
}
GROUPED = [(group, option) for group in paths.groups() for option in paths.options(group)]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: str(leaf.relative_to(paths.shipped())))
def test_a_leaf_says_what_it_is_and_stays_short(leaf: Path) -> None:
    lines = leaf.read_text(encoding="utf-8").splitlines()
    assert paths.summary(leaf)
    assert len(lines) <= 25 or leaf == paths.shipped() / "train.yaml"
    assert max(len(line) for line in lines) <= 140
    assert all(line == line.rstrip() for line in lines)


def _hosts(group: str, option: str) -> list[list[str]]:
    """Experiments into which an option fits."""
    line = paths.summary(paths.options(group)[option])
    segments, classifies = "segmentation" in line, "classification" in line
    if group == "experiment":
        return [[f"experiment={option}", *GIVEN.get(option, [])]]
    if group == "dataset":
        return [_dataset_host(option, segments)]
    if group in ("task", "metrics"):
        return [_task_host(group, option)]
    if group == "inferer" and option != "simple":
        return [SEGMENTATION]
    if group == "model":
        return [[*SEGMENTATION, LARGE, "inferer=sliding_window"]] if segments else [CLASSIFICATION]
    hosts = [host for host, fits in ((SEGMENTATION, segments), (CLASSIFICATION, classifies)) if fits]
    return hosts or [SEGMENTATION, CLASSIFICATION]


def _dataset_host(option: str, segments: bool) -> list[str]:
    given = next((words for name, words in GIVEN.items() if name.split("/")[1] == option), [])
    if segments:
        return [*SEGMENTATION, *given]
    return [*CLASSIFICATION, *MULTICLASS, *given] if "presence" not in option else CLASSIFICATION


def _task_host(group: str, option: str) -> list[str]:
    task = [] if group == "task" else [f"task={option}"]
    if option == "segmentation":
        return [*SEGMENTATION, *task]
    loss = {"classification": "cross_entropy"}.get(option, "bce")
    return [*CLASSIFICATION, *task, f"loss={loss}"]


@pytest.mark.parametrize(("group", "option"), GROUPED, ids=lambda value: value)
def test_an_option_composes_and_passes_the_check(group: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if (group, option) == ("trainer", "gpu"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for host in _hosts(group, option):
        cfg = plan([*host, *([] if group == "experiment" else [f"{group}={option}"])])
        assert cfg.get(group) or group in ("experiment", "debug", "callbacks", "logger", "sweep")


@pytest.mark.parametrize("model", paths.options("model"))
def test_a_model_fits_two_and_three_dimensions(model: str) -> None:
    line = paths.summary(paths.options("model")[model])
    if "segmentation" in line:
        plan(
            [
                "experiment=segmentation/phantom_2d",
                f"model={model}",
                "dataset.patch_size=[64,64]",
                "inferer=sliding_window",
            ]
        )
    else:
        plan(["experiment=classification/phantom_presence", f"model={model}"])


@pytest.mark.parametrize("experiment", paths.options("experiment"))
def test_parts_of_an_experiment_can_be_exchanged(experiment: str) -> None:
    """An experiment sets nothing that only one option of a group knows."""
    host = [f"experiment={experiment}", *GIVEN.get(experiment, [])]
    model, inferer = ("basic_unet", "whole") if experiment.startswith("segmentation") else ("simple_cnn", "simple")
    changes = [
        f"model={model}",
        "optimizer=sgd",
        "scheduler=plateau",
        "augmentation=none",
        "trainer=cpu",
        f"inferer={inferer}",
    ]
    size = "[64,64]" if experiment.endswith("2d") else "[64,64,64]"
    plan([*host, *changes, *([f"dataset.patch_size={size}"] if experiment.startswith("segmentation") else [])])


def _command(leaf: Path) -> str:
    return paths.summary(leaf).split("#")[0].strip()


@pytest.mark.parametrize("experiment", paths.options("experiment"))
def test_an_experiment_opens_with_the_command_that_runs_it(experiment: str) -> None:
    words = _command(paths.options("experiment")[experiment]).split()
    assert words[:3] == ["medexp", "train", f"experiment={experiment}"]
    cfg = plan(words[2:])
    assert cfg["name"] == experiment


def _small_data(experiment: str, layouts: SimpleNamespace, tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    """Overrides that point an experiment at small data in its own layout."""
    kind = experiment.split("/")[1]
    if kind.startswith("phantom"):
        name, patients = ("phantom_2d", 12) if kind.endswith("2d") else ("phantom", 10)
        return [f"dataset.root={request.getfixturevalue(name)}", f"dataset.source.patients={patients}"]
    if kind == "npz":
        return [f"dataset.root={layouts.npz(tmp_path / 'small.npz')}", "dataset.classes=[a,b,c]"]
    if experiment.startswith("segmentation"):
        classes = {"hippocampus": ["background", "anterior", "posterior"], "spleen": ["background", "spleen"]}
        names = classes.get(kind, ["background", "organ"])
        root = layouts.msd(tmp_path / "msd", classes=len(names))
        if kind == "csv_masks":
            _table(root)
        return [f"dataset.root={root}", f"dataset.classes=[{','.join(names)}]", "dataset.patch_size=[16,16,16]"]
    names = (
        ["AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"] if kind == "mednist" else ["benign", "malignant"]
    )
    root = layouts.pictures(tmp_path / "pictures", names, size=32)
    return [f"dataset.root={root}", f"dataset.classes=[{','.join(names)}]", "dataset.image_size=[32,32]"]


def _table(root: Path) -> None:
    """labels.csv of a Decathlon folder's cases."""
    entries = json.loads((root / "dataset.json").read_text())["training"]
    with (root / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "mask"])
        rows.writerows([entry["image"], entry["label"]] for entry in entries)


@pytest.mark.parametrize("experiment", paths.options("experiment"))
def test_an_experiment_trains_and_is_evaluated_on_small_data(
    experiment: str, layouts: SimpleNamespace, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = _small_data(experiment, layouts, tmp_path, request)
    quick = ["debug=fast", "trainer=cpu", "trainer.precision=32-true", "trainer.check_val_every_n_epoch=1", "figures=0"]
    run = tmp_path / "run"
    start([f"experiment={experiment}", *data, *quick, "dataset.batch_size=2", f"run_dir={run}"])
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    assert summary["metrics"]
    assert json.loads((run / "result.json").read_text())["run_dir"] == str(run)
    assert {"config.yaml", "split.json", "per_case.csv", "environment.json"} <= {path.name for path in run.iterdir()}
