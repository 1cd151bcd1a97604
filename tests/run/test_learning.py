"""Learning from cases without a label, from the command to the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from compared import checkpoint, same
from forks import warm
from safetensors.torch import load_file

from medexp.errors import UserError
from medexp.run.check import check
from medexp.run.evaluate import evaluate
from medexp.run.export import export
from medexp.run.predict import predict
from medexp.run.train import start
from medexp.tasks.base import Task

FEW = ["dataset.labelled=2", "dataset.batch_size=1", "dataset.unlabelled.per_batch=2", "model.dropout=0.2"]
WAYS = {
    "mean_teacher": ["learning=mean_teacher", "learning.ramp_up=3", "learning.weight=5", "learning.decay=0.7"],
    "pseudo_labels": ["learning=pseudo_labels", "learning.threshold=0.3"],
    "cross_pseudo": ["learning=cross_pseudo", "learning.ramp_up=3"],
}


class Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


@pytest.fixture(scope="module")
def run(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [*tiny, *FEW, *WAYS["mean_teacher"], f"run_dir={tmp_path_factory.mktemp('runs') / 'teacher'}"]
    return Path(start([*words, "figures=1"])["run_dir"])


def test_the_split_says_who_had_no_label_and_the_log_how_many(run: Path) -> None:
    split = json.loads((run / "split.json").read_text())
    assert list(split) == ["train", "val", "test", "unlabelled"]
    assert len(split["train"]) == 2
    assert len(split["unlabelled"]) > 2
    assert not set(split["unlabelled"]) & {case for part in ("train", "val", "test") for case in split[part]}
    assert f"2 training cases with labels, {len(split['unlabelled'])} without" in (run / "train.log").read_text()


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_was_killed_within_an_epoch_goes_on_bit_by_bit(
    way: str, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*tiny, *FEW, *WAYS[way], "callbacks.checkpoint.every_n_train_steps=1", "dataset.num_workers=1"]
    whole = Path(start([*words, f"run_dir={tmp_path / 'whole'}"])["run_dir"])
    original = Task.on_train_batch_start

    def dies(task: Task, batch: Any, batch_idx: int) -> None:
        if task.global_step == 2:
            monkeypatch.setattr(Task, "on_train_batch_start", original)
            raise Killed
        original(task, batch, batch_idx)

    monkeypatch.setattr(Task, "on_train_batch_start", dies)
    with pytest.raises(Killed):
        start([*words, f"run_dir={tmp_path / 'run'}"])
    assert 0 < checkpoint(tmp_path / "run")["global_step"] <= 2 < checkpoint(whole)["global_step"]
    start([f"resume={tmp_path / 'run'}"])
    same(tmp_path / "run", whole)


def test_labels_of_unlabelled_cases_reach_nobody(run: Path, tiny: list[str], phantom_2d: Path, tmp_path: Path) -> None:
    """Replaced by values that no class has, they change not a bit of what is learnt."""
    root = Path(shutil.copytree(phantom_2d, tmp_path / "phantom"))
    for case in json.loads((run / "split.json").read_text())["unlabelled"]:
        (path,) = (root / "labelsTr").glob(f"{case}.*")
        image: Any = nib.load(path)
        nib.save(nib.Nifti1Image(np.full(image.shape, 99, np.uint8), image.affine), path)
    words = [*tiny, *FEW, *WAYS["mean_teacher"], f"dataset.root={root}", "dataset.split.stratify=false"]
    given = [f"dataset.split.file={run / 'split.json'}", "dataset.labelled=null"]
    other = Path(start([*words, *given, f"run_dir={tmp_path / 'run'}"])["run_dir"])
    assert (other / "split.json").read_text() == (run / "split.json").read_text()
    left, right = (checkpoint(one)["state_dict"] for one in (other, run))
    assert [name for name, value in left.items() if not torch.equal(value, right[name])] == []


def test_the_teacher_is_evaluated_predicts_and_is_given_away(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    evaluate(run, None, tmp_path / "again")
    assert (tmp_path / "again/per_case.csv").read_text() == (run / "per_case.csv").read_text()
    image = sorted((phantom_2d / "imagesTr").iterdir())[0]
    released = export(run, tmp_path / "released")
    maps = []
    for place, name in ((run, "a.nii.gz"), (released, "b.nii.gz")):
        predict(place, image, tmp_path / name)
        maps.append(np.asarray(nib.load(tmp_path / name).dataobj))  # type: ignore[attr-defined]
    assert np.array_equal(*maps)
    given = load_file(released / "weights.safetensors")
    teacher = checkpoint(run, "best")["state_dict"]
    assert all(name.startswith("net.") for name in given)
    assert all(torch.equal(value, teacher[f"learning.teacher.{name[4:]}"]) for name, value in given.items())


def test_weights_to_begin_with_are_those_of_the_teacher(run: Path, tiny: list[str], tmp_path: Path) -> None:
    words = [*tiny, f"init.weights={run}", "trainer.max_epochs=1", "optimizer.lr=1e-12"]
    other = Path(start([*words, f"run_dir={tmp_path / 'run'}"])["run_dir"])
    teacher, found = checkpoint(run, "best")["state_dict"], checkpoint(other)["state_dict"]
    name = next(name for name in found if name.startswith("net.") and found[name].ndim > 1)
    torch.testing.assert_close(found[name], teacher[f"learning.teacher.{name[4:]}"], atol=1e-6, rtol=0)


def test_other_data_that_hold_unlabelled_cases_are_known_as_seen(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    summary = evaluate(run, str(phantom_2d), tmp_path / "other")
    split = json.loads((run / "split.json").read_text())
    assert summary["n_seen_in_training"] == sum(len(split[part]) for part in ("train", "val", "unlabelled"))


def test_a_resumed_run_keeps_who_is_labelled(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    with pytest.raises(UserError, match=r"dataset\.labelled: a resumed run keeps its split"):
        start([f"resume={copy}", "dataset.labelled=3"])


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_learn_what_one_learns_from_as_many_cases(way: str, tiny: list[str], tmp_path: Path) -> None:
    """Both ranks end with the same networks; each step saw other cases on each."""
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    done = warm("train", *tiny, *FEW, *WAYS[way], *ranks, f"run_dir={tmp_path / 'run'}")
    assert (done.returncode, done.stderr) == (0, "")
    table = pd.read_csv(tmp_path / "run/metrics.csv").groupby("epoch").first()
    assert table.notna().all(axis=None)
    split = json.loads((tmp_path / "run/split.json").read_text())
    assert checkpoint(tmp_path / "run")["global_step"] == 2 * (-(-len(split["unlabelled"]) // 2) // 2)


def test_cases_that_a_table_lists_without_a_class_are_learnt_from(
    layouts: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = layouts.pictures(tmp_path / "pictures", ["benign", "malignant"], each=10, size=32)
    lines = (root / "labels.csv").read_text().splitlines()
    known = [line if number % 4 else line.rsplit(",", 1)[0] + "," for number, line in enumerate(lines[1:])]
    (root / "labels.csv").write_text("\n".join([lines[0], *known]) + "\n")
    words = ["experiment=classification/csv", f"dataset.root={root}", "dataset.classes=[benign,malignant]"]
    words += [
        "dataset.image_size=[32,32]",
        "model=simple_cnn",
        "figures=0",
        "trainer.max_epochs=1",
        "dataset.batch_size=4",
    ]
    with pytest.raises(UserError, match="5 empty cells"):
        start([*words, f"run_dir={tmp_path / 'refused'}"])
    run = Path(start([*words, "learning=pseudo_labels", f"run_dir={tmp_path / 'run'}"])["run_dir"])
    split = json.loads((run / "split.json").read_text())
    assert len(split["unlabelled"]) == 5
    assert sum(map(len, split.values())) == 20
    assert check([*words, "learning=pseudo_labels"]) == 0
    assert "unlabelled" in capsys.readouterr().out


# Wrong labels


@pytest.fixture(scope="module")
def noisy(layouts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = layouts.pictures(tmp_path_factory.mktemp("pictures") / "set", ["benign", "malignant"], each=12, size=32)
    words = ["experiment=classification/image_folder", f"dataset.root={root}", "dataset.classes=[benign,malignant]"]
    words += [
        "dataset.image_size=[32,32]",
        "model=simple_cnn",
        "figures=0",
        "trainer.max_epochs=2",
        "dataset.batch_size=4",
    ]
    return [*words, "dataset.label_noise=0.4", "learning=co_teaching", "learning.ramp_up=3", "learning.forget_rate=0.4"]


def test_wrong_labels_are_listed_and_none_is_tested_with(noisy: list[str], tmp_path: Path) -> None:
    run = Path(start([*noisy, f"run_dir={tmp_path / 'run'}"])["run_dir"])
    table, split = pd.read_csv(run / "noisy_labels.csv"), json.loads((run / "split.json").read_text())
    assert set(table["case_id"]) < set(split["train"])
    assert 0 < len(table) < len(split["train"])
    assert (table["class"] != table["given"]).all()
    assert all(case.startswith(name) for case, name in zip(table["case_id"], table["class"], strict=True))
    tested = pd.read_csv(run / "per_case.csv")
    truth = next(column for column in tested if column in ("target", "label", "class"))
    assert all(str(case).startswith(str(name)) for case, name in zip(tested["case_id"], tested[truth], strict=True))
    assert (
        f"{len(table)} of {len(split['train'])} training cases were given a wrong class"
        in (run / "train.log").read_text()
    )


def test_co_teaching_goes_on_bit_by_bit(noisy: list[str], tmp_path: Path) -> None:
    whole = Path(start([*noisy, f"run_dir={tmp_path / 'whole'}"])["run_dir"])
    start([*noisy, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"])
    start([f"resume={tmp_path / 'run'}", "trainer.max_epochs=2"])
    left, right = (checkpoint(one)["state_dict"] for one in (tmp_path / "run", whole))
    assert any(name.startswith("learning.other.") for name in left)
    assert [name for name, value in left.items() if not torch.equal(value, right[name])] == []
