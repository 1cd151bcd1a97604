"""Localisation from a run folder: scores beside chance, maps on the source grid, new images, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medexp.cli import main
from medexp.errors import UserError
from medexp.run import folder
from medexp.run.localisation.arguments import show
from medexp.run.localise import draw, localise
from medexp.run.train import start


@pytest.fixture(scope="module")
def run(phantom_2d: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of lesions, hardly trained."""
    into = tmp_path_factory.mktemp("runs") / "presence"
    data = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "trainer.max_epochs=2", "figures=1"]
    start(["experiment=classification/phantom_presence_2d", *data, "model.channels=[4,8]", f"run_dir={into}"])
    return into


@pytest.fixture(scope="module")
def summary(run: Path) -> dict:
    return localise(run)


def test_scores_stand_beside_those_of_what_knows_nothing(run: Path, summary: dict) -> None:
    assert summary == folder.read_json(run / "localisation" / folder.SUMMARY)
    assert summary["layers"] == ["features"]
    assert list(summary["chance"]) == ["untrained", "centre", "random", "uniform"]
    table = pd.read_csv(run / "localisation" / folder.PER_CASE)
    assert len(table) == summary["cases"]
    for name in ("pointing", "average_precision", "iou", "box_recall_10"):
        assert table[name].between(0, 1).all()
        assert summary["metrics"][name]["mean"] == pytest.approx(table[name].mean())
        assert summary["chance"]["uniform"][name]["mean"] == pytest.approx(table[f"{name}_uniform"].mean())
        gap = (table[name] - table[f"{name}_centre"]).mean()
        assert summary["above_chance"]["centre"][name]["mean"] == pytest.approx(gap)


def test_the_table_shows_how_far_above_chance_the_network_is(summary: dict, capsys) -> None:
    show(summary)
    means, gaps = capsys.readouterr().out.split("the network above")
    assert "uniform" in means
    gap = summary["above_chance"]["centre"]["iou"]
    assert f"{gap['mean']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})" in gaps
    assert "boxes" not in gaps  # more of them is not better
    assert "attention" not in gaps


def test_as_many_maps_are_drawn_as_there_are_up_to_twelve(run: Path, summary: dict) -> None:
    assert len(list((run / "localisation" / "figures").iterdir())) == min(summary["cases"], 12) > 1  # figures=1


def test_only_cases_with_the_class_are_scored(run: Path, summary: dict, phantom_2d: Path) -> None:
    known = pd.read_csv(phantom_2d / "cases.csv").set_index("case_id")["presence"]
    test = folder.read_json(run / folder.SPLIT)["test"]
    found = pd.read_csv(run / "localisation" / folder.PER_CASE)["case_id"].tolist()
    assert found == [case for case in test if known[case] == "lesion"]


def test_maps_lie_on_the_grid_of_their_images(run: Path, summary: dict, phantom_2d: Path) -> None:
    case = pd.read_csv(run / "localisation" / folder.PER_CASE)["case_id"][0]
    drawn = nib.load(run / "localisation" / "maps" / f"{case}_lesion.nii.gz")
    image = nib.load(phantom_2d / "imagesTr" / f"{case}.nii.gz")
    assert drawn.shape == image.shape
    assert np.allclose(drawn.affine, image.affine)
    values = np.asarray(drawn.dataobj)
    assert 0 <= values.min() < values.max() <= 1
    assert list((run / "localisation" / "figures").glob("*_lesion.png"))


def test_a_threshold_that_is_given_is_taken(run: Path, tmp_path: Path) -> None:
    found = localise(run, output=tmp_path / "out", method="grad_cam_pp", layer=["features.0"], threshold=0.4)
    assert found["thresholds"]["network"] == 0.4
    assert (found["method"], found["layers"]) == ("grad_cam_pp", ["features.0"])


def test_new_images_have_maps_and_a_table(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    image = sorted((phantom_2d / "imagesTr").glob("*.nii.gz"))[0]
    shutil.copy(image, tmp_path / "scan.nii.gz")
    draw(run, tmp_path / "scan.nii.gz", tmp_path / "maps")
    table = pd.read_csv(tmp_path / "maps" / "maps.csv")
    assert table["class"].tolist() == ["lesion"]
    values = np.asarray(nib.load(tmp_path / "maps" / table["map"][0]).dataobj)
    peak = tuple(map(int, table["peak"][0].split()))
    assert values[peak] == values.max()


def test_an_unreadable_image_does_not_cost_the_maps_of_others(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for place, image in enumerate(sorted((phantom_2d / "imagesTr").glob("*.nii.gz"))[:2]):
        shutil.copy(image, scans / f"b{place}.nii.gz")
    (scans / "a.nii.gz").write_bytes((scans / "b0.nii.gz").read_bytes()[:100])
    with pytest.raises(UserError, match=r"1 of 3 cases cannot be used\n  case a: "):
        draw(run, scans, tmp_path / "maps")
    assert pd.read_csv(tmp_path / "maps" / "maps.csv")["case_id"].tolist() == ["b0", "b1"]


def test_maps_do_not_go_among_the_images(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    below = tmp_path / "scans" / "one"
    below.mkdir(parents=True)
    shutil.copy(sorted((phantom_2d / "imagesTr").glob("*.nii.gz"))[0], below / "scan.nii.gz")
    (tmp_path / "link").symlink_to(below)
    for source, output in (
        (below, below), (tmp_path / "scans", tmp_path / "scans"),
        (below / "scan.nii.gz", below), (below, tmp_path / "link"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=rf"--output: {output} holds the images.*; give another folder"):
            draw(run, source, output)
    assert [path.name for path in (tmp_path / "scans").rglob("*.*")] == ["scan.nii.gz"]


def test_data_without_masks_are_sent_to_input(run: Path, phantom_2d: Path, tmp_path: Path, layouts) -> None:
    bare = tmp_path / "bare"
    root = layouts.pictures(tmp_path / "pictures", ["benign", "malignant"], size=16)
    start(
        [
            "experiment=classification/image_folder", f"dataset.root={root}", "dataset.classes=[benign,malignant]",
            "dataset.image_size=[16,16]", "model=simple_cnn", "model.channels=[4]", "debug=fast", f"run_dir={bare}",
        ]
    )  # fmt: skip
    with pytest.raises(UserError, match="no masks and no boxes; give --input"):
        localise(bare)
    draw(bare, root / "benign", tmp_path / "maps")
    assert len(list((tmp_path / "maps").glob("*.png"))) == 6


def test_a_run_folder_is_no_place_for_maps(run: Path) -> None:
    before = (run / "summary.json").read_text()
    with pytest.raises(UserError, match=r"--output: .* is a run folder"):
        localise(run, output=run)
    assert (run / "summary.json").read_text() == before


def test_a_run_without_classes_of_images_is_refused(phantom_2d: Path, tmp_path: Path, capsys) -> None:
    into = tmp_path / "segmentation"
    data = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "debug=fast"]
    start(["experiment=segmentation/phantom_2d", *data, "figures=0", f"run_dir={into}"])
    assert main(["localise", str(into)]) == 2
    assert f"{into}: its model gives no classes of whole images (mask)" in capsys.readouterr().err


def test_mistakes_on_the_command_line_are_named(run: Path, capsys) -> None:
    for words, said in (
        (["--input", "x"], "--output: give a folder"),
        (["--threshold", "2"], "--threshold: 2.0 is not between 0 and 1"),
        (["--method", "cams"], "did you mean 'cam'"),
        (["--layer", "feature"], "did you mean 'features'"),
    ):
        assert main(["localise", str(run), *words]) == 2
        assert said in capsys.readouterr().err


def test_attention_of_bags_is_scored_by_slice(phantom: Path, tmp_path: Path, capsys) -> None:
    into = tmp_path / "bags"
    data = [f"dataset.root={phantom}", "dataset.source.patients=10", "dataset.image_size=[16,16,12]", "figures=1"]
    net = ["model.net.channels=[4]", "model.features=8", "trainer.max_epochs=1"]
    start(["experiment=classification/phantom_mil", *data, *net, f"run_dir={into}"])
    found = localise(into)
    assert (found["method"], found["layers"]) == ("attention", [])
    table = pd.read_csv(into / "localisation" / folder.PER_CASE)
    assert table["instance_auroc"].dropna().between(0, 1).all()
    assert found["metrics"]["instance_auroc"]["mean"] == pytest.approx(table["instance_auroc"].mean())
    assert found["chance"]["untrained"]["instance_auroc"]["n"] == found["metrics"]["instance_auroc"]["n"]
    assert "instance_auroc" not in found["chance"]["centre"]
    assert found["chance"]["uniform"]["instance_auroc"]["mean"] == 0.5
    gap = (table["instance_auroc"] - table["instance_auroc_untrained"]).mean()
    assert found["above_chance"]["untrained"]["instance_auroc"]["mean"] == pytest.approx(gap)
    show(found)
    out = capsys.readouterr().out
    assert "instance_pointing" in out
    assert "box_recall" not in out
    assert "attention is of whole slices: scores of voxels" in out


def test_attention_is_refused_where_there_are_no_bags(run: Path) -> None:
    with pytest.raises(UserError, match="attention, but SimpleCNN is none of bags"):
        localise(run, method="attention")
