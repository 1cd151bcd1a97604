"""The fingerprint says what the training cases are like, each counting alike, whatever the order of their axes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.data.checks.facts import CaseFacts, measured
from medexp.data.checks.measure import QUANTILES, Foreground
from medexp.data.formats.scan import Scan
from medexp.data.planning.fingerprint import fingerprint
from medexp.data.records import Record
from medexp.errors import Faults, UserError

CLASSES = ["background", "organ", "lesion"]


def inside(values: np.ndarray) -> Foreground:
    """The facts of foreground voxels with these values."""
    return Foreground(tuple(np.quantile(values, QUANTILES)), float(values.mean()), float(values.std()))


def case(
    shape: tuple[int, ...] = (40, 50, 30),
    spacing: tuple[float, ...] = (1.0, 1.0, 2.0),
    darkest: float = 0.0,
    foreground: Foreground | None = None,
    classes: dict[int, int] | None = None,
    axes: str = "RAS",
) -> CaseFacts:
    return CaseFacts(
        shape=shape,
        spacing=spacing,
        intensity=((darkest, 900.0, 100.0, 50.0),),
        foreground=(foreground,),
        classes={0: 100, 1: 20} if classes is None else classes,
        nonzero_fraction=0.8,
        nonzero_shape=shape,
        axes=axes,
    )


def test_shapes_and_spacings_are_medians_and_percentiles() -> None:
    facts = {str(i): case((40 + i, 50, 30), (1.0, 1.0, 2.0 + i / 10)) for i in range(11)}
    found = fingerprint(facts, CLASSES)
    assert found.cases == 11
    assert found.median_shape == (45, 50, 30)
    assert found.spacing(50) == pytest.approx((1, 1, 2.5))
    assert found.spacing(10) == pytest.approx((1, 1, 2.1))
    assert found.spacing(90) == pytest.approx((1, 1, 2.9))
    assert found.anisotropy == pytest.approx(2.5)


def test_axes_are_put_into_the_order_of_the_orientation() -> None:
    facts = {
        "ras": case((40, 50, 30), (1.0, 1.5, 2.0), axes="RAS"),
        "psr": case((50, 30, 40), (1.5, 2.0, 1.0), axes="PSR"),
        "lpi": case((40, 50, 30), (1.0, 1.5, 2.0), axes="LPI"),
    }
    found = fingerprint(facts, CLASSES, "RAS")
    assert found.shapes == ((40, 50, 30),) * 3
    assert found.spacings == ((1.0, 1.5, 2.0),) * 3
    assert fingerprint(facts, CLASSES).shapes[1] == (50, 30, 40)  # None: the axes of the files
    turned = fingerprint(facts, CLASSES, "SRA")
    assert turned.shapes == ((30, 40, 50),) * 3


def test_each_case_has_the_same_weight_in_the_foreground() -> None:
    """A case with a thousand times as many foreground voxels does not drown the others."""
    large, small = inside(np.linspace(0, 100, 100_001)), inside(np.linspace(200, 300, 101))
    (channel,) = fingerprint({"a": case(foreground=large), "b": case(foreground=small)}, CLASSES).channels
    assert channel.foreground is not None
    assert channel.foreground.mean == pytest.approx(150, abs=0.01)
    assert channel.foreground.std == pytest.approx(np.sqrt(100**2 / 12 + 100**2), rel=0.01)
    assert channel.foreground.percentile_00_5 == pytest.approx(1, abs=0.2)
    assert channel.foreground.percentile_99_5 == pytest.approx(299, abs=0.2)
    assert 100 <= channel.foreground.median <= 200


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-1000, 3000, width=32), min_size=60, max_size=200),
        min_size=1,
        max_size=5,
    )
)
def test_pooled_numbers_are_those_of_a_draw_of_equally_many_voxels(cases: list[list[float]]) -> None:
    arrays = [np.asarray(values) for values in cases]
    facts = {str(i): case(foreground=inside(values)) for i, values in enumerate(arrays)}
    (channel,) = fingerprint(facts, CLASSES).channels
    pooled = channel.foreground
    assert pooled is not None
    probabilities = (np.arange(2000) + 0.5) / 2000
    drawn = np.concatenate([np.quantile(values, probabilities) for values in arrays])
    span = float(np.ptp(drawn)) + 1e-6
    assert pooled.mean == pytest.approx(np.mean([values.mean() for values in arrays]), abs=1e-3 * span)
    variance = np.mean([values.var() + (values.mean() - pooled.mean) ** 2 for values in arrays])
    assert pooled.std**2 == pytest.approx(variance, abs=1e-3 * span**2)
    assert drawn.min() - 1e-3 <= pooled.percentile_00_5 <= pooled.median <= pooled.percentile_99_5 <= drawn.max() + 1e-3
    below = np.mean([np.mean(values < pooled.percentile_99_5 + 1e-6) for values in arrays])
    assert below >= 0.95


def test_cases_without_foreground_do_not_count_for_it() -> None:
    values = np.linspace(0, 10, 1001)
    found = fingerprint({"a": case(foreground=inside(values)), "b": case(classes={0: 120})}, CLASSES)
    assert found.channels[0].foreground is not None
    assert found.channels[0].foreground.mean == pytest.approx(5)
    assert fingerprint({"b": case(classes={0: 120})}, CLASSES).channels[0].foreground is None


def test_class_volumes_are_medians_over_the_cases_that_show_them() -> None:
    facts = {
        "a": case(classes={0: 1, 1: 1000, 2: 10}),
        "b": case(classes={0: 1, 1: 3000}),
        "c": case(classes={0: 1, 1: 2000}),
    }
    found = fingerprint(facts, CLASSES).classes
    assert found["organ"].present == 1
    assert found["organ"].voxels == 2000
    assert found["organ"].ml == pytest.approx(4.0)  # voxels of 2 mm^3
    assert found["lesion"].present == pytest.approx(1 / 3)
    assert found["lesion"].voxels == 10
    assert "background" not in found


def test_a_class_that_no_case_shows_has_no_volume() -> None:
    volume = fingerprint({"a": case(classes={0: 5, 1: 5})}, CLASSES).classes["lesion"]
    assert (volume.present, volume.voxels, volume.ml) == (0, 0, 0)


def test_pictures_have_no_millilitres_and_images_of_classes_no_volumes() -> None:
    flat = case((64, 48), (1.0, 1.0), axes="RAS")
    assert fingerprint({"a": flat}, CLASSES, None).classes["organ"].ml is None
    assert fingerprint({"a": replace(flat, classes={})}, CLASSES).classes == {}


@pytest.mark.parametrize(
    ("darkest", "modality"),
    [
        *[(-1024.0, "ct"), (-1000.0, "ct"), (-3024.0, "ct"), (-600.0, "ct")],
        *[(0.0, "other"), (-3.2, "other"), (-120.0, "other"), (-32768.0, "other")],
    ],
)
def test_ct_is_told_by_its_darkest_voxel(darkest: float, modality: str) -> None:
    assert fingerprint({"a": case(darkest=darkest)}, CLASSES).channels[0].modality == modality


def test_one_odd_case_does_not_make_a_ct() -> None:
    facts = {"a": case(), "b": case(), "c": case(darkest=-1024)}
    (channel,) = fingerprint(facts, CLASSES).channels
    assert (channel.modality, channel.minimum) == ("other", -1024)


def test_a_channel_that_some_cases_lack_is_counted() -> None:
    both = replace(case(), intensity=((0.0, 1.0, 0.5, 0.1), (0.0, 9.0, 3.0, 1.0)), foreground=(None, None))
    one = replace(both, intensity=((0.0, 1.0, 0.5, 0.1), None), missing=(1,))
    found = fingerprint({"a": both, "b": one}, CLASSES)
    assert [channel.missing for channel in found.channels] == [0, 1]
    assert found.channels[1].mean == 3.0
    with pytest.raises(UserError, match="no training case has channel 1"):
        fingerprint({"b": one}, CLASSES)


def test_faults_of_all_cases_are_listed() -> None:
    facts = {"a": CaseFacts(errors=["case a: is empty"]), "b": case(), "c": CaseFacts(errors=["case c: truncated"])}
    with pytest.raises(Faults, match="2 faults in 3 training cases") as error:
        fingerprint(facts, CLASSES)
    assert error.value.problems == ["case a: is empty", "case c: truncated"]


def test_cases_of_another_kind_are_named() -> None:
    with pytest.raises(Faults, match=r"1 of 2 training cases differ from the first \(3 axes, 1 channels\)") as error:
        fingerprint({"a": case(), "flat": case((4, 4), (1.0, 1.0))}, CLASSES)
    assert error.value.problems == ["case flat: 2 axes, 1 channels"]


def test_no_cases_are_no_fingerprint() -> None:
    with pytest.raises(UserError, match="the training split holds no cases"):
        fingerprint({}, CLASSES)


def test_it_is_written_as_json() -> None:
    found = fingerprint({"a": case(foreground=inside(np.linspace(0, 1, 300)))}, CLASSES, "RAS")
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["median_shape"] == [40, 50, 30]
    assert content["spacing_percentiles"]["50"] == [1, 1, 2]
    assert content["channels"][0]["foreground"]["mean"] == pytest.approx(0.5)
    assert content["classes"]["organ"]["ml"] == pytest.approx(0.04)


def test_measured_scans_are_taken_as_they_come() -> None:
    """From voxels to the fingerprint, without facts made by hand."""
    rng = np.random.default_rng(0)
    array = np.zeros((1, 20, 24, 16), dtype=np.float32)
    array[0, 4:16, 4:20, 2:14] = rng.normal(100, 10, (12, 16, 12))
    label = np.zeros(array.shape[1:], dtype=np.int32)
    label[6:12, 8:16, 4:10] = 1
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    facts = measured(Scan(array, affine, (2.0, 1.0, 3.0)), Scan(label, affine, (2.0, 1.0, 3.0)))
    found = fingerprint({"a": facts}, CLASSES, "RAS")
    assert found.boxes == ((12, 16, 12),)
    assert found.box_share == pytest.approx(12 * 16 * 12 / (20 * 24 * 16))
    assert found.channels[0].foreground is not None
    assert found.channels[0].foreground.mean == pytest.approx(100, abs=2)
    assert found.classes["organ"].ml == pytest.approx(6 * 8 * 6 * 6 / 1000)


@pytest.mark.real_data
def test_hippocampus_crops(real_data: Callable[[str], Path]) -> None:
    from medexp.data.images import read_image, read_label
    from medexp.data.sources.msd import records

    def facts(record: Record) -> CaseFacts:
        return measured(read_image(record, spatial_dims=3, channels=1), read_label(record, spatial_dims=3))

    chosen = [record for record in records(real_data("msd_task04_hippocampus")) if record.label][:20]
    found = fingerprint({record.case_id: facts(record) for record in chosen}, ["background", "front", "back"], "RAS")
    assert found.spacing(50) == (1, 1, 1)
    assert all(30 <= size <= 60 for size in found.median_shape)
    assert found.channels[0].modality == "other"
    assert found.classes["front"].present == 1
    assert found.classes["front"].ml == pytest.approx(1.5, abs=0.7)
