"""Measures by name: from a source, from a table, and from label maps that nothing else sees."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from layouts.object_masks import write_object_masks

from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.sources import msd, object_masks, phantom, table
from medexp.data.store.content import Contents
from medexp.data.targets import encode
from medexp.data.values import valued
from medexp.errors import Faults, UserError

FLAT, SOLID = Preparation(2, 1), Preparation(3, 1)
CLASSES = ["background", "anterior", "posterior"]


def one(target: Any, targets: dict[str, Any]) -> Record:
    return valued([Record("case7", (), target=target)], targets, [], FLAT, None)[0]


@pytest.mark.parametrize(
    ("target", "targets", "values"),
    [
        (3, {"count": ""}, [3]),
        ("2.5", {"volume": "ml"}, [2.5]),
        ([3, 4.5], {"count": "", "volume": "ml"}, [3, 4.5]),
        ({"volume": "4.5", "count": 3, "other": 9}, {"count": "", "volume": "ml"}, [3, 4.5]),
    ],
)
def test_values_come_in_the_order_of_the_targets(target: Any, targets: dict[str, Any], values: list[float]) -> None:
    found = encode(one(target, targets), [], "value")
    assert found.dtype == torch.float32
    assert found.tolist() == values


def test_a_class_is_its_place_among_those_of_its_target() -> None:
    targets = {"volume": "ml", "presence": ["healthy", "lesion"]}
    found = one({"presence": "lesion", "volume": 2}, targets)
    assert encode(found, CLASSES, "multitask").tolist() == [2, 1]
    assert encode(one({"presence": 1, "volume": 2}, targets), CLASSES, "multitask").tolist() == [2, 1]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "case case7: has no value"),
        ({"volume": ""}, "case case7: volume: has no value"),
        ("large", "case case7: volume: 'large' is no number"),
        ("nan", "case case7: volume: nan is not finite"),
    ],
)
def test_what_is_no_value_is_said_by_case(target: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        encode(one(target, {"volume": "ml"}), [], "value")


def test_a_class_that_a_target_does_not_name_is_said() -> None:
    with pytest.raises(UserError, match=r"case case7: presence: 'lesio' is no number, nor one of its classes"):
        encode(one("lesio", {"presence": ["healthy", "lesion"]}), [], "multitask")


def test_names_that_do_not_fit_the_source_are_said() -> None:
    with pytest.raises(UserError, match=r"dataset.targets.volum: no such target; did you mean 'volume'"):
        one({"volume": 1}, {"volum": "ml"})
    with pytest.raises(UserError, match=r"case case7: 2 values for 1 targets \(volume\)"):
        one([1, 2], {"volume": "ml"})


def test_without_targets_records_stay_as_they_are() -> None:
    records = [Record("a", (), target="lesion")]
    assert valued(records, {}, [], FLAT, None) == records


@pytest.fixture
def hippocampi(layouts: SimpleNamespace, tmp_path: Path) -> list[Record]:
    return msd.records(layouts.msd(tmp_path / "msd", cases=3))


def test_volumes_are_those_of_label_maps_in_ml(hippocampi: list[Record], tmp_path: Path) -> None:
    targets = {"whole": {"volume": ["anterior", "posterior"]}, "front": {"volume": ["anterior"]}}
    for store in (None, tmp_path / "store", tmp_path / "store"):  # read anew, remembered, remembered
        found = valued(hippocampi, targets, CLASSES, SOLID, store)
        for record in found:
            label: Any = nib.load(record.label)  # type: ignore[arg-type]
            array = np.asarray(label.dataobj)
            ml = float(np.prod(label.header.get_zooms())) / 1000
            assert record.target["whole"] == pytest.approx((array > 0).sum() * ml)
            assert record.target["front"] == pytest.approx((array == 1).sum() * ml)
    assert encode(found[0], CLASSES, "value").shape == (2,)


def test_a_label_map_is_read_once(hippocampi: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = {"whole": {"volume": ["anterior"]}}
    first = valued(hippocampi, targets, CLASSES, SOLID, tmp_path / "store")
    monkeypatch.setattr(Preparation, "read_label", lambda *_: pytest.fail("read again"))
    assert valued(hippocampi, targets, CLASSES, SOLID, tmp_path / "store") == first
    assert Contents(tmp_path / "store").note("another") is None


def test_a_label_map_that_changes_is_measured_again(hippocampi: list[Record], tmp_path: Path) -> None:
    targets = {"whole": {"volume": ["anterior"]}}
    before = valued(hippocampi, targets, CLASSES, SOLID, tmp_path / "store")
    path = hippocampi[0].label
    assert path is not None
    label: Any = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(label.shape, np.uint8), label.affine), path)
    after = valued(hippocampi, targets, CLASSES, SOLID, tmp_path / "store")
    assert before[0].target["whole"] > after[0].target["whole"] == 0
    assert after[1:] == before[1:]


def test_every_label_map_that_cannot_be_measured_is_named(hippocampi: list[Record]) -> None:
    first, second, _ = (record.label for record in hippocampi)
    assert first is not None
    assert second is not None
    first.write_bytes(b"no image")
    label: Any = nib.load(second)
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj)[:-1], label.affine), second)
    with pytest.raises(Faults, match="2 label maps cannot be measured") as caught:
        valued(hippocampi, {"whole": {"volume": ["anterior"]}}, CLASSES, SOLID, None)
    assert "case_000" in caught.value.problems[0]
    assert "label shape (23, 28, 20) differs from image shape (24, 28, 20)" in caught.value.problems[1]


def test_a_volume_that_cannot_be_asked_for_is_said(hippocampi: list[Record]) -> None:
    for entry, message in (
        ({"volume": ["anterio"]}, "dataset.targets.whole: no class 'anterio'; did you mean 'anterior'"),
        ({"area": ["anterior"]}, r"a unit, a list of classes, or {volume: \[class, ...\]} is needed"),
        ({"volume": []}, "is needed"),
    ):
        with pytest.raises(UserError, match=message):
            valued(hippocampi, {"whole": entry}, CLASSES, SOLID, None)
    with pytest.raises(UserError, match="pictures have no volume"):
        valued(hippocampi, {"whole": {"volume": ["anterior"]}}, CLASSES, FLAT, None)


def test_a_case_without_a_label_map_has_no_volume(hippocampi: list[Record]) -> None:
    bare = Record("bare", hippocampi[0].images)
    assert valued([bare], {"whole": {"volume": ["anterior"]}}, CLASSES, SOLID, None)[0].target is None


def test_objects_can_be_counted(tmp_path: Path) -> None:
    root = write_object_masks(tmp_path, cases=2, objects=4)
    (root / "case1/masks/object0.png").unlink()
    assert [record.target for record in object_masks.records(root, target="count")] == [4, 3]
    assert [record.target for record in object_masks.records(root)] == [None, None]


def test_several_columns_of_the_phantom_come_by_name(phantom_2d: Path) -> None:
    options: dict[str, Any] = {"spatial_dims": 2, "patients": 12}
    several = phantom.records(phantom_2d, target=["lesion_count", "presence"], **options)
    grades = phantom.records(phantom_2d, target="lesion_grade", **options)
    for record, grade in zip(several, grades, strict=True):
        count = record.target["lesion_count"]
        assert record.target["presence"] == ("lesion" if count else "healthy")
        assert grade.target == ("3+" if count >= 3 else str(int(count)))
    with pytest.raises(UserError, match=r"target='lesion_cout'; allowed: .*; did you mean 'lesion_count'"):
        phantom.records(phantom_2d, target=["presence", "lesion_cout"], **options)


def test_several_columns_of_a_table_come_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("image,age,volume\na.png,61,2.5\n")
    (record,) = table.records(tmp_path, target=["volume", "age"])
    assert record.target == {"volume": "2.5", "age": "61"}
    (named,) = valued([record], {"age": "years"}, [], FLAT, None)
    assert encode(named, [], "value").tolist() == [61]
    with pytest.raises(UserError, match="no column 'agee'"):
        table.records(tmp_path, target=["volume", "agee"])
