"""`medexp check`: what it says, what it writes, and how cases with errors are left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medexp.cli import main
from medexp.errors import Faults, UserError
from medexp.run.check import check

CLASSES = ["healthy", "ill"]


@pytest.fixture
def pictures(tmp_path: Path, layouts: SimpleNamespace) -> Path:
    """Twelve sound pictures of two classes."""
    return Path(layouts.pictures(tmp_path / "pictures", CLASSES))


def words(root: Path, *more: str) -> list[str]:
    data = [f"dataset.root={root}", f"dataset.classes=[{','.join(CLASSES)}]", "dataset.image_size=[32,32]"]
    return ["experiment=classification/csv", *data, *more]


def double(root: Path, name: str, other: str) -> None:
    (root / other).write_bytes((root / name).read_bytes())


def in_parts(root: Path, **parts: str) -> None:
    """Gives every picture a part: train, where none is named."""
    lines = (root / "labels.csv").read_text().splitlines()
    rows = [f"{line},{parts.get(Path(line.split(',')[0]).stem, 'train')}" for line in lines[1:]]
    (root / "labels.csv").write_text("\n".join([f"{lines[0]},split", *rows]) + "\n")


def reported(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict]:  # type: ignore[type-arg]
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("report: ")]
    return out, json.loads(Path(line.removeprefix("report: ")).read_text())


def test_a_sound_data_set_is_said_to_be_so_and_nothing_is_written_here(
    tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *tiny]) == 0
    out = capsys.readouterr().out
    assert "config: sound" in out
    assert "cases of 12 patients" in out
    assert not list(Path().iterdir())


def test_every_problem_of_a_config_is_listed(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *tiny, "model.chanels=[4]", "optimizer.lrr=1"]) == 2
    error = capsys.readouterr().err
    assert "2 problems in experiment=segmentation/phantom_2d" in error
    assert "did you mean 'channels'" in error
    assert "optimizer.lrr" in error


def test_cases_classes_and_geometry_are_shown_and_reported(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(pictures / "ill" / "ill0.png")
    in_parts(pictures, healthy4="val", ill4="val", healthy5="test")
    assert main(["check", *words(pictures, "dataset.source.split=split")]) == 0
    out, report = reported(capsys)
    assert report["cases"] == 12
    assert report["parts"] == {"train": 9, "val": 2, "test": 1}
    assert report["classes"] == {
        "healthy": {"train": 4, "val": 1, "test": 1},
        "ill": {"train": 5, "val": 1, "test": 0},
    }
    assert report["geometry"]["shape"] == {"min": [64, 64], "median": [64, 64], "max": [64, 64]}
    assert report["errors"] == []
    assert report["warnings"] == {
        "constant image": ["case ill_ill0: ill/ill0.png: every voxel has the same value"],
        "class": ["class ill: no case in test (cases: train 5, val 1)"],
    }
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert ["healthy", "4", "1", "1"] in rows
    assert ["shape (voxels)", "64 x 64", "64 x 64", "64 x 64"] in rows
    assert "1 warning: constant image\n  case ill_ill0: " in out
    assert out.splitlines()[-1].endswith("; 2 warnings")


def test_the_first_warnings_of_a_kind_are_shown_and_all_are_reported(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(6):
        Image.fromarray(np.full((64, 64), index, np.uint8)).save(pictures / "ill" / f"ill{index}.png")
    assert check(words(pictures), report=tmp_path / "new" / "report.json") == 0
    out = capsys.readouterr().out
    assert "6 warnings: constant image\n" in out
    assert out.count("every voxel has the same value") == 3
    assert "  ... and 3 more (all in the report)\n" in out
    assert len(json.loads((tmp_path / "new" / "report.json").read_text())["warnings"]["constant image"]) == 6


def test_no_patient_is_named_in_what_is_written(pictures: Path, tmp_path: Path) -> None:
    lines = (pictures / "labels.csv").read_text().splitlines()
    rows = [f"{line},SMITH^JOHN{index // 2}" for index, line in enumerate(lines[1:])]
    (pictures / "labels.csv").write_text("\n".join([f"{lines[0]},patient", *rows]) + "\n")
    (pictures / "ill" / "ill0.png").write_bytes(b"")
    given = words(pictures, "dataset.source.patient=patient")
    assert check(given, exclude_bad=tmp_path / "out.txt", report=tmp_path / "report.json") == 0
    assert "SMITH" not in (tmp_path / "report.json").read_text() + (tmp_path / "out.txt").read_text()


def test_a_report_that_cannot_be_written_is_named(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--report: cannot write to .*report\.json"):
        check(words(pictures), report=tmp_path / "file" / "report.json")


def test_cases_with_errors_are_excluded_with_their_reason_and_the_rest_is_sound(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "ill" / "ill0.png").write_bytes(b"")
    (pictures / "healthy" / "healthy3.png").write_text("<html>")
    given = words(pictures)
    with pytest.raises(Faults, match="2 faults in 12 cases"):
        check(given)
    assert not list(Path().iterdir())
    assert check(given, exclude_bad=Path("excluded.txt")) == 0
    assert "excluded: 2 cases, beside 0 before; go on with dataset.exclude=excluded.txt" in capsys.readouterr().out
    first, second = Path("excluded.txt").read_text().splitlines()
    assert first.startswith("healthy_healthy3  # ")
    assert "cannot be read as an image" in first
    assert second.startswith("ill_ill0  # ")
    assert "is empty (0 bytes); copy it again" in second
    assert main(["check", *given, "dataset.exclude=excluded.txt"]) == 0
    assert reported(capsys)[1]["cases"] == 10


def test_an_exclusion_list_is_added_to_and_never_lost(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "ill" / "ill0.png").write_bytes(b"")
    Path("mine.txt").write_text("# blurred\nill_ill1  # by eye\n")
    given = words(pictures, "dataset.exclude=mine.txt")
    assert check(given, exclude_bad=Path("all.txt")) == 0
    assert [line.split("  #")[0] for line in Path("all.txt").read_text().splitlines()] == ["ill_ill1", "ill_ill0"]
    (pictures / "ill" / "ill2.png").write_bytes(b"")
    assert check(words(pictures), exclude_bad=Path("all.txt")) == 0
    ids = [line.split("  #")[0] for line in Path("all.txt").read_text().splitlines()]
    assert ids == ["ill_ill1", "ill_ill0", "ill_ill2"]
    assert "by eye" in Path("all.txt").read_text()
    before = Path("all.txt").read_text()
    for name in ("ill0", "ill2"):
        double(pictures, "ill/ill3.png", f"ill/{name}.png")
    capsys.readouterr()
    check(words(pictures, "dataset.exclude=all.txt"), exclude_bad=Path("all.txt"))
    assert "no case has an error; nothing was written" in capsys.readouterr().out
    assert Path("all.txt").read_text() == before


def test_a_list_of_another_data_set_is_not_overwritten(pictures: Path) -> None:
    (pictures / "ill" / "ill0.png").write_bytes(b"")
    Path("excluded.txt").write_text("liver_12\n")
    with pytest.raises(UserError, match=r"excluded\.txt names 1 cases that are not in .* \(e\.g\. liver_12\)"):
        check(words(pictures), exclude_bad=Path("excluded.txt"))
    assert Path("excluded.txt").read_text() == "liver_12\n"


def test_one_image_in_two_parts_stops_and_is_mended_by_leaving_out_all_but_the_test_case(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    double(pictures, "ill/ill0.png", "ill/ill5.png")
    double(pictures, "healthy/healthy0.png", "healthy/healthy4.png")
    in_parts(pictures, healthy4="val", ill4="val", healthy5="test", ill5="test")
    given = words(pictures, "dataset.source.split=split")
    assert main(["check", *given]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error == [
        f"medexp: 2 faults in 12 cases of {pictures}",
        "  cases healthy_healthy0 (train), healthy_healthy4 (val): the same image is in 2 parts of the split",
        "  cases ill_ill0 (train), ill_ill5 (test): the same image is in 2 parts of the split",
    ]
    assert check(given, exclude_bad=Path("out.txt")) == 0
    assert Path("out.txt").read_text().splitlines() == [
        "healthy_healthy0  # the same image as case healthy_healthy4 of val, here in train",
        "ill_ill0  # the same image as case ill_ill5 of test, here in train",
    ]
    assert main(["check", *given, "dataset.exclude=out.txt"]) == 0


def test_a_patient_in_two_parts_is_said_beside_all_bad_cases_and_remains(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ("train", "train", "train", "train", "val", "test")
    patients = ("p", "q", "r", "s", "t", "p")  # of healthy and ill alike: patient p is in train and in test
    rows = [
        f"{name}/{name}{index}.png,{name},{name} {patient},{part}"
        for name in CLASSES
        for index, (patient, part) in enumerate(zip(patients, parts, strict=True))
    ]
    (pictures / "labels.csv").write_text("\n".join(["image,label,patient,split", *rows]) + "\n")
    (pictures / "ill" / "ill1.png").write_bytes(b"")
    options = words(pictures, "dataset.source.split=split", "dataset.source.patient=patient")
    assert main(["check", *options]) == 2
    error = capsys.readouterr().err
    assert "case ill_ill1: " in error
    assert "one patient is in train (case healthy_healthy0) and in test (case healthy_healthy5)" in error
    with pytest.raises(Faults) as caught:
        check(options, exclude_bad=Path("out.txt"))
    assert not [problem for problem in caught.value.problems if "ill_ill1" in problem]
    assert [line.split("  #")[0] for line in Path("out.txt").read_text().splitlines()] == ["ill_ill1"]


def test_a_scan_is_excluded_whole_where_its_slices_are_the_cases(
    tmp_path: Path, layouts: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    root = layouts.msd(tmp_path / "scans", cases=8, classes=2)
    label = root / "labelsTr" / "case_003.nii.gz"
    values = np.asarray(nib.load(label).dataobj).copy()
    values[0, 0, 4:7] = 255
    nib.save(nib.Nifti1Image(values, nib.load(label).affine), label)
    data = ["dataset=msd", f"dataset.root={root}", "dataset.classes=[background,box]", "dataset.patch_size=[16,16]"]
    given = ["experiment=segmentation/phantom_2d", *data, "dataset.spatial_dims=2", "dataset.plane=axial"]
    with pytest.raises(Faults) as caught:
        check(given)
    named = [problem.split(": ")[0] for problem in caught.value.problems]
    assert named == ["case case_003_0004", "case case_003_0005", "case case_003_0006"]
    assert check(given, exclude_bad=Path("out.txt")) == 0
    (line,) = Path("out.txt").read_text().splitlines()
    assert line.startswith("case_003  # case_003_0004: labelsTr/case_003.nii.gz: label values 255 (1 voxels)")
    capsys.readouterr()
    assert main(["check", *given, "dataset.exclude=out.txt"]) == 0
    assert reported(capsys)[1]["cases"] == 7 * 20


def test_files_may_be_named_on_the_command_line_or_not(pictures: Path) -> None:
    (pictures / "ill" / "ill0.png").write_bytes(b"")
    given = words(pictures)
    assert main(["check", *given, "--exclude-bad", "bad.txt", "--report", "report.json"]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["bad.txt", "report.json"]
    assert main(["check", "--exclude-bad", *given]) == 0  # the word after the option is an override, no file
    assert Path("excluded.txt").read_text() == Path("bad.txt").read_text()


@pytest.mark.real_data
def test_the_pictures_of_mednist_are_checked_within_seconds(
    real_data: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = real_data("mednist")
    assert main(["check", "experiment=classification/mednist", f"dataset.root={root}"]) == 0
    _, report = reported(capsys)
    assert report["cases"] == 600
    assert report["warnings"] == {
        "constant image": ["case HeadCT_002508: HeadCT/002508.jpeg: every voxel has the same value"]
    }
