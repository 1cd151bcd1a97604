"""Maps of errors against findings, beside maps that need no training."""

from __future__ import annotations

import numpy as np
import pytest

from medexp.errors import UserError
from medexp.metrics.anomaly import AnomalyScores, error, worst
from medexp.metrics.table import Row

RNG = np.random.default_rng(0)


def case(scores: AnomalyScores, finding: bool, found: bool) -> Row:
    """Of an image of noise with a dark spot, perhaps; which the reconstruction misses, perhaps."""
    image, label = RNG.normal(0, 0.1, (1, 24, 24)), np.zeros((24, 24))
    reconstruction = image + RNG.normal(0, 0.1, image.shape)
    if finding:
        image[0, 4:8, 4:8] -= 2.0
        label[4:8, 4:8] = 1
        if not found:
            reconstruction[0, 4:8, 4:8] -= 2.0
    return scores.case(image.astype(np.float32), reconstruction.astype(np.float32), label)


def test_errors_where_findings_are_give_full_marks() -> None:
    scores = AnomalyScores()
    summary = scores.summarize([case(scores, finding, found=True) for finding in (True, False, True, False)])
    assert summary["auroc"]["mean"] == 1
    assert summary["average_precision"]["mean"] == pytest.approx(1, abs=0.02)
    assert summary["average_precision"]["n"] == 2
    assert summary["average_precision"]["per_class"]["chance"]["mean"] == pytest.approx(16 / 576)
    assert summary["auroc"]["per_class"]["intensity"]["mean"] < 0.9  # the spots are dark
    assert summary["psnr"]["per_class"]["healthy"]["mean"] > summary["psnr"]["per_class"]["anomalous"]["mean"] - 40


def test_a_network_that_draws_findings_too_is_no_better_than_guessing() -> None:
    scores = AnomalyScores()
    found = scores.summarize([case(scores, True, found=False) for _ in range(8)])
    assert found["average_precision"]["mean"] < 0.1
    assert found["auroc"]["mean"] is None
    assert "all images are alike" in found["auroc"]["reason"]


def test_a_blur_misses_small_things() -> None:
    scores = AnomalyScores()
    row = case(scores, True, found=False)
    assert row["average_precision_blur"] > 5 * row["average_precision"]  # type: ignore[operator]


def test_precision_is_of_the_order_however_near_values_lie() -> None:
    scores = AnomalyScores(baselines=[])
    image, label = np.zeros((1, 4, 4)), np.zeros((4, 4))
    made = np.full((1, 4, 4), 100.0)
    made[0, 0, 0], label[0, 0] = 100.001, 1
    assert scores.case(image, made, label)["average_precision"] == 1


def test_the_score_of_an_image_is_the_mean_of_its_worst_voxels() -> None:
    assert worst(np.arange(100.0), 0.05) == pytest.approx(97.0)
    assert worst(np.arange(100.0), 0.0001) == 99


def test_errors_of_channels_are_averaged() -> None:
    assert error(np.array([[1.0], [2.0]]), np.array([[0.0], [5.0]])).tolist() == [2.0]


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"metrics\.test\.share: 2 is not above 0"):
        AnomalyScores(share=2)
    with pytest.raises(UserError, match=r"metrics\.test\.baselines: 'blurr'; did you mean 'blur'"):
        AnomalyScores(baselines=["blurr"])


def test_without_label_maps_images_are_scored_and_voxels_are_not() -> None:
    scores, rows = AnomalyScores(), []
    for anomalous in (True, False, True):
        image = RNG.normal(0, 0.1, (1, 8, 8)) + 3 * anomalous
        rows.append(scores.case(image, np.zeros((1, 8, 8)), anomalous=anomalous))
    summary = scores.summarize(rows)
    assert [row["anomalous"] for row in rows] == [1, 0, 1]
    assert summary["auroc"]["mean"] == 1
    for found in (summary["average_precision"], *summary["average_precision"]["per_class"].values()):
        assert found["mean"] is None
        assert found["reason"] == "no label maps: which voxels are of a finding is not known"
