"""Next values and frames are scored horizon by horizon beside the last frame; leaves build what they name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torchmetrics.functional.image import peak_signal_noise_ratio

from medexp.config import paths
from medexp.metrics.sequence import NextFrameScores, NextValueScores


def value_rows() -> list[dict[str, float | int | str | None]]:
    scores = NextValueScores(2)
    said = [([2.0, 4.0], [3.0, 4.0], 1.0), ([5.0, 5.0], [4.0, 6.0], 4.0), ([0.0, 1.0], [2.0, 9.0], 2.0)]
    return [scores.case(np.array(p), np.array(t), last) for p, t, last in said]


def test_a_row_has_what_was_said_and_what_the_last_frame_says() -> None:
    assert value_rows()[0] == {
        "last_frame": 1.0,
        **{"target_1": 3.0, "predicted_1": 2.0, "error_1": -1.0, "last_frame_error_1": -2.0},
        **{"target_2": 4.0, "predicted_2": 4.0, "error_2": 0.0, "last_frame_error_2": -3.0},
    }


def test_errors_are_summarised_by_horizon_and_against_the_last_frame() -> None:
    found = NextValueScores(2).summarize(value_rows())
    assert [found["mae"]["per_class"][k]["mean"] for k in ("+1", "+2")] == pytest.approx([4 / 3, 3.0])
    assert [found["mae_last_frame"]["per_class"][k]["mean"] for k in ("+1", "+2")] == pytest.approx([2 / 3, 12 / 3])
    assert found["mae"]["mean"] == pytest.approx((4 / 3 + 3) / 2)
    assert found["rmse"]["per_class"]["+1"]["mean"] == pytest.approx(2**0.5)
    said, true = np.array([4.0, 5.0, 1.0]), np.array([4.0, 6.0, 9.0])
    r2 = 1 - ((said - true) ** 2).sum() / ((true - true.mean()) ** 2).sum()
    assert found["r2"]["per_class"]["+2"]["mean"] == pytest.approx(r2)
    assert found["pearson"]["per_class"]["+2"]["mean"] == pytest.approx(np.corrcoef(said, true)[0, 1])
    assert found["gain"]["per_class"]["+1"]["mean"] == pytest.approx((1 + -1 - 2) / 3)
    assert found["closer"]["per_class"]["+1"]["mean"] == pytest.approx(1 / 3)
    assert found["gain"]["n"] == 6


def test_what_needs_values_that_differ_is_none_with_the_reason() -> None:
    row = NextValueScores(1).case(np.array([1.0]), np.array([2.0]), 1.5)
    found = NextValueScores(1).summarize([row])
    assert found["mae"]["mean"] == 1.0
    assert found["r2"]["mean"] is None
    assert found["r2"]["reason"] == "all values are one"


def test_frames_are_scored_as_images_beside_the_last() -> None:
    rng = np.random.default_rng(0)
    true, said = rng.normal(size=(2, 20, 22)).astype(np.float32), rng.normal(size=(2, 20, 22)).astype(np.float32)
    last = true[:1] + 0.5
    seen = np.stack([true[:1] - 0.3, last])
    row = NextFrameScores(2).case(said, true, seen)
    assert row["mae_mean_frame_1"] == pytest.approx(0.1, rel=1e-4)
    assert row["mae_2"] == pytest.approx(np.abs(said[1] - true[1]).mean(), rel=1e-5)
    assert row["mae_last_frame_1"] == pytest.approx(0.5, rel=1e-5)
    assert row["psnr_last_frame_1"] == pytest.approx(
        float(peak_signal_noise_ratio(torch.from_numpy(last), torch.from_numpy(true[:1]), data_range=float(np.ptp(true[0])))),
        rel=1e-4,
    )  # fmt: skip
    found = NextFrameScores(2).summarize([row, row])
    assert found["mae"]["per_class"]["+2"]["mean"] == pytest.approx(row["mae_2"])
    assert found["closer"]["per_class"]["+1"]["mean"] == 0.0
    assert found["gain"]["per_class"]["+1"]["mean"] == pytest.approx(0.5 - row["mae_1"])  # type: ignore[operator]


@pytest.mark.parametrize(("name", "shape"), [("sequence", (4, 2)), ("sequence_frame", (4, 2, 6, 6))])
def test_a_leaf_builds_metrics_that_take_what_its_task_gives(name: str, shape: tuple[int, ...]) -> None:
    leaf = OmegaConf.load(paths.options("metrics")[name])
    node = OmegaConf.to_container(OmegaConf.create({"task": {"horizon": 2}, "metrics": leaf}), resolve=True)
    built = instantiate(node["metrics"], _convert_="all")  # type: ignore[index, call-overload]
    for metric in built["validation"].values():
        metric.update(torch.zeros(shape), torch.ones(shape))
        assert float(metric.compute()) == 1.0
    assert built["test"].horizon == 2
