"""Pascal VOC folders: boxes in array coordinates, the official split, and every annotation that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts.voc import Object, annotation, write_voc

from medexp.data.images import read_image
from medexp.data.records import Box
from medexp.data.sources import voc
from medexp.errors import Faults, UserError

CELLS = {
    "b": [("RBC", 1, 1, 4, 3), ("WBC", 11, 21, 30, 40), ("RBC", 50, 40, 64, 48)],
    "a ü": [("WBC", 2, 2, 9, 9)],
    "c": [],
}


def test_boxes_count_from_zero_and_end_just_beyond(tmp_path: Path) -> None:
    second, first, _ = (found := voc.records(write_voc(tmp_path, CELLS)))[1], found[0], found[2]
    assert [record.case_id for record in found] == ["a ü", "b", "c"]
    assert second.boxes == (Box("RBC", (0, 0), (3, 4)), Box("WBC", (20, 10), (40, 30)), Box("RBC", (39, 49), (48, 64)))
    assert first.images == (tmp_path / "JPEGImages/a ü.jpg",)
    image = read_image(second, spatial_dims=2, channels=3).array[0]
    for box in second.boxes:
        (top, left), (bottom, right) = (map(int, corner) for corner in (box.lower, box.upper))
        assert image[top:bottom, left:right].mean() > 140
    assert image.mean() < 100


@given(corners=st.lists(st.tuples(*[st.integers(1, 30)] * 4), max_size=5))
def test_a_box_has_as_many_pixels_as_voc_says(tmp_path_factory: pytest.TempPathFactory, corners: list[Any]) -> None:
    path = tmp_path_factory.mktemp("voc") / "a.xml"
    objects = [("cell", x, y, x + width - 1, y + height - 1) for x, y, width, height in corners]
    path.write_text(annotation("a", objects))
    boxes = voc.read_boxes(path)
    extents = [(box.upper[0] - box.lower[0], box.upper[1] - box.lower[1]) for box in boxes]
    assert extents == [(height, width) for _, _, width, height in corners]


@pytest.mark.parametrize(
    ("options", "targets"),
    [
        ({}, [["WBC"], ["RBC", "WBC"], []]),
        ({"classes": ["WBC", "RBC"]}, [["WBC"], ["WBC", "RBC"], []]),
        ({"classes": ["RBC", "WBC"], "target": "count"}, [[0, 1], [2, 1], [0, 0]]),
        ({"target": "count"}, [1, 3, 0]),
        ({"target": "boxes"}, [None, None, None]),
    ],
)
def test_targets(tmp_path: Path, options: dict[str, Any], targets: list[Any]) -> None:
    assert [record.target for record in voc.records(write_voc(tmp_path, CELLS), **options)] == targets


@pytest.mark.parametrize(
    ("sets", "split"),
    [
        ({"train": ["b"], "val": ["a"], "test": ["c"], "trainval": ["a", "b"]}, ["val", "train", "test"]),
        ({"train": ["b"], "val": ["a", "c"], "trainval": ["a", "b", "c"]}, ["val", "train", "val"]),
        ({"trainval": ["a", "b"], "test": ["c"]}, ["train", "train", "test"]),
        ({}, [None, None, None]),
    ],
)
def test_official_lists_are_the_split(tmp_path: Path, sets: dict[str, Sequence[str]], split: list[str | None]) -> None:
    root = write_voc(tmp_path, {"a": [], "b": [], "c": []}, sets)
    assert [record.split for record in voc.records(root)] == split
    assert {record.split for record in voc.records(root, sets=None)} == {None}


def test_lists_that_do_not_fit_the_annotations_are_named_all_at_once(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": [], "b": [], "c": []}, {"train": ["a", "d"], "val": ["a"], "test": ["b"]})
    with pytest.raises(Faults, match=r"3 faults in the split of .*sets=null") as caught:
        voc.records(root)
    where = root / "ImageSets/Main"
    assert caught.value.problems == [
        f"case d: is in {where / 'train.txt'}, but has no annotation",
        f"case a: is in {where / 'train.txt'} and in {where / 'val.txt'}",
        f"case c: is in no list of {where}",
    ]


def test_image_and_annotation_without_the_other_are_named(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": [], "b": [], "c": []})
    (root / "Annotations/a.xml").unlink()
    (root / "JPEGImages/c.jpg").unlink()
    (root / "JPEGImages/b.png").touch()
    with pytest.raises(Faults, match="3 faults in the annotations") as caught:
        voc.records(root)
    assert caught.value.problems == [
        f"case a: {root / 'JPEGImages/a.jpg'}: no annotation of that name",
        f"case b: {root / 'JPEGImages/b.png'}: has the name of b.jpg; remove one",
        f"case c: {root / 'Annotations/c.xml'}: no image of that name",
    ]


BOX: list[Object] = [("cell", 1, 1, 2, 2)]
BOMB = "<!DOCTYPE a [<!ENTITY x 'xxxxxxxx'><!ENTITY y '&x;&x;&x;&x;'>]><annotation><object>&y;</object></annotation>"
STEAL = "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><annotation><folder>&x;</folder></annotation>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no XML"),
        ("<annotation><object>", "is no XML"),
        ("\0\1\2", "is no XML"),
        ("<html></html>", "its root is <html>, not <annotation>"),
        (BOMB, "has a document type"),
        (STEAL, "has a document type"),
        (annotation("a", BOX).replace("cell", "cel"), "object 1: class 'cel' is not in dataset.classes; did you mean"),
        (annotation("a", BOX).replace("cell", ""), "object 1: has no name"),
        (annotation("a", BOX).replace("<xmax>2", "<xmax>two"), "object 1: xmax is 'two', not a number"),
        (annotation("a", BOX).replace("<xmax>2", "<xmax>nan"), "object 1: xmax is 'nan', not a number"),
        (annotation("a", BOX).replace("<ymin>1</ymin>", ""), "object 1: ymin is missing, not a number"),
        (annotation("a", BOX).replace("bndbox", "polygon"), "object 1: ymin is missing, not a number"),
    ],
)
def test_annotation_that_cannot_be_used_is_named_beside_the_others(tmp_path: Path, content: str, message: str) -> None:
    root = write_voc(tmp_path, {"a": BOX, "b": BOX, "c": [("cell", 1, 1, 2, 2), ("gone", 1, 1, 2, 2)]})
    (root / "Annotations/a.xml").write_text(content)
    with pytest.raises(Faults, match="2 faults in the annotations") as caught:
        voc.records(root, classes=["cell"])
    first, second = caught.value.problems
    assert first.startswith(f"case a: {root / 'Annotations/a.xml'}: {message}")
    assert "passwd" not in first
    assert "object 2: class 'gone' is not in dataset.classes" in second


def test_annotation_beyond_all_measure_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voc, "LARGEST", 100)
    with pytest.raises(Faults, match="is larger than 0 MiB"):
        voc.read_boxes(write_voc(tmp_path, {"a": BOX}) / "Annotations/a.xml")


def test_boxes_of_parts_and_boxes_outside_of_the_image_are_left_to_the_check(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": BOX})
    part = "<part><bndbox><ymin>7</ymin></bndbox></part>"
    box = "<bndbox><xmin>-3</xmin><ymin>9</ymin><xmax>999</xmax><ymax>2</ymax></bndbox>"
    entry = f"<object><name>cell</name>{part}{box}</object>"
    (root / "Annotations/a.xml").write_text(f"<annotation>{entry}</annotation>")
    (record,) = voc.records(root)
    assert record.boxes == (Box("cell", (8, -4), (2, 999)),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "number"}, r"dataset\.source\.target: 'number' is not one of presence, count, boxes"),
        ({"images": "x"}, r"dataset\.source\.images: .*/x is not a folder"),
        ({"annotations": "../x"}, r"dataset\.source\.annotations: '\.\./x' does not lie below"),
        ({"sets": "/etc"}, r"dataset\.source\.sets: '/etc' does not lie below"),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        voc.records(write_voc(tmp_path, CELLS), **options)


@pytest.mark.real_data
def test_bccd_has_the_published_counts_and_two_boxes_of_one_pixel(real_data: Callable[[str], Path]) -> None:
    found = voc.records(real_data("bccd"), classes=["RBC", "WBC", "Platelets"])
    assert Counter(record.split for record in found) == {"train": 205, "val": 87}
    boxes = [(record.case_id, box) for record in found for box in record.boxes or ()]
    assert Counter(box.name for _, box in boxes) == {"RBC": 3350, "WBC": 301, "Platelets": 292}
    corners = np.array([[*box.lower, *box.upper] for _, box in boxes])
    assert corners.min() == 0  # counted from 1 in the files
    assert (corners[:, 2:] <= (480, 640)).all()
    points = [(case, box) for case, box in boxes if box.upper[0] - box.lower[0] == 1 == box.upper[1] - box.lower[1]]
    assert points == [  # xmin = xmax and ymin = ymax: a click, not a box
        ("BloodImage_00338", Box("RBC", (336, 503), (337, 504))),
        ("BloodImage_00343", Box("RBC", (328, 180), (329, 181))),
    ]
