"""Sources: the same records whatever the file system's order; every mistake in a description is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medexp.data.images import read_image
from medexp.data.records import Record
from medexp.data.sources import image_folder, msd, npz, table
from medexp.errors import Faults, UserError

DATA = Path(os.environ.get("MEDEXP_DATA", "absent"))
Source = Callable[[Path], list[Record]]


def touch(root: Path, *names: str) -> Path:
    """Empty files: a source lists and never opens them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def decathlon(root: Path, *names: str, **content: Any) -> Path:
    touch(root, *(f"{folder}/{name}.nii.gz" for folder in ("imagesTr", "labelsTr") for name in names))
    pairs = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    (root / "dataset.json").write_text(json.dumps({"training": pairs, **content}))
    return root


def csv_table(root: Path, *lines: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def arrays(path: Path, **content: Any) -> Path:
    np.savez(path, **{name: np.asarray(values) for name, values in content.items()})
    return path


MAKERS: dict[str, tuple[Source, Callable[[Path], Path]]] = {
    "msd": (msd.records, lambda root: decathlon(root, "b", "a", "c")),
    "table": (
        table.records,
        lambda root: csv_table(touch(root, "b.png", "a.png"), "image,label", "b.png,ill", "a.png,well"),
    ),
    "image_folder": (image_folder.records, lambda root: touch(root, "well/a.png", "ill/b.png", "ill/a.png")),
    "npz": (
        npz.records,
        lambda root: arrays(root.with_suffix(".npz"), train_images=np.zeros((2, 3, 3)), train_labels=[[1], [0]]),
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_records_of_a_source_are_sorted_unique_and_lie_below_its_root(tmp_path: Path, name: str) -> None:
    records, make = MAKERS[name]
    root = make(tmp_path / "set")
    found = records(root)
    ids = [record.case_id for record in found]
    assert ids == sorted(set(ids))
    assert len(found) >= 2
    files = [path for record in found for path in (*record.images, record.label) if path]
    assert all(path.is_file() and path.is_relative_to(root) for path in files)


@pytest.mark.parametrize("name", MAKERS)
def test_a_missing_root_is_named_with_the_next_move(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"dataset\.root: .*/gone .*set dataset\.root=") as caught:
        MAKERS[name][0](tmp_path / "gone")
    assert "\n" not in str(caught.value)


def test_msd_pairs_image_and_label_and_takes_the_patient_from_the_id(tmp_path: Path) -> None:
    root = decathlon(tmp_path, "liver_12_b", "liver_3_a")
    first, second = msd.records(root, patient_pattern=r"liver_(\d+)")
    assert first == Record(
        "liver_12_b",
        (root / "imagesTr/liver_12_b.nii.gz",),
        root / "labelsTr/liver_12_b.nii.gz",
        patient_id="12",
    )
    assert second.group == "3"
    assert msd.records(root)[0].group == "liver_12_b"


@pytest.mark.parametrize(
    ("pattern", "message"), [("spleen_(.)", "finds no group"), ("liver", "finds no group"), ("(", "no regular expr")]
)
def test_msd_pattern_that_finds_no_patient_is_named(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"dataset\.source\.patient_pattern: .*{message}"):
        msd.records(decathlon(tmp_path, "liver_1"), patient_pattern=pattern)


def test_msd_lists_all_missing_files_at_once(tmp_path: Path) -> None:
    root = decathlon(tmp_path, "a", "b", "c")
    (root / "imagesTr/a.nii.gz").unlink()
    (root / "labelsTr/c.nii.gz").unlink()
    with pytest.raises(Faults, match=r"2 files that .*dataset\.json names are missing") as caught:
        msd.records(root)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["case a", "case c"]


def test_msd_passes_over_what_macos_leaves_behind(tmp_path: Path) -> None:
    assert [record.case_id for record in msd.records(decathlon(tmp_path, "a", "._a"))] == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{not json", "is no Decathlon description"),
        ("[]", "is no Decathlon description"),
        ('{"test": []}', "needs a list 'training'"),
        ('{"training": {}}', "'training' is a dict, not a list"),
        ('{"training": ["a.nii.gz"]}', r"training\[0\] is no \{image, label\} pair"),
        ('{"training": [{"image": "../a.nii.gz", "label": "b"}]}', r"training\[0\]\.image: '\.\./a\.nii\.gz' does not"),
        ('{"training": [{"image": "a.nii", "label": "/etc/b"}]}', r"training\[0\]\.label: '/etc/b' does not lie below"),
    ],
)
def test_msd_description_that_cannot_be_used_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        msd.records(tmp_path)
    assert "\n" not in str(caught.value)


def test_msd_folder_without_description_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root: .* has no dataset\.json"):
        msd.records(tmp_path)


def test_msd_case_that_stands_twice_is_named(tmp_path: Path) -> None:
    root = decathlon(tmp_path, "a")
    pair = json.loads((root / "dataset.json").read_text())["training"]
    (root / "dataset.json").write_text(json.dumps({"training": pair * 2}))
    with pytest.raises(Faults, match="1 case ids stand twice") as caught:
        msd.records(root)
    assert caught.value.problems == ["a"]


def test_table_columns_become_channels_label_patient_and_split(tmp_path: Path) -> None:
    root = csv_table(
        touch(tmp_path, "t1/a.nii.gz", "t2/a.nii.gz", "mask/a.nii.gz"),
        "T1,T2,mask,subject,part,id",
        "t1/a.nii.gz,t2/a.nii.gz,mask/a.nii.gz,007,val,first",
    )
    options = {"image": ["T1", "T2"], "label": "mask", "target": None, "patient": "subject", "split": "part"}
    record = Record(
        case_id="t1_a",
        images=(root / "t1/a.nii.gz", root / "t2/a.nii.gz"),
        label=root / "mask/a.nii.gz",
        patient_id="007",
        split="val",
    )
    assert table.records(root, **options) == [record]
    assert table.records(root, case="id", **options)[0].case_id == "first"


def test_table_classes_are_words_even_where_they_look_like_numbers_or_nothing(tmp_path: Path) -> None:
    root = csv_table(touch(tmp_path, "a.png", "b.png", "c.png"), "image,label", "a.png,01", "b.png,NA", "c.png,1.0")
    assert [record.target for record in table.records(root)] == ["01", "NA", "1.0"]


def test_table_cells_hold_several_classes_or_none_with_a_separator(tmp_path: Path) -> None:
    root = csv_table(touch(tmp_path, "a.png", "b.png"), "image,label", "a.png,mass; edema", "b.png,")
    assert [record.target for record in table.records(root, target_separator=";")] == [["mass", "edema"], []]


@pytest.mark.parametrize("name", ["patient", "Subject_ID"])
def test_table_columns_of_patients_are_known_by_their_names(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    root = csv_table(touch(tmp_path, "a.png", "b.png"), f"image,{name},label", "a.png,p1,x", "b.png,p1,y")
    assert [record.group for record in table.records(root)] == ["p1", "p1"]
    assert f"told apart by the column '{name}'" in caplog.text
    assert [record.group for record in table.records(root, patient=None)] == ["a", "b"]


def test_table_without_rows_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.csv: has a header and no rows"):
        table.records(csv_table(tmp_path, "image,label"))


def test_table_written_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "a, b.png")
    (tmp_path / "labels.csv").write_bytes('\ufeffimage,label\r\n"a, b.png",ill\r\n\r\n'.encode())
    assert [(record.case_id, record.target) for record in table.records(tmp_path)] == [("a, b", "ill")]


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (
            ["image,clas", "a.png,x"],
            {"target": "class"},
            r"source\.target: no column 'class' in .*; did you mean 'clas'\?",
        ),
        (
            ["img,label", "a.png,x"],
            {},
            r"source\.image: no column 'image' in .*; did you mean 'img'\?; columns: img, label",
        ),
        (["image,label", "a.png,x", "", "a.png,"], {}, r"row 4: column 'label' is empty"),
        (["image,label", "a.png"], {}, r"row 2: 1 cells, the header has 2"),
        (["image,label", "a.png,x,1", "a.png,y,2"], {}, r"row 2: 3 cells, the header has 2"),
        (["image,image,label", "a.png,a.png,x"], {}, "two columns are named image"),
        (["image,label", '"a.png,x'], {}, "cannot be read as a table"),
        ([""], {}, "is empty; its first row must name the columns"),
        (["image,label", "../a.png,x"], {}, r"row 2, column 'image': '\.\./a\.png' does not lie below"),
        (["image,label", "/etc/a.png,x"], {}, r"row 2, column 'image': '/etc/a\.png' does not lie below"),
        (["image,label", "gone.png,x"], {}, r"case gone: .*gone\.png: no such file"),
        (["image,label", "a.png,x", "a.png,y"], {}, "1 case ids stand twice"),
        (["image,label", "a.png,holdout"], {"split": "label"}, "row 2: split 'holdout' is not one of train, val, test"),
        (["image,label", "a.png,a.png"], {"label": "label"}, r"column 'label' holds the label maps; .*target=null"),
        (["image,label", "a.png,x"], {"csv": "other.csv"}, r"other\.csv: no such table; set dataset\.source\.csv"),
        (
            ["image,label", "a.png,x"],
            {"csv": "../labels.csv"},
            r"dataset\.source\.csv: '\.\./labels\.csv' does not lie",
        ),
    ],
)
def test_table_that_cannot_be_used_is_named_with_the_row(
    tmp_path: Path, lines: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        table.records(csv_table(touch(tmp_path, "a.png"), *lines), **options)


def test_all_rows_of_a_table_that_cannot_be_used_are_named_at_once(tmp_path: Path) -> None:
    rows = ["../a.png,a.png,train", "a.png,/etc/x.png,valid", "gone.png,a.png,val", "a.png,lost.png,holdout"]
    root = csv_table(touch(tmp_path, "a.png"), "image,mask,part", *rows)
    with pytest.raises(Faults) as caught:
        table.records(root, label="mask", target=None, split="part")
    assert caught.value.headline == f"{root / 'labels.csv'}: 4 wrong cells, 2 files that it names are missing"
    assert caught.value.problems == [
        f"row 2, column 'image': '../a.png' does not lie below {root}; give a path relative to it (a link there may lead anywhere)",
        f"row 3, column 'mask': '/etc/x.png' does not lie below {root}; give a path relative to it (a link there may lead anywhere)",
        "row 3: split 'valid' is not one of train, val, test",
        "row 5: split 'holdout' is not one of train, val, test",
        f"case gone: {root / 'gone.png'}: no such file",
        f"case a: {root / 'lost.png'}: no such file",
    ]


def test_table_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("image,label\nMüller.png,x\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"labels\.csv: cannot be read as a table: .*save it as CSV in UTF-8"):
        table.records(tmp_path)


def test_folders_are_classes(tmp_path: Path) -> None:
    root = touch(tmp_path, "well/a.png", "ill/a.nii.gz", "ill/.DS_Store", "README.txt", ".git/x.png")
    assert [(r.case_id, r.target, r.split) for r in image_folder.records(root)] == [
        ("ill_a", "ill", None),
        ("well_a", "well", None),
    ]


def test_split_folders_above_the_classes_give_the_split(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/ill/a.png", "valid/ill/b.png", "test/well/c.JPG")
    assert [(r.case_id, r.target, r.split) for r in image_folder.records(root)] == [
        ("test_well_c", "well", "test"),
        ("train_ill_a", "ill", "train"),
        ("valid_ill_b", "ill", "val"),
    ]


def test_class_folder_without_images_is_named_not_dropped(tmp_path: Path) -> None:
    root = touch(tmp_path, "ill/a.png", "well/scan/a.png", "other/a.txt")
    with pytest.raises(Faults, match="2 class folders without an image") as caught:
        image_folder.records(root)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [str(root / "other"), str(root / "well")]


def test_split_folder_beside_class_folders_is_named_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(Faults, match="1 class folders without an image"):
        image_folder.records(touch(tmp_path, "train/ill/a.png", "ill/a.png"))


def test_folder_of_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no folders; a folder a class is expected"):
        image_folder.records(tmp_path)


def test_images_pair_with_masks_by_name(tmp_path: Path) -> None:
    root = touch(tmp_path, "x/b.jpg", "x/a.png", "y/a_mask.png", "y/b_mask.tif", "y/notes.txt")
    found = image_folder.records(root, images="x", masks="y", mask_suffix="_mask")
    assert found == [
        Record("a", (root / "x/a.png",), root / "y/a_mask.png"),
        Record("b", (root / "x/b.jpg",), root / "y/b_mask.tif"),
    ]


def test_image_without_mask_and_mask_without_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(Faults, match="2 files without their other half") as caught:
        image_folder.records(touch(tmp_path, "x/a.png", "x/b.png", "y/b.png", "y/c.png"), images="x", masks="y")
    assert caught.value.problems == [
        f"{tmp_path / 'x/a.png'}: no mask of that name",
        f"{tmp_path / 'y/c.png'}: no image of that name",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "x"}, "give both images=FOLDER and masks=FOLDER"),
        ({"images": "x", "masks": "z"}, r"dataset\.source\.masks: .*/z is not a folder"),
        ({"images": "..", "masks": "x"}, r"dataset\.source\.images: '\.\.' does not lie below"),
        ({"images": "x", "masks": "y"}, r"a\.png: has the name of a\.jpg, so pairs are not clear"),
    ],
)
def test_pairs_that_cannot_be_made_are_named(tmp_path: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        image_folder.records(touch(tmp_path, "x/a.png", "x/a.jpg", "y/a.png"), **options)


def test_npz_rows_become_cases_of_their_split(tmp_path: Path) -> None:
    pixels = np.arange(5 * 9, dtype=np.uint8).reshape(5, 3, 3)
    path = arrays(
        tmp_path / "a.npz",
        train_images=pixels[:3],
        train_labels=np.array([[2], [0], [1]], dtype=np.uint8),
        test_images=pixels[3:],
        test_labels=[1, 1],
    )
    found = npz.records(path)
    assert npz.records(tmp_path, file="a.npz") == found
    by_id = {record.case_id: (record.target, record.split) for record in found}
    assert by_id == {
        "train_000000": (2, "train"),
        "train_000001": (0, "train"),
        "train_000002": (1, "train"),
        "test_000000": (1, "test"),
        "test_000001": (1, "test"),
    }
    for record in found:
        row = int(record.case_id[-1]) + (3 if record.split == "test" else 0)
        np.testing.assert_array_equal(read_image(record, spatial_dims=2, channels=1).array[0], pixels[row])


def test_npz_labels_of_several_columns_become_lists(tmp_path: Path) -> None:
    path = arrays(tmp_path / "a.npz", val_images=np.zeros((2, 3, 3)), val_labels=[[0, 1, 1], [0, 0, 0]])
    assert [record.target for record in npz.records(path)] == [[0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": [1]}, "holds x; a MedMNIST file holds train_images, train_labels"),
        ({"train_labels": [1, 2]}, "no rows in train_images for 2 in train_labels"),
        ({"train_images": np.zeros((3, 2, 2)), "train_labels": [1, 2]}, "3 rows in train_images for 2 in train_labels"),
        ({"train_images": np.zeros((2, 2, 2)), "train_labels": [0.5, 1]}, "train_labels are not whole numbers"),
        (
            {"train_images": np.zeros((2, 2, 2)), "train_labels": np.array([None, 1], dtype=object)},
            r"cannot be read as \.npz",
        ),
    ],
)
def test_npz_that_is_no_medmnist_file_is_named(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        npz.records(arrays(tmp_path / "a.npz", **content))


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"PK\x03\x04 cut"])
def test_npz_that_is_no_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz: cannot be read as \.npz: .*download it again"):
        npz.records(tmp_path / "a.npz")
