"""What the benchmark of inference measures, on little: that it is the same work, and that no part is left out."""

from __future__ import annotations

import json

import pytest
import torch

from medexp.run.bench import infer


@pytest.fixture(scope="module")
def result() -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infer, "STEPS", 1)
        patch.setattr(infer, "WINDOW", 16)
        return infer.run(rounds=1, size=40, memory_size=32, memory_classes=3)


def test_every_contestant_is_timed_beside_both_calls_of_monai(result: dict) -> None:
    json.dumps(result, allow_nan=False)
    ours = [who for who in result["seconds"] if who.startswith("medexp")]
    assert len(ours) == 2
    assert ours[1] == f"{ours[0]}, foreground box"
    assert set(result["ratios"]) == set(ours)
    for who in ours:
        for other in ("MONAI, fp32, 1 window", "MONAI, fp32, 4 windows"):
            median = {name: values["median_s"] for name, values in result["seconds"].items()}
            assert result["ratios"][who][other] == pytest.approx(median[other] / median[who])


def test_accuracy_stands_beside_speed(result: dict) -> None:
    assert result["disagreement"]["MONAI, fp32, 4 windows"] == 0
    assert all(0 <= share < 0.5 for share in result["disagreement"].values())
    assert set(result["dice"]) == set(result["seconds"])
    assert 0.2 < result["box"] < 1


def test_memory_is_that_of_processes_of_their_own(result: dict) -> None:
    assert set(result["memory"]) == {"medexp", "MONAI"}
    assert min(result["memory"].values()) > 100  # torch alone takes more


def test_a_row_says_what_was_compared(result: dict) -> None:
    table = infer.rows(result)
    assert len(table) == 4 + 2 + 1
    assert all(len(row) == 4 and all(row) for row in table)
    assert table[0][0] == "sliding windows, 40^3"
    assert table[0][3] == f"{next(iter(result['ratios'].values()))['MONAI, fp32, 1 window']:.1f}x"
    assert table[-1][0] == "peak memory, 32^3 of 3 classes"


def test_a_third_of_the_volume_holds_tissue() -> None:
    image, label = infer.volume(96)
    box = infer.ForegroundBox(infer.SlidingWindowInferer(16, 4), margin=8).box(image)
    assert [part.stop - part.start for part in box] == [64, 64, 96]
    assert image.min() == infer.AIR
    assert set(label.unique().tolist()) == {0, 1, 2}


@pytest.mark.parametrize("who", ["medexp", "MONAI"])
def test_class_maps_hold_classes_of_the_network(who: str) -> None:
    with torch.inference_mode():
        assert 1 <= infer.class_map(who, 20, 4) <= 3
