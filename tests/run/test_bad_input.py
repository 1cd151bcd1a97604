from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medexp.cli import main

SIZE = (20, 18, 12)
CASE = "case_002"


def write(root: Path, cases: int = 10) -> Path:
    """A Decathlon folder of boxes in noise."""
    rng = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    entries = []
    for index in range(cases):
        label = np.zeros(SIZE, np.uint8)
        label[4:12, 4:12, 3:9] = 1
        name = f"case_{index:03d}.nii.gz"
        image = rng.normal(0, 0.2, SIZE).astype(np.float32) + label
        nib.save(nib.Nifti1Image(image, np.eye(4)), root / "imagesTr" / name)
        nib.save(nib.Nifti1Image(label, np.eye(4)), root / "labelsTr" / name)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    (root / "dataset.json").write_text(json.dumps({"training": entries}))
    return root


def break_it(root: Path, fault: str) -> None:
    """One fault in case 2."""
    image, label = root / "imagesTr" / f"{CASE}.nii.gz", root / "labelsTr" / f"{CASE}.nii.gz"
    if fault == "missing label":
        label.unlink()
    elif fault == "truncated":
        image.write_bytes(image.read_bytes()[:2000])
    elif fault == "shape":
        nib.save(nib.Nifti1Image(np.zeros((5, 5, 5), np.uint8), np.eye(4)), label)
    elif fault == "class":
        nib.save(nib.Nifti1Image(np.full(SIZE, 7, np.uint8), np.eye(4)), label)
    elif fault == "nan":
        nib.save(nib.Nifti1Image(np.full(SIZE, np.nan, np.float32), np.eye(4)), image)


def words(root: Path, run: Path) -> list[str]:
    net = ["model.channels=[4,8]", "model.strides=[2]", "inferer.divisible_by=2", "trainer.max_epochs=1", "figures=0"]
    data = [f"dataset.root={root}", "dataset.classes=[background,box]", "dataset.patch_size=[8,8,8]"]
    return ["dataset=msd", *data, *net, f"run_dir={run}"]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("missing label", "no such file"),
        ("truncated", "truncated"),
        ("shape", "label shape (5, 5, 5) differs from image shape"),
        ("class", "label values 7"),
        ("nan", "NaN"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "check"])
def test_a_fault_of_a_case_is_named(
    verb: str, fault: str, seen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "data")
    break_it(root, fault)
    assert main([verb, *words(root, tmp_path / "run"), "dataset.split.test=0.1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("medexp: 1 ")
    assert seen in error
    assert CASE in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 2  # a headline and the fault
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("dataset.root=nowhere", "nowhere does not exist"),
        ("dataset.patch_size=[9,9,9]", "model: monai.networks.nets.UNet"),
        ("monitor=val/dise", "'val/dise' is not logged; did you mean 'val/dice'"),
        ("run_dir=in_the_way/run", "cannot write to"),
        ("model.channels=[4]", "model: monai.networks.nets.UNet"),
        ("optimizer.lr=fast", "optimizer.lr: 'fast'"),
        ("dataset.split.val=2", "dataset.split.val"),
        ("model=unett", "did you mean 'unet'"),
        ("optimizer.lr=-1", "optim"),
    ],
)
def test_a_mistake_in_the_config_is_named(
    change: str, seen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in_the_way").write_text("")
    root = write(tmp_path / "data", cases=5)
    assert main(["train", *words(root, tmp_path / "run"), change]) == 2
    error = capsys.readouterr().err
    assert seen in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) <= 2
    assert not (tmp_path / "run").exists()


PRETRAINING, MOCO = "experiment=pretraining/phantom_presence_2d", ["task=pretrain_moco", "loss=info_nce"]
SEMI, RESTORED = "experiment=semi_supervised/phantom_2d", "experiment=translation/hippocampus_super_resolution"


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ([PRETRAINING, *MOCO, "task.queue=-5"], "task.queue: -5"),
        ([PRETRAINING, "task.projector=[]"], "task.projector: []"),
        ([PRETRAINING, "task.probes.knn.neighbours=0"], "task.probes.knn.neighbours: 0"),
        ([PRETRAINING, "loss.temperature=0"], "loss.temperature: 0"),
        (["experiment=diffusion/phantom_2d", "task.timesteps=0"], "task.timesteps: 0"),
        (["experiment=diffusion/phantom_2d", "metrics.test.count=1"], "metrics.test.count: 1"),
        (["experiment=gan/phantom_2d", "task.latent=0"], "task.latent: 0"),
        ([SEMI, "dataset.labelled=1.0"], "dataset.labelled: 1.0"),
        ([SEMI, "learning.weight=-1"], "learning.weight: -1"),
        ([SEMI, "optimizer.lr=-1"], "optimizer.lr: -1 is below 0"),
        ([SEMI, "optimizer.betas=[]"], "optimizer: list index out of range"),
        ([SEMI, "scheduler=constant", "scheduler.schedule.factor=-1"], "scheduler.schedule: Constant multiplicative"),
        ([RESTORED, "degradation.factor=[2,2]"], "degradation.factor: [2, 2]"),
        ([RESTORED, "degradation.factor=[]"], "degradation.factor: []"),
        (["experiment=pretraining/hippocampus_restoration", "degradation.control_points=[]"], "control_points: got []"),
    ],
)
def test_a_check_names_what_constructors_refuse_before_data_is_looked_at(
    words: list[str], seen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *words, "dataset.root=nowhere"]) == 2
    error = capsys.readouterr().err
    assert seen in error
    assert "nowhere" not in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) <= 2


def test_too_few_cases_for_a_split_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "data", cases=2)
    assert main(["train", *words(root, tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "no case is left for" in line


def test_all_faulty_cases_are_found_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "data")
    break_it(root, "class")
    break_it(root, "nan")
    other = root / "imagesTr/case_005.nii.gz"
    other.write_bytes(b"")
    assert main(["check", *words(root, tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "2 faults in 10 cases" in error
    assert CASE in error
    assert "case_005" in error
