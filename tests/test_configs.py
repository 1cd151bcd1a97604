"""Every shipped YAML, found by glob: it says what it is, composes, passes the check; each experiment runs a step."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hosts import asked
from layouts import luna16, measures, sequences
from layouts.object_masks import write_object_masks
from layouts.voc import write_voc

from medexp.config import paths
from medexp.run.train import plan, start

LEAVES = sorted(paths.shipped().rglob("*.yaml"))
SEGMENTATION = ["experiment=segmentation/phantom"]
CLASSIFICATION = ["experiment=classification/phantom_presence_2d"]
TRANSLATION = ["experiment=translation/phantom_denoising"]
SURVIVAL, HAZARDS = ["experiment=survival/phantom"], ["experiment=survival/phantom_hazards"]
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
    "detection/csv": ["dataset.root=x", "dataset.classes=[lesion]"],
    "detection/csv_boxes": ["dataset.root=x", "dataset.classes=[lesion]"],
    "segmentation/dicom_masks": ["dataset.root=x", "dataset.classes=[background,tumour]"],
    "segmentation/bids": ["dataset.root=x", "dataset.classes=[background,lesion]"],
    "segmentation/nnunet": ["dataset.root=x", "dataset.classes=[background,lesion]"],
    "segmentation/nifti_folder": ["dataset.root=x", "dataset.classes=[background,lesion]"],
    "segmentation/object_masks": ["dataset.root=x"],
    "segmentation/csv_masks": ["dataset.root=x", "dataset.classes=[background,tumour]"],
    "regression/csv": ["dataset.root=x", *measures.TABLE],
    "survival/csv_survival": ["dataset.root=x", "dataset.image_size=[32,32]"],
    "translation/nifti_folder": ["dataset.root=x"],
    "semi_supervised/csv": ["dataset.root=x", "dataset.classes=[a,b]", "dataset.image_size=[32,32]"],
    "segmentation/msd": ["dataset.root=x", "dataset.classes=[background,atrium]"],
    "anomaly/csv": ["dataset.root=x", "dataset.classes=[healthy,ill]", "dataset.image_size=[64,64]"],
    "anomaly/csv_masks": ["dataset.root=x", "dataset.classes=[background,lesion]", "dataset.image_size=[64,64]"],
}
# What a model wants of the data, beside its kind.
WANTED = {
    **{f"{kind}_fusion{net}": ["dataset.in_channels=2"] for kind in ("late", "attention") for net in ("", "_unet")},
    "with_covariates": ["dataset.covariates=[age,sex]"],
}
FLAT = ("late_fusion", "attention_fusion", "covariates", "grade")  # experiments on the 2D phantom
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
    if hosts := asked("host", group, option, line):
        return list(hosts)
    if group == "degradation" or "translation" in (option, *line.split()) or option == "restoration":
        second = (
            ["dataset.in_channels=2", "task.out_channels=1", "model.in_channels=1"]
            if option == "other_channels"
            else []
        )
        return [[*TRANSLATION, *second]]
    if "sequence" in line and option != "ms_ljubljana":  # whose sequences are modalities
        return [sequences.host(group, option, line)]
    if of_measures := measures.host(group, option, line):
        return [of_measures]
    if "detection" in line.lower():
        masks = "masks" in option or "from masks" in line
        return [[f"experiment=detection/phantom{'_masks' * masks}", *GIVEN.get(f"detection/{option}", [])]]
    if "survival" in line.lower():
        given = GIVEN.get(f"survival/{option}", [])
        return [[*(HAZARDS if "hazards" in option else SURVIVAL), *given]]
    if group == "dataset":
        return [_dataset_host(option, segments)]
    if group in ("task", "metrics"):
        return [_task_host(group, option)]
    if group == "inferer" and option != "simple":
        return [SEGMENTATION]
    if group == "model":
        host = [*SEGMENTATION, LARGE, "inferer=sliding_window"] if segments else CLASSIFICATION
        return [[*host, *WANTED.get(option, [])]]
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
    if "sequence" in line:
        pytest.skip("reads frames: see tests/models/test_sequence.py")
    if hosts := asked("model", model, line):
        for host in hosts:
            plan(host)
        return
    if model == "restoration":
        plan(["experiment=translation/phantom_denoising", f"model={model}"])
        plan(["experiment=translation/phantom_denoising", f"model={model}", "dataset=phantom_2d"])
        return
    if "multi-task" in line:
        solid = ["dataset.spatial_dims=3", "dataset.image_size=[64,64,64]", "dataset.spacing=null"]
        for given in ([], solid):
            plan(["experiment=multitask/phantom", f"model={model}", *given])
        return
    if "segmentation" in line:
        plan(
            [
                "experiment=segmentation/phantom_2d",
                f"model={model}",
                "dataset.patch_size=[64,64]",
                "inferer=sliding_window",
                *WANTED.get(model, []),
            ]
        )
    else:
        plan(["experiment=classification/phantom_presence", f"model={model}", *WANTED.get(model, [])])


@pytest.mark.parametrize("experiment", paths.options("experiment"))
def test_parts_of_an_experiment_can_be_exchanged(experiment: str) -> None:
    """An experiment sets nothing that only one option of a group knows."""
    host = [f"experiment={experiment}", *GIVEN.get(experiment, [])]
    dense = experiment.startswith(("segmentation", "detection", "transfer", "translation"))
    model, inferer = ("basic_unet", "whole") if dense else ("simple_cnn", "simple")
    if experiment.startswith("sequence"):
        model, inferer = sequences.exchanged(experiment), "simple"
    if experiment.startswith("multitask"):
        model = "dynunet_heads"
    changes = [
        f"model={model}",
        "optimizer=sgd",
        "scheduler=plateau",
        "augmentation=none",
        "trainer=cpu",
        f"inferer={inferer}",
    ]
    pictures = experiment.startswith(("detection/bccd", "detection/dsb2018"))
    flat = pictures or experiment.endswith(("2d", "phantom_slices", "phantom_25d"))
    size = "[64,64]" if flat else "[64,64,64]"
    if own := asked("exchanged", experiment):
        plan([*host, *own])
        return
    plan([*host, *changes, *([f"dataset.patch_size={size}"] if dense else [])])


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
    if own := asked("small_data", experiment, tmp_path, layouts, request):
        return list(own)
    if experiment.startswith("sequence"):
        return sequences.small_data(kind, tmp_path, request)
    if kind.startswith("phantom"):
        flat = kind.endswith(("2d", *FLAT)) or experiment.startswith(("survival", "multitask"))
        name, patients = ("phantom_2d", 12) if flat else ("phantom", 10)
        return [f"dataset.root={request.getfixturevalue(name)}", f"dataset.source.patients={patients}"]
    if experiment.startswith("regression"):
        return measures.small_data(kind, tmp_path, layouts)
    if experiment.startswith("transfer"):
        root = layouts.msd(tmp_path / "msd", classes=3)
        skip = ["dataset.split.skip_train=1"] if kind == "hippocampus_source" else []
        return [f"dataset.root={root}", "dataset.patch_size=[16,16,16]", *skip]
    if experiment.startswith("detection"):
        return _small_boxes(kind, tmp_path)
    if experiment.startswith("translation"):
        return [f"dataset.root={layouts.msd(tmp_path / 'msd', classes=3)}", "dataset.patch_size=[16,16,16]"]
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


def _box_table(root: Path) -> Path:
    """Scans with a bright box each, and boxes.csv."""
    rows = ["image,class,lower_0,lower_1,lower_2,upper_0,upper_1,upper_2"]
    root.mkdir()
    for index in range(10):
        scan = np.random.default_rng(index).normal(0, 1, (20, 18, 22)).astype(np.float32)
        scan[4:9, 5 + index % 3 : 11, 6:12] += 9
        nib.save(nib.Nifti1Image(scan, np.eye(4)), root / f"scan{index}.nii.gz")
        rows.append(f"scan{index}.nii.gz,lesion,4,{5 + index % 3},6,9,11,12")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return root


def _small_boxes(kind: str, root: Path) -> list[str]:
    """Small data with objects, in the layout of the data set of an experiment of detection."""
    if kind == "luna16":
        return [f"dataset.root={luna16.write(root / 'luna16')}", "dataset.patch_size=[16,16,16]"]
    if kind == "csv":
        return [f"dataset.root={_box_table(root / 'csv')}", "dataset.classes=[lesion]", "dataset.patch_size=[16,16,16]"]
    if kind == "bccd":
        cells = {f"cell{i}": [("RBC", 4 + i, 5, 20 + i, 24), ("WBC", 30, 20 + i, 50, 36 + i)] for i in range(10)}
        return [f"dataset.root={write_voc(root / 'voc', cells)}", "dataset.image_size=[32,32]"]
    return [f"dataset.root={write_object_masks(root / 'masks', cases=10)}", "dataset.patch_size=[32,32]"]


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
