"""What the benchmark of metrics measures, on little: that the scores are equal, and that no part is left out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medexp.run.bench import metrics


@pytest.fixture(scope="module")
def result() -> dict:
    return metrics.run(rounds=1, size=48, classes=4)


def test_scores_are_those_of_monai(result: dict) -> None:
    json.dumps(result, allow_nan=False)
    assert set(result["surfaces"]) == {"displaced", "speckled"}
    for part in result["surfaces"].values():
        assert set(part["difference"]) == {"hd95", "asd", "surface_dice"}
        assert max(part["difference"].values()) < 1e-6


def test_ratios_are_of_medians(result: dict) -> None:
    for part in (*result["surfaces"].values(), result["counts"], result["batch"]):
        median = {name: values["median_s"] for name, values in part["seconds"].items()}
        assert set(part["ratios"]) == set(median) - {"medexp"}
        assert all(ratio == pytest.approx(median[name] / median["medexp"]) for name, ratio in part["ratios"].items())


def test_a_row_says_what_was_compared(result: dict) -> None:
    table = metrics.rows(result)
    assert [row[0].split(",")[0] for row in table] == [
        *["HD95"] * 2,
        *["counts for Dice and IoU"] * 2,
        "Dice of a validation batch",
    ]
    assert all(len(row) == 4 and all(row) for row in table)


def test_speckles_are_few_and_of_all_classes() -> None:
    target = metrics.label_map(64, 5)
    noisy = metrics.speckled(target, 5)
    assert set(np.unique(target)) == set(np.unique(noisy)) == set(range(5))
    assert 0 < (noisy != target).mean() < metrics.SPECKLES
