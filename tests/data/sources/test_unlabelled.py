"""Cases that a data set lists without a label: a fault where labels are learnt, listed where something learns without."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from layouts import bids as bids_layout
from layouts import nifti_folder as folder_layout
from layouts import nnunet as nnunet_layout

from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.data.sources import bids, nifti_folder, nnunet, table
from medexp.data.splits.make import make_split
from medexp.errors import Faults
from medexp.targets import KINDS


def labels(found: list[Record]) -> dict[str, bool]:
    return {record.case_id: record.label is not None for record in found}


def lacking_one(list_cases: Any, path: Path, root: Path, **options: Any) -> None:
    """Without the label map at `path` a source refuses the case, or lists it as unlabelled."""
    whole = list_cases(root, **options)
    path.unlink()
    with pytest.raises(Faults):
        list_cases(root, **options)
    found = labels(list_cases(root, **options, with_unlabelled=True))
    assert found.keys() == {record.case_id for record in whole}
    assert list(found.values()).count(False) == 1


def test_images_of_an_nnunet_folder(tmp_path: Path) -> None:
    root = nnunet_layout.write(tmp_path / "set", cases=3)
    lacking_one(nnunet.records, sorted((root / "labelsTr").iterdir())[1], root)


def test_sessions_of_a_bids_data_set(tmp_path: Path) -> None:
    root = bids_layout.write(tmp_path / "set", subjects=3)
    path = sorted((root / "derivatives/labels").rglob("*dseg.nii.gz"))[0]
    lacking_one(bids.records, path, root, suffix="T1w", label="derivatives/labels")


def test_participants_of_a_bids_data_set(tmp_path: Path) -> None:
    root = bids_layout.write(tmp_path / "set", subjects=3)
    table_of = root / "participants.tsv"
    table_of.write_text(table_of.read_text().replace("patient", "n/a"))
    with pytest.raises(Faults, match="has no group"):
        bids.records(root, target="group")
    found = bids.records(root, target="group", with_unlabelled=True)
    assert [record.target for record in found] == ["control", "control", None, "control"]


def test_volumes_in_folders(tmp_path: Path) -> None:
    root = folder_layout.write(tmp_path / "set", patients=3)
    options = {"images": "{case}/FLAIR_*.nii.gz", "label": "{case}/GOLD_STANDARD_*.nii.gz"}
    lacking_one(nifti_folder.records, sorted(root.rglob("GOLD_STANDARD_*"))[1], root, **options)


def test_rows_of_a_table(tmp_path: Path) -> None:
    rows = ["image,mask,class", "a.png,a_mask.png,x", "b.png,,y", "c.png,c_mask.png,"]
    for name in ("a.png", "b.png", "c.png", "a_mask.png", "c_mask.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(Faults, match="1 empty cells"):
        table.records(tmp_path, label="mask", target=None)
    with pytest.raises(Faults, match="1 empty cells"):
        table.records(tmp_path, target="class")
    assert labels(table.records(tmp_path, label="mask", target=None, with_unlabelled=True)) == {
        "a": True, "b": False, "c": True
    }  # fmt: skip
    found = table.records(tmp_path, target="class", with_unlabelled=True)
    assert [record.target for record in found] == ["x", "y", None]


def test_measures_and_times_of_a_row_may_be_blank_where_no_label_is_needed(tmp_path: Path) -> None:
    rows = ["image,age,weight,months,died", "a.png,3,4,12,1", "b.png,,5,,0", "c.png,,,,"]
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    for options, known in (
        ({"target": ["age", "weight"]}, {"age": "3", "weight": "4"}),
        ({"target": None, "time": "months", "event": "died"}, [12.0, 1.0]),
    ):
        with pytest.raises(Faults, match=r"is empty; fill it, or leave the row out\n"):
            table.records(tmp_path, **options)  # type: ignore[arg-type]
        found = table.records(tmp_path, **options, with_unlabelled=True)  # type: ignore[arg-type]
        assert [record.target for record in found] == [known, None, None]


def test_many_blank_cells_are_one_line_with_the_next_move(tmp_path: Path) -> None:
    rows = ["image,class", *(f"{index}.png,{'x' * (index > 5)}" for index in range(9)), ",x"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(Faults) as caught:
        table.records(tmp_path, target="class")
    assert str(caught.value).splitlines()[1:] == [
        "  row 11: column 'image' is empty; fill it, or leave the row out",
        "  6 rows: column 'class' is empty; fill it, leave the row out, or learn from such cases as well (learning=mean_teacher "
        "and the like) (rows 2, 3, 4, 5, 6, 7)",
    ]


@pytest.mark.parametrize("kind", [*KINDS])
def test_what_needs_no_label_learns_from_every_image(kind: str, tmp_path: Path) -> None:
    rows = ["image,class", *(f"{index}.png,{'x' * (index % 2)}" for index in range(12))]
    for index in range(12):
        (tmp_path / f"{index}.png").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    source = partial(table.records, target="class")
    data = DataModule(str(tmp_path), source, 2, 1, ["x", "y"], "class", kind, make_split)
    if kind in ("image", "generation", "views", "reconstruction"):
        assert sum(map(len, data.parts().values())) == 12
    else:
        with pytest.raises(Faults, match="6 empty cells"):
            data.parts()
