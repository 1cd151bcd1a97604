"""Several runs as one model: the mean of their probabilities on the source grid."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medexp.cli import main
from medexp.errors import UserError
from medexp.run import consensus, ensemble, folder
from medexp.run.evaluate import evaluate
from medexp.run.predict import predict
from medexp.run.train import start

PLANES = ("axial", "coronal")


@pytest.fixture(scope="module")
def planes(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of runs on slices, one with neighbours."""
    made = []
    for plane in PLANES:
        data = [f"dataset.root={phantom}", "dataset.source.patients=10", f"dataset.plane={plane}"]
        near = ["dataset.neighbours=1", "dataset.in_channels=3"] if plane == "axial" else []
        net = [
            "model.channels=[4,8]",
            "model.strides=[2]",
            "inferer.divisible_by=2",
            "figures=1",
            "trainer.max_epochs=1",
        ]
        run = tmp_path_factory.mktemp("runs") / plane
        start(["experiment=segmentation/phantom_slices", *data, *near, *net, f"run_dir={run}"])
        made.append(run)
    return made


def test_a_run_beside_its_copy_scores_as_it_does_alone(trained_3d: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_3d, tmp_path / "copy")
    found = consensus.evaluate([trained_3d, tmp_path / "copy"], output=tmp_path / "out")
    alone = folder.read_json(trained_3d / folder.SUMMARY)
    assert found["metrics"] == alone["metrics"]
    own, both = (pd.read_csv(path / folder.PER_CASE) for path in (trained_3d, tmp_path / "out"))
    pd.testing.assert_frame_equal(own, both)


def test_planes_and_volumes_together_beside_each_alone(planes: list[Path], trained_3d: Path, tmp_path: Path) -> None:
    runs = [*planes, trained_3d]
    summary = consensus.evaluate(runs, output=tmp_path)
    table = pd.read_csv(tmp_path / consensus.TABLE).set_index("run")
    assert list(table.index) == ["together", *map(str, runs)]
    for run in runs:
        alone = folder.read_json(run / folder.SUMMARY)
        assert table.loc[str(run), "dice"] == pytest.approx(alone["metrics"]["dice"]["mean"], abs=1e-6)
    assert summary["cases"] == len(pd.read_csv(planes[0] / folder.PER_CASE))
    assert list((tmp_path / "figures").glob("*.png"))


def test_the_map_is_that_of_the_mean_of_probabilities(
    trained_3d: Path, planes: list[Path], phantom: Path, tmp_path: Path
) -> None:
    scan = sorted((phantom / "imagesTr").glob("*.nii.gz"))[0]
    main(
        ["predict", str(trained_3d), *map(str, planes), "--input", str(scan), "--output", str(tmp_path / "mask.nii.gz")]
    )
    among = ensemble.members([trained_3d, *planes], "best")
    record = next(record for record in among[0].data.records() if record.files[0].name == scan.name)
    chances = []
    for member in among:
        (slices,) = ensemble.expanded(member, [record]).values()
        chances.append(ensemble.whole(member.outcomes(slices, labelled=False)))
        np.testing.assert_allclose(chances[-1].sum(axis=0), 1, atol=1e-3)
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.get_fdata(), np.mean(chances, axis=0).argmax(axis=0))
    np.testing.assert_array_equal(mask.affine, nib.load(scan).affine)


def test_classifiers_of_two_seeds(phantom_2d: Path, tmp_path: Path) -> None:
    data = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "trainer.max_epochs=1", "figures=1"]
    runs = [tmp_path / f"seed{seed}" for seed in (0, 1)]
    for seed, run in enumerate(runs):
        start(["experiment=classification/phantom_presence_2d", *data, f"seed={seed}", f"run_dir={run}"])
    for run in runs:
        predict(run, phantom_2d / "imagesTr", run / "out.csv")
    consensus.predict(runs, phantom_2d / "imagesTr", tmp_path / "both.csv")
    one, two, both = (pd.read_csv(path) for path in (runs[0] / "out.csv", runs[1] / "out.csv", tmp_path / "both.csv"))
    np.testing.assert_allclose(both["prob_lesion"], (one["prob_lesion"] + two["prob_lesion"]) / 2, atol=2e-6)
    summary = consensus.evaluate(runs, str(phantom_2d), tmp_path / "all")
    assert summary["cases"] == len(both)
    assert all(count > 0 for count in summary["seen"].values())  # the data that they were trained on


def test_cases_that_one_run_has_trained_on_are_not_scored(trained_3d: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained_3d, other)
    split = folder.read_json(other / folder.SPLIT)
    moved = split["test"][0]
    folder.write_json(
        other / folder.SPLIT,
        {**split, "test": split["test"][1:] or [split["val"][0]], "train": [*split["train"], moved]},
    )
    if len(split["test"]) > 1:
        summary = consensus.evaluate([trained_3d, other], output=tmp_path / "out")
        assert summary["cases"] == len(split["test"]) - 1
        assert moved not in list(pd.read_csv(tmp_path / "out" / folder.PER_CASE)["case_id"])
    folder.write_json(other / folder.SPLIT, {"train": split["test"], "val": split["train"], "test": split["val"]})
    with pytest.raises(UserError, match="no case is in the test split of all runs"):
        consensus.evaluate([trained_3d, other], output=tmp_path / "none")


def test_runs_that_do_not_go_together_are_named(trained: dict[str, Any], trained_3d: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained_3d, other)
    config = (other / folder.CONFIG).read_text()
    (other / folder.CONFIG).write_text(config.replace("- lesion", "- tumour"))
    with pytest.raises(UserError, match=r"other: dataset\.classes is .*tumour.* together go runs of the same classes"):
        consensus.evaluate([trained_3d, other])
    with pytest.raises(UserError, match="a run stands twice"):
        consensus.evaluate([trained_3d, trained_3d])
    assert main(["evaluate", str(trained_3d), str(other), "--without", "each"]) == 2


def test_a_single_run_is_evaluated_as_ever(trained_3d: Path, tmp_path: Path) -> None:
    found = evaluate(trained_3d, output=tmp_path)
    assert "members" not in found
