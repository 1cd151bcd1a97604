"""Boxes in a table: a case an image, with or without objects; every row that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from medexp.data.records import Box, Record
from medexp.data.sources import csv_boxes
from medexp.errors import Faults, UserError

HEADER = "image,class,lower_0,lower_1,upper_0,upper_1,who,part"


def write(root: Path, *rows: str, header: str = HEADER) -> Path:
    (root / "scans").mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "b.nii.gz", "c.png"):
        (root / "scans" / name).write_bytes(b"")
    (root / "boxes.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def test_rows_of_an_image_are_its_boxes(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        "scans/b.nii.gz,cell,1,2,3.5,4,p1,test",
        "scans/a.png,,,,,,p2,train",
        "scans/b.nii.gz,x,0,0,9,9,p1,test",
    )
    assert csv_boxes.records(root, spatial_dims=2, patient="who", split="part") == [
        Record("scans_a", (root / "scans/a.png",), patient_id="p2", split="train", boxes=()),
        Record(
            "scans_b",
            (root / "scans/b.nii.gz",),
            patient_id="p1",
            split="test",
            boxes=(Box("cell", (1, 2), (3.5, 4)), Box("x", (0, 0), (9, 9))),
        ),
    ]
    assert {record.split for record in csv_boxes.records(root, spatial_dims=2)} == {None}


def test_rows_that_cannot_be_used_are_named_all_at_once(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        "scans/a.png,cell,1,2,3,4,p1,train",
        "scans/a.png,cell,1,2,3,4,p2,train",
        "scans/c.png,cell,1,2,three,4,p1,train",
        "../a.png,cell,1,2,3,4,p1,train",
        ",cell,1,2,3,4,p1,train",
        "scans/d.png,cell,1,2,3,4,p1,train",
        "scans/b.nii.gz,cell,1,2,inf,4,p1,rest",
    )
    with pytest.raises(Faults, match=r"6 faults in .*boxes\.csv") as caught:
        csv_boxes.records(root, spatial_dims=2, patient="who", split="part")
    found = caught.value.problems
    assert found[0] == "row 3: scans/a.png has another patient or split in an earlier row"
    assert found[1] == "row 4: upper_0 is 'three', not a number"
    assert found[2].startswith("row 5: column 'image': '../a.png' does not lie below")
    assert found[3] == "row 6: column 'image' is empty"
    assert found[4] == "row 8: split 'rest' is not one of train, val, test"
    assert found[5] == f"{root / 'scans/d.png'}: no such file"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has no column 'lower_2'; did you mean 'lower_1'"),
        ({"spatial_dims": 2, "label": "kind"}, "has no column 'kind'; columns: image, class"),
        ({"csv": "other.csv"}, r"dataset\.source\.csv: .*other\.csv: no such table"),
    ],
)
def test_tables_and_columns_that_are_not_there_are_named(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        csv_boxes.records(write(tmp_path), **options)  # type: ignore[arg-type]
