"""BIDS data sets: sessions are cases, participants are patients; what is missing or ambiguous is named at once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import bids as layout

from medexp.data.images import read_image, read_label
from medexp.data.records import Record
from medexp.data.sources import bids
from medexp.errors import Faults, UserError
from medexp.run.train import start


def touch(root: Path, *names: str) -> Path:
    """Empty files: a source lists and never opens them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def participants(root: Path, *lines: str) -> Path:
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    return root


def faults(root: Path, **options: Any) -> list[str]:
    with pytest.raises(Faults) as caught:
        bids.records(root, **options)
    return [problem.replace(f"{root}/", "") for problem in caught.value.problems]


def test_sessions_are_cases_and_participants_are_patients(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.json",
        "sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz",
        "code/sub-09/anat/sub-09_T1w.nii.gz",
    )
    assert bids.records(root) == [
        Record("sub-01_ses-a", (root / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",), patient_id="sub-01"),
        Record("sub-01_ses-b", (root / "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii",), patient_id="sub-01"),
        Record("sub-02", (root / "sub-02/anat/sub-02_T1w.nii.gz",), patient_id="sub-02"),
    ]


def test_several_suffixes_are_channels_in_that_order(tmp_path: Path) -> None:
    root = touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_T2w.nii.gz", "sub-1/dwi/sub-1_dwi.nii.gz")
    (record,) = bids.records(root, suffix=["T2w", "dwi", "T1w"])
    assert [path.name for path in record.files] == ["sub-1_T2w.nii.gz", "sub-1_dwi.nii.gz", "sub-1_T1w.nii.gz"]
    assert faults(root, suffix=["T2w", "dwi"], datatype="anat") == [
        "case sub-1: has no image that ends in dwi; mend it, or set dataset.missing=zero or drop"
    ]


def test_missing_channels_are_faults_or_none_and_sessions_without_any_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T2w.nii.gz", "sub-3/func/sub-3_bold.nii.gz")
    both = ["T1w", "T2w"]
    assert [line.split(";")[0] for line in faults(root, suffix=both)] == [
        "case sub-1: has no image that ends in T2w",
        "case sub-2: has no image that ends in T1w",
        "case sub-3: has no image that ends in T1w, T2w",
    ]
    with caplog.at_level(logging.INFO, "medexp"):
        found = bids.records(root, suffix=both, allow_missing=True)
    assert [(record.case_id, record.missing) for record in found] == [("sub-1", (1,)), ("sub-2", (0,))]
    assert "1 cases have no image and are left out (e.g. sub-3)" in caplog.text


def test_several_files_are_a_fault_that_lists_them_until_entities_choose(tmp_path: Path) -> None:
    names = ["sub-1_acq-hi_run-01", "sub-1_acq-hi_run-02", "sub-1_run-1"]
    root = touch(tmp_path, *(f"sub-1/anat/{name}_T1w.nii.gz" for name in names))
    assert faults(root) == [
        f"case sub-1: 3 files end in T1w: {', '.join(f'{name}_T1w.nii.gz' for name in names)}; "
        "choose with dataset.source.entities={run: 1} or the like"
    ]
    for wanted, name in (
        ({"acq": "hi", "run": 1}, names[0]),
        ({"run": "02"}, names[1]),
        ({"acq": None, "run": 1}, names[2]),
    ):
        (record,) = bids.records(root, entities=wanted)
        assert record.files == (root / f"sub-1/anat/{name}_T1w.nii.gz",)
    assert faults(root, entities={"run": 1})[0].startswith("case sub-1: 2 files end in T1w")
    assert faults(root, entities={"run": 3})[0].startswith("case sub-1: has no image that ends in T1w")


def test_label_maps_are_found_among_derivatives(tmp_path: Path) -> None:
    image = "sub-1/ses-a/anat/sub-1_ses-a_run-1_T1w"
    root = touch(tmp_path, f"{image}.nii.gz", f"derivatives/lesions/{image}_label-lesion_mask.nii.gz")
    touch(root, "derivatives/manual/sub-1/ses-a/sub-1_ses-a_space-T1w_dseg.nii.gz")
    (record,) = bids.records(root, label="derivatives/manual", entities={"run": 1})
    assert record.label == root / "derivatives/manual/sub-1/ses-a/sub-1_ses-a_space-T1w_dseg.nii.gz"
    (record,) = bids.records(root, label="derivatives/lesions", label_suffix="label-lesion_mask")
    assert record.label == root / f"derivatives/lesions/{image}_label-lesion_mask.nii.gz"


def test_a_missing_label_map_is_a_fault_or_left_out_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz", "labels/sub-2/sub-2_dseg.nii")
    assert faults(root, label="labels") == [
        "case sub-1: has no dseg label map; mend it, or set dataset.source.allow_unlabelled=true to leave such cases out"
    ]
    with caplog.at_level(logging.INFO, "medexp"):
        assert [r.case_id for r in bids.records(root, label="labels", allow_unlabelled=True)] == ["sub-2"]
    assert "1 cases have no dseg label map and are left out (e.g. sub-1)" in caplog.text


def test_a_file_whose_name_contradicts_its_folder_is_named(tmp_path: Path) -> None:
    root = touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-2_T1w.nii.gz")
    assert faults(root) == ["sub-1/anat/sub-2_T1w.nii.gz: its name contradicts its folder (sub-1); rename or move it"]


def test_the_target_is_a_column_of_the_participants(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, *(f"sub-{n}/anat/sub-{n}_T1w.nii.gz" for n in (1, 2, 3, 4)))
    participants(root, "participant_id\tsex\tgroup", "sub-2\tF\tn/a", "sub-1\tM\tcontrol", "sub-3\tM\tpatient")
    assert [line.split(";")[0] for line in faults(root, target="group")] == [
        "case sub-2: has no group in participants.tsv",
        "case sub-4: has no group in participants.tsv",
    ]
    with caplog.at_level(logging.INFO, "medexp"):
        found = bids.records(root, target="group", allow_unlabelled=True)
    assert [(record.case_id, record.target) for record in found] == [("sub-1", "control"), ("sub-3", "patient")]
    assert "2 cases have no group in participants.tsv and are left out" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["participant_id\tgroups", "sub-1\ta"], r"target: no column 'group' in .*; did you mean 'groups'\?; columns:"),
        (["id\tgroup", "sub-1\ta"], "no column 'participant_id'"),
        (["participant_id\tgroup", "sub-1"], "row 2: 1 cells, the header has 2"),
        (["participant_id\tgroup", "sub-1\ta", "sub-1\tb"], "sub-1: stands twice"),
        ([""], "no column 'participant_id'"),
    ],
)
def test_a_table_of_participants_that_cannot_be_used_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    root = participants(touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz"), *lines)
    with pytest.raises(UserError, match=message):
        bids.records(root, target="group")


def test_a_folder_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root: .* does not exist"):
        bids.records(tmp_path / "gone")
    with pytest.raises(UserError, match=r"has no folder sub-\*; set dataset\.root=PATH of a BIDS data set"):
        bids.records(tmp_path)
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    with pytest.raises(UserError, match=r"participants\.tsv: no such table"):
        bids.records(tmp_path, target="group")
    with pytest.raises(UserError, match=r"dataset\.source\.label: .*/labels is not a folder"):
        bids.records(tmp_path, label="labels")
    with pytest.raises(UserError, match=r"dataset\.source\.label: '\.\./labels' does not lie below"):
        bids.records(tmp_path, label="../labels")


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    root = touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    (root / "sub-1/anat/loop").symlink_to(root / "sub-1")
    (root / "sub-1/self").symlink_to(root / "sub-1/self")
    assert [record.case_id for record in bids.records(root)] == ["sub-1"]


@pytest.mark.real_data
def test_a_spleen_with_its_manual_label_map(real_data: Callable[[str], Path]) -> None:
    options = {"suffix": "ct", "datatype": "ct", "label": "derivatives/labels", "label_suffix": "seg-manual"}
    (record,) = bids.records(real_data("msd_task09_spleen_crop"), **options)
    assert record.case_id == record.patient_id == "sub-spleen2"
    image, label = read_image(record, spatial_dims=3, channels=1), read_label(record, spatial_dims=3)
    assert image.array.shape[1:] == label.array.shape == (164, 166, 26)
    np.testing.assert_allclose(image.spacing, (0.795, 0.795, 5), atol=1e-3)
    assert set(np.unique(label.array)) == {0, 1}


QUICK = ["debug=fast", "trainer=cpu", "figures=0", "dataset.batch_size=2"]


def test_a_bids_data_set_trains_and_is_evaluated(tmp_path: Path) -> None:
    root, run = layout.write(tmp_path / "set"), tmp_path / "run"
    data = ["dataset=bids", f"dataset.root={root}", "dataset.classes=[background,lesion]", "dataset.in_channels=2"]
    data += ["dataset.source.suffix=[T1w,T2w]", "dataset.patch_size=[16,16,16]"]
    start(["experiment=segmentation/phantom", *data, *QUICK, f"run_dir={run}"])
    assert json.loads((run / "summary.json").read_text())["metrics"]
    split = json.loads((run / "split.json").read_text())
    assert sum(any(case.startswith("sub-00_") for case in ids) for ids in split.values()) <= 1  # one patient, one part


def test_participants_are_classified_by_a_column(tmp_path: Path) -> None:
    root, run = layout.write(tmp_path / "set"), tmp_path / "run"
    data = ["dataset=bids", f"dataset.root={root}", "dataset.classes=[control,patient]", "dataset.provides=class"]
    data += ["dataset.source.label=null", "dataset.source.target=group", "dataset.image_size=[24,24,16]"]
    start(["experiment=classification/phantom_presence", *data, *QUICK, f"run_dir={run}"])
    assert json.loads((run / "summary.json").read_text())["metrics"]
