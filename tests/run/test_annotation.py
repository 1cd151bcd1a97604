"""Partial labels from the command line: what is not annotated touches neither training nor scores, and full labels are scored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medexp import build
from medexp.run import folder
from medexp.run.evaluate import evaluate
from medexp.run.train import plan, start
from medexp.targets import IGNORED

SMALL = ["model.channels=[4,8]", "model.strides=[2]", "trainer.precision=32-true", "figures=1"]


def rewritten(source: Path, root: Path, spoil: Any) -> Path:
    """A phantom whose label maps were changed by `spoil(label, number)`."""
    shutil.copytree(source, root)
    for number, path in enumerate(sorted((root / "labelsTr").glob("*.nii.gz"))):
        image = nib.load(path)
        label = spoil(np.asarray(image.dataobj).copy(), number)
        nib.save(nib.Nifti1Image(label, image.affine, image.header), path)
    return root


def train(root: Path, into: Path, *more: str, experiment: str = "phantom_2d") -> Path:
    data = [f"dataset.root={root}", "dataset.source.patients=12", "trainer.max_epochs=2", "dataset.batch_size=4"]
    start([f"experiment=segmentation/{experiment}", *data, *SMALL, *more, f"run_dir={into}"])
    return into


def half_open(label: np.ndarray, number: int) -> np.ndarray:
    label[: label.shape[0] // 2] = 9
    return label


def half_wrong(label: np.ndarray, number: int) -> np.ndarray:
    label[: label.shape[0] // 2] = 10
    return label


def test_what_is_ignored_is_in_no_score(phantom_2d: Path, tmp_path: Path) -> None:
    root = rewritten(phantom_2d, tmp_path / "open", half_open)
    run = train(root, tmp_path / "run", "dataset.ignore=9", "loss=partial_dice_ce")
    test = folder.read_json(run / folder.SPLIT)["test"]
    table = pd.read_csv(run / folder.PER_CASE).set_index("case_id")
    lower = {case: np.asarray(nib.load(root / "labelsTr" / f"{case}.nii.gz").dataobj) for case in test}
    whole = {case: np.asarray(nib.load(phantom_2d / "labelsTr" / f"{case}.nii.gz").dataobj) for case in test}
    cfg = folder.load(run)
    data = build.datamodule(cfg)
    for record in data.records():
        if record.case_id not in test:
            continue
        label = data.preparation.read_label(record)
        assert label.ignored
        assert np.array_equal(label.array == IGNORED, lower[record.case_id] == 9)
        assert np.array_equal(label.array[label.array != IGNORED], whole[record.case_id][label.array != IGNORED])
        absent = set(range(1, 4)) - set(np.unique(label.array).tolist())
        for kind in absent:  # it lies in the half that is not annotated, and so there is nothing to find or to miss
            cell = table.loc[record.case_id, f"dice_{cfg['dataset']['classes'][kind]}"]
            assert np.isnan(cell) or cell == 0
    assert list((run / "figures").glob("*.png"))


def test_values_of_what_is_ignored_do_not_matter(phantom_2d: Path, tmp_path: Path) -> None:
    runs = []
    for spoil, value in ((half_open, 9), (half_wrong, 10)):
        root = rewritten(phantom_2d, tmp_path / str(value), spoil)
        run = train(root, tmp_path / f"run{value}", f"dataset.ignore={value}", "loss=partial_dice_ce")
        runs.append((run / "metrics.csv").read_text() + (run / folder.PER_CASE).read_text())
    assert runs[0] == runs[1]


def test_values_outside_of_the_classes_are_still_refused(phantom_2d: Path, tmp_path: Path) -> None:
    root = rewritten(phantom_2d, tmp_path / "wrong", half_wrong)
    with pytest.raises(Exception, match="label values 10"):
        train(root, tmp_path / "run", "dataset.ignore=9", "loss=partial_dice_ce")


@pytest.mark.parametrize("experiment", ["phantom_partial_2d", "phantom_scribbles_2d"])
def test_training_cases_alone_are_annotated_less(experiment: str, phantom_2d: Path) -> None:
    cfg = plan([f"experiment=segmentation/{experiment}", f"dataset.root={phantom_2d}", "dataset.source.patients=12"])
    data = build.datamodule(cfg)
    data.setup()
    trained, validated = ([kept.read("label") for _, kept in data._cases[part]] for part in ("train", "val"))
    assert all(label.max() > 3 for label in trained)
    assert all(label.max() <= 3 for label in validated)
    for _, kept in data._cases["train"]:
        for value, (first, last) in kept.facts["places"].items():
            places = kept.read("places", (slice(first, last),))
            assert (kept.read("label")[0][tuple(places.T)] == int(value)).all()
    assert data.class_counts().sum() < sum(label.size for label in trained)


def test_a_resumed_run_equals_the_unbroken_one(phantom_2d: Path, tmp_path: Path) -> None:
    whole = train(phantom_2d, tmp_path / "whole", experiment="phantom_scribbles_2d")
    half = train(phantom_2d, tmp_path / "half", "trainer.max_epochs=1", experiment="phantom_scribbles_2d")
    start([f"resume={half}", "trainer.max_epochs=2"])
    last = [pd.read_csv(run / "metrics.csv")["train/loss"].dropna().iloc[-1] for run in (whole, half)]
    assert last[0] == last[1]
    scored = [(run / folder.PER_CASE).read_text() for run in (whole, half)]
    assert scored[0] == scored[1]


def test_data_annotated_by_a_file_are_scored_where_they_are(phantom_2d: Path, tmp_path: Path) -> None:
    cases = [path.name.removesuffix(".nii.gz") for path in sorted((phantom_2d / "labelsTr").glob("*.nii.gz"))]
    table = tmp_path / "groups.csv"
    table.write_text("case,group\n" + "".join(f"{case},{number % 2}\n" for number, case in enumerate(cases)))
    run = train(phantom_2d, tmp_path / "run", f"dataset.annotation.file={table}", experiment="phantom_partial_2d")
    scores = pd.read_csv(run / folder.PER_CASE).set_index("case_id")
    for case, row in scores.iterrows():
        of_kidney = cases.index(str(case)) % 2 == 1
        other = [row["dice_liver"], row["dice_lesion"]] if of_kidney else [row["dice_kidney"]]
        assert all(np.isnan(value) or value == 0 for value in other)  # nothing is known that it could overlap with
    assert evaluate(run)["cases"] == len(scores)
