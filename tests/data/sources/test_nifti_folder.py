"""Volumes found by patterns: what a placeholder stands for is the case; too few and too many files are named at once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import nifti_folder as layout

from medexp.config import paths
from medexp.data.images import read_image, read_label
from medexp.data.records import Record
from medexp.data.sources import nifti_folder
from medexp.errors import Faults, UserError
from medexp.run.train import start


def touch(root: Path, *names: str) -> Path:
    """Empty files: a source lists and never opens them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def faults(root: Path, **options: Any) -> list[str]:
    with pytest.raises(Faults) as caught:
        nifti_folder.records(root, **options)
    return [problem.replace(f"{root}/", "") for problem in caught.value.problems]


def test_a_folder_is_a_case_and_a_pattern_a_channel(tmp_path: Path) -> None:
    names = [f"{case}/{name}_x.nii.gz" for case in ("p2", "p1") for name in ("T1", "T1POST", "FLAIR", "gold")]
    root = touch(tmp_path, *names, "p1/T1_x.json", "p1/.T1_y.nii.gz", "README.txt", "p1/T1_folder.nii.gz/a")
    first, second = nifti_folder.records(root, images=["{case}/FLAIR*", "{case}/T1_*"], label="{case}/gold*.nii.gz")
    assert first == Record("p1", (root / "p1/FLAIR_x.nii.gz", root / "p1/T1_x.nii.gz"), root / "p1/gold_x.nii.gz")
    assert second.case_id == "p2"


def test_a_case_may_stand_in_the_file_name_or_in_both(tmp_path: Path) -> None:
    root = touch(
        tmp_path, "img/a_1.nii.gz", "img/b.png", "seg/a_1_seg.nii.gz", "seg/b_seg.nii.gz", "c/c_T1.nii", "c/d_T1.nii"
    )
    found = nifti_folder.records(root, images="img/{case}.*", label="seg/{case}_seg.nii.gz")
    assert [(record.case_id, record.label) for record in found] == [
        ("a_1", root / "seg/a_1_seg.nii.gz"),
        ("b", root / "seg/b_seg.nii.gz"),
    ]
    assert [record.files for record in nifti_folder.records(root, images="{case}/{case}_T1.nii")] == [
        (root / "c/c_T1.nii",)
    ]


def test_a_patient_may_have_several_cases(tmp_path: Path) -> None:
    root = touch(tmp_path, "p1/v1/p1_t1.nii.gz", "p1/v2/p1_t1.nii.gz", "p2/v1/p2_t1.nii.gz", "p2/v1/p1_t1.nii.gz")
    found = nifti_folder.records(root, images="{patient}/{case}/{patient}_t1.nii.gz")
    assert [(record.case_id, record.patient_id) for record in found] == [
        ("p1_v1", "p1"),
        ("p1_v2", "p1"),
        ("p2_v1", "p2"),
    ]


def test_a_placeholder_takes_as_little_as_the_rest_allows(tmp_path: Path) -> None:
    root = touch(tmp_path, "a_b_T1.nii.gz", "c_T1.nii.gz")
    assert [record.case_id for record in nifti_folder.records(root, images="{case}_*.nii.gz")] == ["a", "c"]
    assert [record.case_id for record in nifti_folder.records(root, images="{case}_T1.nii.gz")] == ["a_b", "c"]


def test_too_few_and_too_many_files_are_listed_together(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        "a/t1.nii",
        "a/t1_2.nii",
        "a/t2.nii",
        "b/t1.nii",
        "b/seg.nii",
        "c/seg.nii",
        "a/seg.nii",
        "d/t1.nii",
        "d/t2.nii",
    )
    hint = "mend it, or set dataset.missing=zero or drop"
    assert faults(root, images=["{case}/t1*", "{case}/t2*"], label="{case}/seg*") == [
        "case a: 2 files match {case}/t1*: t1.nii, t1_2.nii; make the pattern narrower",
        f"case b: no file matches {{case}}/t2*; {hint}",
        "case c: c/seg.nii: a label map without any image",
        "case d: no label map matches {case}/seg*; mend it, or set dataset.source.allow_unlabelled=true to leave such cases out",
    ]


def test_missing_channels_and_label_maps_may_be_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, "a/t1.nii", "a/seg.nii", "b/t2.nii", "b/seg.nii", "c/t1.nii", "c/t2.nii")
    options: dict[str, Any] = {"images": ["{case}/t1*", "{case}/t2*"], "label": "{case}/seg*", "allow_missing": True}
    assert len(faults(root, **options)) == 1
    with caplog.at_level(logging.INFO, "medexp"):
        found = nifti_folder.records(root, **options, allow_unlabelled=True)
    assert [(record.case_id, record.missing) for record in found] == [("a", (1,)), ("b", (0,))]
    assert "1 cases have no label map and are left out (e.g. c)" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "*/t1.nii"}, r"dataset\.source\.images\[0\]: '\*/t1\.nii' has no \{case\}"),
        ({"images": ["{case}/t1*", "{cas}/t2*"]}, r"images\[1\]: .* has a placeholder that is neither \{case\} nor"),
        ({"images": "{case}/**/t1.nii"}, r"has \*\*; write a \* for each folder"),
        ({"images": "../{case}.nii"}, r"images\[0\]: '\.\./\{case\}\.nii' does not lie below"),
        ({"images": "/{case}.nii"}, "does not lie below"),
        (
            {"images": "{case}/t1*", "label": "{patient}/{case}*"},
            r"source\.label: \{patient\} must stand in every pattern",
        ),
        ({"images": "{case}/x*"}, r"nothing below .* matches \{case\}/x\* \(known: \.nii"),
        ({"images": []}, "dataset.source.images: no pattern"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        nifti_folder.records(touch(tmp_path, "a/t1.nii", "a/t2.nii"), **options)
    assert "\n" not in str(caught.value)


def test_a_missing_root_and_a_loop_of_links(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root: .* does not exist"):
        nifti_folder.records(tmp_path / "gone")
    root = touch(tmp_path, "a/t1.nii.gz")
    (root / "loop").symlink_to(root / "loop")
    (root / "a/up").symlink_to(root)
    assert [record.case_id for record in nifti_folder.records(root, images="{case}/t1.nii.gz")] == ["a"]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(
        st.text("abc.-_ [](){}+*?é1", min_size=1, max_size=8).filter(lambda n: n[0] != "."), min_size=1, max_size=5
    )
)
def test_every_name_is_found_whatever_its_letters(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    root = touch(
        tmp_path_factory.mktemp("set"),
        *(f"{name}/t1.nii.gz" for name in names),
        *(f"{name}/{name}.nii" for name in names),
    )
    found = nifti_folder.records(root, images=["{case}/t1.nii.gz", "{case}/{case}.nii"])
    assert [record.case_id for record in found] == sorted(names)


@pytest.mark.real_data
def test_four_sequences_of_a_patient_with_lesions(real_data: Callable[[str], Path]) -> None:
    import yaml

    leaf = yaml.safe_load(paths.options("dataset")["ms_ljubljana"].read_text())
    (record,) = nifti_folder.records(real_data("ms_ljubljana_mni"), **leaf["source"])
    assert record.case_id == "patient07"
    assert [path.name.split("_")[0] for path in record.files] == ["FLAIR", "T1", "T1POST", "T2"]
    image, label = read_image(record, spatial_dims=3, channels=4), read_label(record, spatial_dims=3)
    assert image.array.shape == (4, 182, 218, 182)
    assert label.array.shape == (182, 218, 182)
    assert set(np.unique(label.array)) == {0, 1}


def test_a_folder_a_patient_trains_and_is_evaluated(tmp_path: Path) -> None:
    root, run = layout.write(tmp_path / "set"), tmp_path / "run"
    data = ["dataset=ms_ljubljana", f"dataset.root={root}", "dataset.patch_size=[16,16,16]"]
    quick = ["debug=fast", "trainer=cpu", "figures=0", "dataset.batch_size=2"]
    start(["experiment=segmentation/phantom", *data, *quick, f"run_dir={run}"])
    assert json.loads((run / "summary.json").read_text())["metrics"]
