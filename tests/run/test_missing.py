"""What a model loses without each modality: after training, and when asked for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import pandas as pd
import pytest

from medexp.errors import UserError
from medexp.run import folder, missing
from medexp.run.evaluate import evaluate
from medexp.run.predict import predict
from medexp.run.train import start

EARLY = "experiment=segmentation/phantom_two_modalities"


@pytest.fixture(scope="module")
def early(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run on two modalities, trained with dropout of each."""
    run = tmp_path_factory.mktemp("runs") / "early"
    data = [
        f"dataset.root={phantom}",
        "dataset.source.patients=10",
        "dataset.patch_size=[16,16,16]",
        "trainer.max_epochs=2",
    ]
    net = ["model.channels=[4,8]", "model.strides=[2]", "inferer.divisible_by=2", "figures=1"]
    return Path(start([EARLY, *data, *net, f"run_dir={run}"])["run_dir"])


def test_after_training_each_modality_is_taken_away_in_turn(early: Path) -> None:
    table = pd.read_csv(early / missing.TABLE)
    assert list(table["without"]) == ["nothing", "image", "second"]
    summary = folder.read_json(early / folder.SUMMARY)
    assert table["dice"][0] == pytest.approx(summary["metrics"]["dice"]["mean"])
    assert table["lost_dice"].tolist() == pytest.approx((table["dice"][0] - table["dice"]).tolist(), abs=1e-6)
    assert len(set(table["dice"])) == 3
    assert [row["without"] for row in summary["missing_modality"]] == ["nothing", "image", "second"]
    alone = folder.read_json(early / "without_second" / folder.SUMMARY)
    assert alone["metrics"]["dice"]["mean"] == pytest.approx(table["dice"][2])
    assert (early / "figures" / missing.FIGURE).is_file()


def test_asked_for_one_modality_only_that_is_left_out(early: Path, tmp_path: Path) -> None:
    before = pd.read_csv(early / missing.TABLE).set_index("without")
    evaluate(early, output=tmp_path / "out", without=["second"])
    table = pd.read_csv(tmp_path / "out" / missing.TABLE).set_index("without")
    assert list(table.index) == ["nothing", "second"]
    assert table.loc["second", "dice"] == before.loc["second", "dice"]
    with pytest.raises(UserError, match=r"--without: no channel 'third'; allowed: each, 0 \(image\), 1 \(second\)"):
        evaluate(early, output=tmp_path / "out", without=["third"])


def test_a_case_without_a_file_is_predicted_as_one_whose_modality_is_taken_away(
    early: Path, phantom: Path, tmp_path: Path
) -> None:
    case = folder.read_json(early / folder.SPLIT)["test"][0]
    (tmp_path / "in").mkdir()
    shutil.copy(phantom / "imagesTr" / f"{case}.nii.gz", tmp_path / "in" / f"{case}_0000.nii.gz")
    predict(early, tmp_path / "in", tmp_path / "out")
    label = nib.load(phantom / "labelsTr" / f"{case}.nii.gz").get_fdata()
    found = nib.load(tmp_path / "out" / f"{case}.nii.gz").get_fdata()
    row = pd.read_csv(early / "without_second" / folder.PER_CASE).set_index("case_id").loc[case]
    both = 2 * ((found == 1) & (label == 1)).sum() / ((found == 1).sum() + (label == 1).sum())
    assert both == pytest.approx(row["dice_liver"], abs=1e-6)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ({"images": ["{case}/FLAIR_*.nii.gz", "{case}/T1_*.nii.gz"]}, ["FLAIR", "T1"]),
        ({"images": ["t1/{case}.nii.gz", "{case}/*.nii.gz"]}, ["t1", "{case}/*.nii.gz"]),
        ({"suffix": ["T1w", "T2w"]}, ["T1w", "T2w"]),
        ({"image": "image"}, ["channel 0", "channel 1"]),
    ],
)
def test_modalities_are_called_as_the_data_set_calls_them(source: dict[str, Any], names: list[str]) -> None:
    assert missing.names({"dataset": {"source": source, "in_channels": 2}}) == names


def test_a_model_of_one_channel_has_nothing_to_lose(trained: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="--without: the model has one channel"):
        evaluate(Path(trained["run_dir"]), without=["0"])
