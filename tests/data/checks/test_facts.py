"""Facts of a case: numbers of its files alone, kept by content; what is wrong with it is judged for each record."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medexp.data.checks import measure
from medexp.data.checks.facts import CaseFacts, FactsCache, facts_of, gather, judged, measured
from medexp.data.checks.measure import displacement
from medexp.data.formats.scan import Scan
from medexp.data.parallel import Stop
from medexp.data.records import Record
from medexp.errors import Faults, UserError

Array = np.ndarray[Any, Any]
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
CLASSES = ["background", "liver", "lesion"]


def scan(array: Array, affine: Array = AFFINE, missing: tuple[int, ...] = ()) -> Scan:
    return Scan(array, affine, (2.0, 2.0, 5.0), missing)


def volume(seed: int = 0, channels: int = 1) -> Array:
    return np.random.default_rng(seed).normal(50, 10, (channels, 6, 7, 8)).astype(np.float32)


def boxes() -> Array:
    label = np.zeros((6, 7, 8), dtype=np.int32)
    label[1:3, 1:3, 1:3], label[4, 4, 4] = 1, 2
    return label


def record(case: str = "a") -> Record:
    return Record(case, (Path(f"{case}.nii.gz"),), Path(f"{case}_label.nii.gz"))


def test_the_numbers_of_a_case_are_those_of_its_arrays() -> None:
    image, label = volume(), boxes()
    facts = measured(scan(image), scan(label))
    assert (facts.shape, facts.spacing, facts.axes, facts.label_axes) == ((6, 7, 8), (2.0, 2.0, 5.0), "RAS", "RAS")
    assert facts.classes == {0: 336 - 9, 1: 8, 2: 1}
    assert facts.intensity[0] == pytest.approx((image.min(), image.max(), image.mean(), image.std()), rel=1e-6)
    (inside,) = facts.foreground
    assert inside is not None
    values = image[0][label > 0]
    assert (inside.mean, inside.std) == pytest.approx((values.mean(), values.std()), rel=1e-5)
    assert len(inside.quantiles) == 201
    assert inside.quantiles[0] == pytest.approx(values.min(), rel=1e-6)
    assert inside.quantiles[100] == pytest.approx(np.median(values), rel=1e-6)
    assert inside.quantiles[1] == pytest.approx(np.quantile(values, 0.005), rel=1e-6)
    assert inside.quantiles[200] == pytest.approx(values.max(), rel=1e-6)


def test_without_label_map_or_foreground_there_are_no_foreground_numbers() -> None:
    without = measured(scan(volume()), None)
    assert (without.foreground, without.classes, without.label_shape) == ((None,), {}, None)
    empty = measured(scan(volume()), scan(np.zeros((6, 7, 8), np.int32)))
    assert (empty.foreground, empty.classes) == ((None,), {0: 336})


def test_a_label_map_of_another_shape_is_measured_alone() -> None:
    facts = measured(scan(volume()), scan(boxes()[:3]))
    assert (facts.label_shape, facts.foreground) == ((3, 7, 8), (None,))


def test_a_missing_channel_has_no_numbers() -> None:
    image = volume(channels=2)
    image[1] = 0
    facts = measured(scan(image, missing=(1,)), scan(boxes()))
    assert facts.intensity[0] is not None
    assert facts.intensity[1] is None
    assert facts.foreground[1] is None
    assert facts.missing == (1,)
    assert facts.nonzero_fraction == 1.0
    assert "has no image for channel 1" in judged(record(), facts, CLASSES, "mask").warnings[0]


def test_voxels_that_are_not_zero_are_counted_and_boxed_over_all_channels() -> None:
    image = np.zeros((2, 6, 7, 8), np.float32)
    image[0, 1, 2, 3], image[1, 4, 2, 5] = 1, -1
    facts = measured(scan(image), None)
    assert facts.nonzero_fraction == pytest.approx(2 / 336)
    assert facts.nonzero_shape == (4, 1, 3)
    assert measured(scan(np.zeros_like(image)), None).nonzero_shape == (0, 0, 0)


def test_the_hash_of_an_image_tells_values_and_shape_but_not_the_order_in_memory() -> None:
    image = volume()
    same = np.asfortranarray(image)
    assert measured(scan(image), None).pixels == measured(scan(same), None).pixels
    assert measured(scan(image), None).pixels != measured(scan(image.reshape(1, 7, 6, 8)), None).pixels
    changed = image.copy()
    changed[0, 5, 6, 7] += 1
    assert measured(scan(image), None).pixels != measured(scan(changed), None).pixels


@given(arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32)), st.integers(1, 70))
def test_intensity_does_not_depend_on_the_parts_that_are_looked_at(values: Array, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "CHUNK", chunk)
        found = measure.intensity(values)
    wide = values.astype(np.float64)
    expected = (wide.min(), wide.max(), wide.mean(), wide.std())
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6 * max(1.0, float(np.abs(wide).max())))


@given(arrays(np.int64, st.integers(1, 60), elements=st.integers(-3, 2**17)), st.integers(1, 70))
def test_label_values_are_counted_whatever_they_are(values: Array, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "CHUNK", chunk)
        patch.setattr(measure, "LARGEST_VALUE", 2**10)
        assert measure.counts(values) == {int(v): int((values == v).sum()) for v in np.unique(values)}


def test_quantiles_of_a_large_foreground_are_of_every_kth_voxel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SAMPLE", 100)
    image = np.arange(1000, dtype=np.float32).reshape(1, 10, 10, 10)
    label = np.ones((10, 10, 10), np.int32)
    label[0] = 0  # 900 voxels from 100 on: every 9th
    (inside,) = measured(scan(image), scan(label)).foreground
    assert inside is not None
    assert inside.quantiles[0] == 100
    assert inside.quantiles[200] == 100 + 9 * 99
    assert inside.mean == pytest.approx(100 + 9 * 99 / 2)


def test_displacement_is_the_largest_at_any_corner_in_voxels() -> None:
    stretched = np.diag([2.0, 2.0, 5.5, 1.0])
    assert displacement(AFFINE, stretched, (6, 7, 8)) == pytest.approx(0.1 * 7)
    assert displacement(AFFINE, AFFINE, (6, 7, 8)) == 0
    assert displacement(AFFINE, np.diag([2.0, 3.0, 5.0, 1.0]), (6, 7)) == pytest.approx(0.5 * 6)


@given(
    st.integers(1, 3),
    st.lists(st.floats(0.1, 9), min_size=2, max_size=3),
    st.dictionaries(st.integers(-5, 300), st.integers(1, 2**40), max_size=4),
    st.booleans(),
)
def test_facts_come_back_from_json_as_they_were(
    channels: int, spacing: list[float], classes: dict[int, int], labelled: bool
) -> None:
    facts = replace(
        measured(scan(volume(channels=channels), missing=(0,)), scan(boxes()) if labelled else None),
        **{"spacing": tuple(spacing), "classes": classes, "errors": ["one"], "warnings": ["two", "three"]},
    )
    assert CaseFacts.from_json(json.loads(json.dumps(facts.to_json(), allow_nan=False))) == facts
    assert CaseFacts.from_json(facts.to_json()) == facts


def test_errors_and_warnings_name_the_case_that_is_judged() -> None:
    label = boxes()
    label[0, 0, 0] = 255
    facts = facts_of(record("a"), scan(np.ones((1, 6, 7, 8), np.float32)), scan(label), CLASSES, "mask")
    (error,), (warning,) = facts.errors, facts.warnings
    assert error.startswith("case a: a_label.nii.gz: label values 255 (1 voxels) are outside of 0..2")
    assert warning == "case a: a.nii.gz: every voxel has the same value"
    other = judged(record("b"), facts, [*CLASSES, *map(str, range(300))], "mask")
    assert other.errors == []
    assert other.warnings == ["case b: b.nii.gz: every voxel has the same value"]


def reader(read: list[str]) -> Callable[[Record], CaseFacts]:
    def examine(entry: Record) -> CaseFacts:
        read.append(entry.case_id)
        if entry.case_id == "bad":
            raise UserError("case bad: bad.nii.gz: is truncated")
        if entry.case_id == "worse":
            raise Faults("2 faults", ["case worse: one", "case worse: two"])
        return measured(scan(np.ones((1, 6, 7, 8), np.float32)), None)

    return examine


def test_every_case_is_read_and_what_cannot_be_keeps_its_errors() -> None:
    records = [record(case) for case in ("z", "bad", "worse", "a")]
    facts = gather(records, reader([]))
    assert list(facts) == ["z", "bad", "worse", "a"]
    assert [known.readable for known in facts.values()] == [True, False, False, True]
    assert facts["bad"].errors == ["case bad: bad.nii.gz: is truncated"]
    assert facts["worse"].errors == ["case worse: one", "case worse: two"]
    assert judged(records[1], facts["bad"], CLASSES, "mask") == facts["bad"]


def test_what_was_read_once_is_kept_by_content_and_judged_for_each_case(tmp_path: Path) -> None:
    cache, read = FactsCache(tmp_path / "facts"), []  # type: ignore[var-annotated]

    def look(*cases: str) -> dict[str, CaseFacts]:
        return gather(
            [record(case) for case in cases],
            reader(read),
            judge=lambda entry, facts: judged(entry, facts, CLASSES, "mask"),
            cache=cache,
            key_of=lambda entry: "one content" if entry.case_id in "ab" else entry.case_id,
        )

    assert look("a")["a"].warnings == ["case a: a.nii.gz: every voxel has the same value"]
    assert look("b")["b"].warnings == ["case b: b.nii.gz: every voxel has the same value"]
    assert read == ["a"]
    look("bad")
    look("bad")
    assert read == ["a", "bad", "bad"]  # what failed is tried again: the disk may be mended


@pytest.mark.parametrize("damage", [b"", b"{", b'{"digest": "0", "facts": "{}"}', b"[]", b"\xff\xfe"])
def test_a_damaged_entry_counts_as_absent(tmp_path: Path, damage: bytes) -> None:
    cache, facts = FactsCache(tmp_path), measured(scan(volume()), scan(boxes()))
    cache.put("key", facts)
    assert cache.get("key") == facts
    cache.path("key").write_bytes(damage)
    assert cache.get("key") is None
    cache.put("key", facts)
    assert cache.get("key") == facts
    changed = cache.path("key").read_text().replace("327", "328")
    cache.path("key").write_text(changed)
    assert cache.get("key") is None
    assert cache.get("another") is None


def test_many_writers_of_one_entry_leave_it_whole_and_nothing_else(tmp_path: Path) -> None:
    cache, facts = FactsCache(tmp_path), measured(scan(volume()), None)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cache.put("key", facts), range(64)))
    assert cache.get("key") == facts
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [cache.path("key")]


def test_a_cache_that_cannot_be_written_stops_with_the_next_move(tmp_path: Path) -> None:
    (tmp_path / "facts").write_text("a file in the way")
    with pytest.raises(Stop, match=r"cache_dir: cannot write to .*facts \(.*\); set MEDEXP_CACHE"):
        gather([record()], reader([]), cache=FactsCache(tmp_path / "facts"), key_of=lambda entry: entry.case_id)


def test_a_case_whose_content_cannot_be_hashed_is_said_by_its_reader(tmp_path: Path) -> None:
    def gone(entry: Record) -> str:
        raise FileNotFoundError(entry.case_id)

    facts = gather([record("bad")], reader([]), cache=FactsCache(tmp_path), key_of=gone)
    assert facts["bad"].errors == ["case bad: bad.nii.gz: is truncated"]
