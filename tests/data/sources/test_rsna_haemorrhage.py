"""The RSNA 2019 archive: several labels a slice, patients from the headers, nothing dropped in silence."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from layouts import rsna_haemorrhage as rsna

from medexp.data.images import read_image
from medexp.data.sources.rsna_haemorrhage import records
from medexp.data.splits.make import make_split
from medexp.errors import Faults, UserError
from medexp.run.train import start


def faults(root: Path) -> list[str]:
    with pytest.raises(Faults) as caught:
        records(root, classes=rsna.KINDS)
    return caught.value.problems


def change(root: Path, old: str, new: str) -> None:
    path = root / "stage_2_train.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_slice_has_a_label_for_each_class_in_their_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = rsna.write(tmp_path)
    with caplog.at_level(logging.INFO):
        found = records(root, classes=rsna.KINDS)
    assert len(found) == 24
    assert found[0].case_id == "ID_000000000"
    assert [record.target for record in found[4:7]] == [[0, 0, 0, 0, 1, 1], [0] * 6, [1, 0, 0, 0, 0, 1]]
    assert "6 rows stand twice" in caplog.text
    turned = records(root, classes=rsna.KINDS[::-1])
    assert turned[0].target == [1, 0, 0, 0, 0, 1]
    assert turned[4].target == [1, 1, 0, 0, 0, 0]
    np.testing.assert_allclose(read_image(found[5], spatial_dims=2, channels=1).array.mean(), 30, atol=1)


def test_a_patient_is_in_one_part_of_the_split_only(tmp_path: Path) -> None:
    found = records(rsna.write(tmp_path), classes=rsna.KINDS)
    assert len({record.patient_id for record in found}) == 12
    of = {record.case_id: record.patient_id for record in found}
    split = make_split(found, seed=0)
    parts = [of[case] for cases in split.values() for case in {of[case]: case for case in cases}.values()]
    assert len(parts) == len(set(parts)) == 12
    assert {record.patient_id for record in records(tmp_path, classes=rsna.KINDS, patients=False)} == {""}


def test_missing_files_and_rows_are_all_listed(tmp_path: Path) -> None:
    root = rsna.write(tmp_path)
    for number in (3, 4):
        (root / "stage_2_train" / f"{rsna.case(number)}.dcm").unlink()
    (root / "stage_2_train" / "ID_extra.dcm").write_bytes(b"")
    found = faults(root)
    assert len(found) == 3
    assert found[0].startswith(f"{rsna.case(3)}: ")
    assert found[2].endswith("ID_extra.dcm: has no row")


def test_labels_that_are_not_clear_are_all_listed(tmp_path: Path) -> None:
    root = rsna.write(tmp_path)
    change(root, f"{rsna.case(7)}_any,1\n", "")
    change(root, f"{rsna.case(8)}_any,1\n", f"{rsna.case(8)}_any,1\n{rsna.case(8)}_any,0\n")
    assert faults(root) == [f"{rsna.case(8)}: any is both 0 and 1", f"{rsna.case(7)}: no row of any"]


@pytest.mark.parametrize("row", ["ID_000000007_chronic,1", "ID_000000007_any,2", "noname,1"])
def test_a_row_that_says_nothing_is_listed_with_its_number(tmp_path: Path, row: str) -> None:
    root = rsna.write(tmp_path)
    change(root, f"{rsna.case(7)}_any,1", row)
    assert faults(root) == [f"row 49: {row}"]


def test_slices_left_out_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = rsna.write(tmp_path)
    with caplog.at_level(logging.INFO):
        found = records(root, classes=rsna.KINDS, left_out=[rsna.case(7), "ID_6431af929"])
    assert len(found) == 23
    assert f"left out: {rsna.case(7)}" in caplog.text


def test_headers_that_cannot_be_read_are_all_listed(tmp_path: Path) -> None:
    root = rsna.write(tmp_path)
    for number in (2, 5):
        (root / "stage_2_train" / f"{rsna.case(number)}.dcm").write_bytes(b"<html>not found</html>")
    assert [fault.split(":")[0] for fault in faults(root)] == [f"case {rsna.case(2)}", f"case {rsna.case(5)}"]


@pytest.mark.parametrize(
    ("table", "message"),
    [("a,b\n1,2\n", "its columns are a, b, not ID, Label"), (None, "no such table"), ("", "cannot be read as a table")],
)
def test_a_table_that_is_none_is_said(tmp_path: Path, table: str | None, message: str) -> None:
    root = rsna.write(tmp_path)
    (root / "stage_2_train.csv").unlink()
    if table is not None:
        (root / "stage_2_train.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        records(root, classes=rsna.KINDS)


def test_windows_of_the_slices_train_a_step(tmp_path: Path) -> None:
    root = rsna.write(tmp_path / "data")
    host = ["experiment=classification/phantom_presence_2d", "task=classification_multilabel", "loss=bce"]
    quick = ["debug=fast", "trainer=cpu", "trainer.precision=32-true", "trainer.check_val_every_n_epoch=1", "figures=0"]
    data = ["dataset=rsna_haemorrhage", f"dataset.root={root}", "dataset.image_size=[32,32]", "dataset.batch_size=4"]
    start([*host, *data, *quick, f"run_dir={tmp_path / 'run'}"])
    assert (tmp_path / "run" / "summary.json").is_file()
