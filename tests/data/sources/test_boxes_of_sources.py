"""Sources that give boxes: of the phantom's lesions, of one mask an object, of nodules, without slips of the mouse."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from layouts import luna16 as layout
from layouts.luna16 import uid
from layouts.object_masks import write_mask, write_object_masks
from layouts.voc import write_voc

from medexp.data.formats.metaimage import read_metaimage
from medexp.data.formats.scan import Wanted
from medexp.data.images import read_image, read_label
from medexp.data.sources import luna16_nodules, object_masks, phantom, voc
from medexp.errors import Faults, UserError


def test_lesions_of_the_phantom_have_boxes_where_boxes_are_the_target(phantom: Path) -> None:
    found = phantom_records(phantom, "boxes")
    assert all(record.boxes is None for record in phantom_records(phantom, "presence"))
    assert sum(len(record.boxes or ()) for record in found) > 5
    for record in found:
        lesion = read_label(record, spatial_dims=3).array == 3
        for box in record.boxes or ():
            assert box.name == "lesion"
            cut = tuple(slice(int(a), int(b)) for a, b in zip(box.lower, box.upper, strict=True))
            assert lesion[cut].any()
            lesion[cut] = False
        assert not lesion.any()


def phantom_records(root: Path, target: str) -> list[phantom.Record]:
    return phantom.records(root, patients=10, target=target)


def test_each_mask_has_its_box_also_where_objects_touch(tmp_path: Path) -> None:
    root = write_object_masks(tmp_path, cases=2, objects=1)
    mask = np.zeros((64, 64))
    mask[10:14, 20:26] = 255
    write_mask(root / "case0/masks/a.png", mask)
    write_mask(root / "case0/masks/b.png", np.roll(mask, 6, axis=1))
    first, second = object_masks.records(root, boxes="nucleus")
    assert [(box.name, box.lower, box.upper) for box in (first.boxes or ())[:2]] == [
        ("nucleus", (10, 20), (14, 26)),
        ("nucleus", (10, 26), (14, 32)),
    ]
    assert len(first.boxes or ()) == 3
    (box,) = second.boxes or ()
    assert [b - a for a, b in zip(box.lower, box.upper, strict=True)] == [8, 8]
    assert all(record.boxes is None for record in object_masks.records(root))


def test_masks_that_cannot_be_read_are_named_with_their_case(tmp_path: Path) -> None:
    root = write_object_masks(tmp_path, cases=3)
    write_mask(root / "case1/masks/empty.png", np.zeros((64, 64)))
    with pytest.raises(Faults, match="1 of 3 cases cannot be used") as caught:
        object_masks.records(root, boxes="nucleus")
    assert caught.value.problems == [f"case case1: {root / 'case1/masks'}: empty.png marks no pixel"]


def test_clicks_are_left_out_where_asked_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_voc(tmp_path, {"a": [("cell", 5, 5, 5, 5), ("cell", 8, 8, 20, 9)], "b": [("cell", 3, 3, 3, 3)]})
    assert [len(record.boxes or ()) for record in voc.records(root)] == [2, 1]
    with caplog.at_level(logging.INFO, "medexp"):
        assert [len(record.boxes or ()) for record in voc.records(root, clicks="drop")] == [1, 0]
    assert "2 boxes of a single pixel are left out (dataset.source.clicks=drop)" in caplog.text
    with pytest.raises(UserError, match=r"dataset\.source\.clicks: 'no' is not one of keep, drop"):
        voc.records(root, clicks="no")  # type: ignore[arg-type]


def test_nodules_lie_within_their_boxes(tmp_path: Path) -> None:
    """Balls of 3 voxels a side, 100 HU in air, were drawn where the table says, 6.5 mm wide at 1.5 x 1.5 x 2 mm."""
    found = luna16_nodules.records(layout.write(tmp_path, scans=4))
    assert [record.case_id for record in found] == [uid(number) for number in range(4)]
    for record in found:
        (box,) = record.boxes or ()
        assert box.name == "nodule"
        image = read_image(record, spatial_dims=3).array[0]
        places = np.argwhere(image > 50)
        np.testing.assert_allclose(np.add(box.lower, box.upper) / 2, places.mean(axis=0) + 0.5, atol=1e-3)
        np.testing.assert_allclose(np.subtract(box.upper, box.lower), 6.5 / np.array([1.5, 1.5, 2]), atol=1e-3)


def test_nodules_reaching_out_of_the_scan_are_cut_and_those_elsewhere_are_named(tmp_path: Path) -> None:
    root = layout.write(tmp_path, scans=2)
    scan = read_metaimage(root / f"subset0/{uid(0)}.mhd", Wanted(3, 1))
    table = root / "annotations.csv"
    table.write_text(f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{uid(0)},-100,-80,-300,6\n")
    first, second = luna16_nodules.records(root)
    assert second.boxes == ()
    (box,) = first.boxes or ()
    assert box.lower == (0, 0, 0)
    np.testing.assert_allclose(box.upper, [2.5, 2.5, 2.0])
    assert scan.array.shape[1:] == (24, 22, 20)
    table.write_text(f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{uid(0)},100,80,300,6\n")
    with pytest.raises(Faults) as caught:
        luna16_nodules.records(root)
    assert "lies outside of its scan" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seriesuid,coordX,coordY,coordZ\n", "has no column diameter_mm"),
        (f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{uid(0)},1,2,3,-4\n", "1 rows of"),
        (f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{uid(7)},1,2,3,4\n", "1 scans with nodules are not below"),
    ],
)
def test_tables_of_nodules_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    root = layout.write(tmp_path, scans=2)
    (root / "annotations.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        luna16_nodules.records(root)


def test_a_subset_of_nodules_may_be_the_test_split(tmp_path: Path) -> None:
    root = layout.write(tmp_path, scans=4)
    assert [r.split for r in luna16_nodules.records(root, test_subset=1)] == ["train", "test", "train", "test"]
    assert {r.case_id for r in luna16_nodules.records(root, subsets=[1])} == {uid(1), uid(3)}
    with pytest.raises(UserError, match="test_subset: 7 is not one of the subsets"):
        luna16_nodules.records(root, test_subset=7)
