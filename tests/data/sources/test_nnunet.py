"""nnU-Net raw folders: cases by name and channel; all that contradicts dataset.json is named at once."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import nnunet as layout

from medexp.data.images import read_image, read_label
from medexp.data.records import Record
from medexp.data.sources import nnunet
from medexp.errors import Faults, UserError
from medexp.run.train import start


def touch(root: Path, *names: str, **content: Any) -> Path:
    """Empty files (a source never opens them) and a description."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return layout.describe(root, **content)


def pair(case: str, *channels: int) -> list[str]:
    return [*(f"imagesTr/{case}_{channel:04d}.nii.gz" for channel in channels), f"labelsTr/{case}.nii.gz"]


def faults(root: Path, **options: Any) -> list[str]:
    with pytest.raises(Faults) as caught:
        nnunet.records(root, **options)
    return [problem.replace(f"{root}/", "") for problem in caught.value.problems]


def test_a_case_is_its_channels_in_order_and_its_label_map(tmp_path: Path) -> None:
    root = touch(tmp_path, *pair("b_0001", 1, 0), *pair("a", 0, 1), "imagesTr/a.json", "imagesTr/._a_0000.nii.gz")
    first, second = nnunet.records(root)
    channels = (root / "imagesTr/a_0000.nii.gz", root / "imagesTr/a_0001.nii.gz")
    assert first == Record("a", channels, root / "labelsTr/a.nii.gz")
    assert second.case_id == "b_0001"
    assert [path.name for path in second.files] == ["b_0001_0000.nii.gz", "b_0001_0001.nii.gz"]


def test_the_patient_stands_in_the_case_id(tmp_path: Path) -> None:
    root = touch(tmp_path, *pair("p1_v1", 0, 1), *pair("p1_v2", 0, 1))
    assert {record.group for record in nnunet.records(root, patient_pattern="^(p[0-9]+)_")} == {"p1"}
    with pytest.raises(UserError, match=r"patient_pattern: 'x\(1\)' finds no group"):
        nnunet.records(root, patient_pattern="x(1)")


def test_a_missing_channel_is_a_fault_or_none(tmp_path: Path) -> None:
    root = touch(tmp_path, *pair("a", 1), *pair("b", 0, 1), *pair("c", 0))
    assert faults(root) == [
        "case a: has no channel 0000; mend it, or set dataset.missing=zero or drop",
        "case c: has no channel 0001; mend it, or set dataset.missing=zero or drop",
    ]
    assert [record.missing for record in nnunet.records(root, allow_missing=True)] == [(0,), (), (1,)]


def test_all_files_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    names = ["imagesTr/odd.nii.gz", "imagesTr/b_0002.nii.gz", "imagesTr/c_0000.nii.gz", "labelsTr/d.nii.gz"]
    allowed = "its name gives no channel of channel_names; CASE_0000.nii.gz to CASE_0001.nii.gz are expected"
    assert faults(touch(tmp_path, *pair("a", 0, 1), *names)) == [
        f"imagesTr/b_0002.nii.gz: {allowed}",
        f"imagesTr/odd.nii.gz: {allowed}",
        "labelsTr/d.nii.gz: a label map without an image",
        "case c: has no label map in labelsTr; mend it, move its images away, or learn from such cases as well "
        "(learning=mean_teacher and the like)",
    ]


def test_images_without_labels_are_left_aside_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, *pair("a", 0, 1), "imagesTs/b_0000.nii.gz", "imagesTs/b_0001.nii.gz")
    with caplog.at_level(logging.INFO, "medexp"):
        assert [record.case_id for record in nnunet.records(root)] == ["a"]
    assert "2 files in imagesTs have no labels and are left aside" in caplog.text


def test_colours_of_a_picture_share_a_file(tmp_path: Path) -> None:
    names = ["imagesTr/a_0000.png", "labelsTr/a.png"]
    colours = {"0": "R", "1": "G", "2": "B"}
    (record,) = nnunet.records(touch(tmp_path, *names, file_ending=".png", channel_names=colours))
    assert [path.name for path in record.files] == ["a_0000.png"]
    assert record.missing == ()


def test_a_list_of_cases_replaces_the_folders(tmp_path: Path) -> None:
    listed = {"x": {"images": ["scans/1/t2.nii.gz", "scans/1/adc.nii.gz"], "label": "scans/1/seg.nii.gz"}}
    root = touch(tmp_path, *(f"scans/1/{name}.nii.gz" for name in ("t2", "adc", "seg")), dataset=listed, numTraining=1)
    (record,) = nnunet.records(root)
    assert record == Record("x", (root / "scans/1/t2.nii.gz", root / "scans/1/adc.nii.gz"), root / "scans/1/seg.nii.gz")
    (root / "scans/1/adc.nii.gz").unlink()
    assert faults(root) == ["case x: scans/1/adc.nii.gz: no such file"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"images": ["../a.nii.gz", "b.nii.gz"], "label": "c.nii.gz"},
            r"dataset\.x\.images: '\.\./a\.nii\.gz' does not",
        ),
        ({"images": ["a.nii.gz", "b.nii.gz"], "label": "/c.nii.gz"}, r"dataset\.x\.label: '/c\.nii\.gz' does not lie"),
        ({"images": ["a.nii.gz"] * 3, "label": "c.nii.gz"}, "has 3 images for 2 channel_names"),
        ({"images": "a.nii.gz", "label": "c.nii.gz"}, r"is no \{images: \[FILE, \.\.\.\], label: FILE\}"),
        (["a.nii.gz"], r"is no \{images"),
    ],
)
def test_a_list_of_cases_that_cannot_be_used_is_named(tmp_path: Path, entry: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        nnunet.records(touch(tmp_path, dataset={"x": entry}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "whole are regions of several labels, .* yet"),
        ({"labels": {"background": 0, "a": 1, "ignore": 2}}, "'ignore' marks voxels to leave out"),
        ({"labels": {"0": "background", "1": "a"}}, "is version 1, or msd"),
        ({"labels": {"background": 0, "a": 2}}, r"numbered \[0, 2\]; 0 \(background\), 1, 2, \.\.\. is expected"),
        ({"labels": []}, r"labels is \[\]"),
        ({"channel_names": ["T2", "ADC"]}, "channel_names is .*is expected"),
        ({"channel_names": {"1": "T2"}}, "channel_names is .*is expected"),
        ({"file_ending": ".xyz"}, r"files that end in '\.xyz' cannot be read; known: \.nii"),
        ({"file_ending": ".nii"}, r"imagesTr: no file ends in \.nii \(file_ending of dataset\.json\)"),
        ({"numTraining": 3}, "numTraining is 3, but there are 1 cases; copy the rest"),
        ({"numTraining": "many"}, "numTraining is 'many', not a whole number"),
        ({"dataset": ["a"]}, "'dataset' is a list"),
    ],
)
def test_a_description_that_does_not_fit_is_named(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        nnunet.records(touch(tmp_path, *pair("a", 0, 1), **content))
    assert not isinstance(caught.value, Faults)
    assert "\n" not in str(caught.value)


def test_a_folder_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root: .* does not exist"):
        nnunet.records(tmp_path / "gone")
    with pytest.raises(UserError, match=r"has no dataset\.json; set dataset\.root"):
        nnunet.records(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [], "labels": {}}))
    with pytest.raises(UserError, match=r"KeyError: 'channel_names'.*\(a Decathlon folder: dataset=msd\)"):
        nnunet.records(tmp_path)
    layout.describe(tmp_path)
    with pytest.raises(UserError, match="has no folder imagesTr"):
        nnunet.records(tmp_path)


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_the_files_of_the_layout_are_read(tmp_path: Path, ending: str) -> None:
    record = nnunet.records(layout.write(tmp_path / "set", cases=2, ending=ending))[0]
    image, label = read_image(record, spatial_dims=3, channels=2), read_label(record, spatial_dims=3)
    assert image.array.shape == (2, 24, 28, 20)
    np.testing.assert_allclose(image.affine, np.diag([1, 1.5, 2, 1]))
    assert set(np.unique(label.array)) == {0, 1, 2}


def test_an_nnunet_folder_trains_and_is_evaluated(tmp_path: Path) -> None:
    root, run = layout.write(tmp_path / "Dataset005_Prostate"), tmp_path / "run"
    data = ["dataset=nnunet", f"dataset.root={root}", "dataset.in_channels=2", "dataset.classes=[background,PZ,TZ]"]
    quick = ["debug=fast", "trainer=cpu", "figures=0", "dataset.patch_size=[16,16,16]", "dataset.batch_size=2"]
    start(["experiment=segmentation/phantom", *data, *quick, f"run_dir={run}"])
    assert json.loads((run / "summary.json").read_text())["metrics"]


def test_cases_that_lack_a_channel_train_with_zeros_in_its_place(tmp_path: Path) -> None:
    root, run = layout.write(tmp_path / "Dataset005_Prostate"), tmp_path / "run"
    for case in (0, 3):
        (root / f"imagesTr/prostate_{case:02d}_0001.nii.gz").unlink()
    data = ["dataset=nnunet", f"dataset.root={root}", "dataset.in_channels=2", "dataset.classes=[background,PZ,TZ]"]
    data += ["dataset.missing=zero", "dataset.patch_size=[16,16,16]"]
    quick = ["debug=fast", "trainer=cpu", "figures=0", "dataset.batch_size=2", "dataset.limit=null"]
    start(["experiment=segmentation/phantom", *data, *quick, f"run_dir={run}"])
    split = json.loads((run / "split.json").read_text())
    assert {"prostate_00", "prostate_03"} <= {case for ids in split.values() for case in ids}
