"""LUNA16: a window a candidate, at the candidate's place; scans that are not there are named, what is left out is said."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import luna16 as layout
from layouts.luna16 import uid

from medexp.data.formats.metaimage import read_metaimage
from medexp.data.formats.part import cut_window
from medexp.data.formats.scan import Wanted
from medexp.data.records import Record, Window
from medexp.data.sources import luna16
from medexp.errors import Faults, UserError
from medexp.run.train import start

HEADER = "seriesuid,coordX,coordY,coordZ,class"


def small(root: Path, *rows: str, scans: dict[int, int] | None = None, header: str = HEADER) -> Path:
    """Empty scans ({number: subset}; a source lists and never opens them) and a table."""
    for number, subset in (scans or {0: 0}).items():
        folder = root / f"subset{subset}"
        folder.mkdir(parents=True, exist_ok=True)
        for end in ("mhd", "raw"):
            (folder / f"{uid(number)}.{end}").write_bytes(b"")
    (root / "candidates_V2.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def test_a_candidate_is_a_window_around_its_place_in_ras(tmp_path: Path) -> None:
    root = small(tmp_path, f"{uid(0)},-56.08,67.85,-311.92,0", f"{uid(0)},53.21,-244.41,-245.17,1")
    assert luna16.records(root, size_mm=[40, 40, 30]) == [
        Record(
            f"{uid(0)}_000002",
            (root / f"subset0/{uid(0)}.mhd",),
            target="non-nodule",
            patient_id=uid(0),
            window=Window((56.08, -67.85, -311.92), (40.0, 40.0, 30.0)),
        ),
        Record(
            f"{uid(0)}_000003",
            (root / f"subset0/{uid(0)}.mhd",),
            target="nodule",
            patient_id=uid(0),
            window=Window((-53.21, 244.41, -245.17), (40.0, 40.0, 30.0)),
        ),
    ]


def test_the_nodule_lies_in_the_middle_of_its_window(tmp_path: Path) -> None:
    """Balls of 100 HU in air were drawn at voxels whose places the table gives in LPS."""
    found = luna16.records(layout.write(tmp_path), size_mm=[13.5, 13.5, 18])
    assert Counter(record.target for record in found) == {"nodule": 10, "non-nodule": 20}
    for record in (record for record in found if record.target == "nodule"):
        assert record.window is not None
        scan = cut_window(read_metaimage(record.files[0], Wanted(3, 1)), record.window)
        assert scan.array.shape == (1, 9, 9, 9)
        assert (scan.array[0, 3:6, 3:6, 3:6] == 100).all()


def test_scans_that_are_not_there_are_listed_unless_subsets_are_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"{uid(n)},1,2,3,0" for n in (0, 1, 2, 2, 3)]
    root = small(tmp_path, *rows, scans={0: 0, 1: 1})
    with pytest.raises(
        Faults, match=r"3 candidates of 2 scans that are not below .*subsets, e\.g\. \[0, 1\]"
    ) as caught:
        luna16.records(root)
    assert caught.value.problems == [f"{uid(2)}: 2 candidates", f"{uid(3)}: 1 candidates"]
    with caplog.at_level(logging.INFO, "medexp"):
        assert [record.patient_id for record in luna16.records(root, subsets=[1])] == [uid(1)]
    assert "4 candidates lie in scans of other subsets and are left out" in caplog.text


def test_a_subset_may_be_the_test_split(tmp_path: Path) -> None:
    root = small(tmp_path, *(f"{uid(n)},1,2,3,0" for n in (0, 1, 2)), scans={0: 0, 1: 1, 2: 2})
    assert [record.split for record in luna16.records(root, test_subset=1)] == ["train", "test", "train"]
    with pytest.raises(UserError, match=r"test_subset: 3 is not one of the subsets \[0, 1, 2\]"):
        luna16.records(root, test_subset=3)


@settings(max_examples=25, deadline=None)
@given(keep=st.integers(0, 6), rows=st.integers(1, 12))
def test_the_negatives_kept_do_not_depend_on_later_rows(
    tmp_path_factory: pytest.TempPathFactory, keep: int, rows: int
) -> None:
    lines = [f"{uid(n % 2)},{n},2,3,{int(n == 3)}" for n in range(12)]
    root = small(tmp_path_factory.mktemp("set"), *lines[:rows], scans={0: 0, 1: 0})
    some = luna16.records(root, negatives=keep)
    for scan in (uid(0), uid(1)):
        count = sum(record.patient_id == scan and record.target == "non-nodule" for record in some)
        assert count == min(keep, sum(line.startswith(scan) and line.endswith(",0") for line in lines[:rows]))
    assert {r.case_id for r in luna16.records(root) if r.target == "nodule"} <= {r.case_id for r in some}
    more = luna16.records(small(root, *lines, scans={0: 0, 1: 0}), negatives=keep)
    old = {f"{line.split(',')[0]}_{number:06d}" for number, line in enumerate(lines[:rows], 2)}
    assert {r.case_id for r in more} & old <= {r.case_id for r in some}


def test_negatives_that_are_left_out_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = small(tmp_path, *(f"{uid(0)},{n},2,3,{int(n == 0)}" for n in range(6)))
    with caplog.at_level(logging.INFO, "medexp"):
        assert len(luna16.records(root, negatives=2)) == 3
    assert "negatives=2 a scan leaves out 3 of 6 candidates" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_mm": [48, 48]}, r"size_mm: \[48, 48\] is not a positive number of mm for each of 3 axes"),
        ({"size_mm": [48, 48, 0]}, r"size_mm: \[48, 48, 0\] is not"),
        ({"negatives": -1}, "negatives: -1 is negative"),
        ({"subsets": [0, 4]}, r"subsets: no folders subset4 in .*; there are \[0\]"),
        ({"candidates": "candidates.csv"}, r"candidates\.csv: no such table; tables there: candidates_V2\.csv"),
        ({"candidates": "../a.csv"}, r"source\.candidates: '\.\./a\.csv' does not lie below"),
    ],
)
def test_options_that_cannot_be_used_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        luna16.records(small(tmp_path, f"{uid(0)},1,2,3,0"), **options)


def test_rows_that_are_no_candidates_are_all_listed(tmp_path: Path) -> None:
    rows = [f"{uid(0)},1,2,3,0", f"{uid(0)},x,2,3,0", f"{uid(0)},1,2,3,7", f"{uid(0)},1,2", f"{uid(0)},nan,2,3,1"]
    with pytest.raises(Faults, match=r"4 rows of .* are no candidates") as caught:
        luna16.records(small(tmp_path, *rows))
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["row 3", "row 4", "row 5", "row 6"]
    with pytest.raises(UserError, match="has no column class; choose candidates"):
        luna16.records(small(tmp_path, header="seriesuid,coordX,coordY,coordZ,diameter_mm"))


def test_a_scan_without_voxels_or_in_two_subsets_is_named(tmp_path: Path) -> None:
    root = small(tmp_path, f"{uid(0)},1,2,3,0", scans={0: 0, 1: 0})
    (root / f"subset0/{uid(0)}.raw").unlink()
    small(root, scans={1: 3})
    with pytest.raises(Faults, match="2 scans") as caught:
        luna16.records(root)
    assert caught.value.problems == [
        f"{root}/subset0/{uid(0)}.mhd: its .raw is not beside it",
        f"{root}/subset3/{uid(1)}.mhd: stands in subset0 too",
    ]


def test_a_folder_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root: .* does not exist"):
        luna16.records(tmp_path / "gone")
    with pytest.raises(UserError, match="has no folders subset0 to subset9"):
        luna16.records(tmp_path)


def test_candidates_are_classified_and_evaluated(tmp_path: Path) -> None:
    root, run = layout.write(tmp_path / "set"), tmp_path / "run"
    data = ["dataset=luna16", f"dataset.root={root}", "dataset.image_size=[16,16,16]", "dataset.source.negatives=1"]
    quick = ["debug=fast", "trainer=cpu", "figures=0", "dataset.batch_size=2"]
    start(["experiment=classification/phantom_presence", *data, *quick, f"run_dir={run}"])
    assert json.loads((run / "summary.json").read_text())["metrics"]


def test_numbers_of_the_layout(tmp_path: Path) -> None:
    """The small data are what they say: 1.5 x 1.5 x 2 mm, LPS origin (-100, -80, -300)."""
    root = layout.write(tmp_path, scans=1)
    scan = read_metaimage(root / f"subset0/{uid(0)}.mhd", Wanted(3, 1))
    np.testing.assert_array_equal(np.diag(scan.affine), [-1.5, -1.5, 2, 1])
    np.testing.assert_array_equal(scan.affine[:3, 3], [100, 80, -300])
