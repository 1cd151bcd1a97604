"""Figures of restored images say what they show, on one scale for a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medexp.data.preparation.prepare import Grid, Preparation, Prepared
from medexp.data.records import Record
from medexp.metrics.image_quality import ImageScores
from medexp.run.inference import Outcome
from medexp.run.planes import error_end
from medexp.run.results.image_figures import Case, best_baseline, side_by_side
from medexp.run.results.images import Images


def case(error: float, title: str = "p1, axial slice 3 of 6") -> Case:
    reference = np.linspace(0, 1, 16).reshape(4, 4)
    planes = dict.fromkeys(("input", "gaussian", "intensity_map"), reference + 0.1)
    psnr = {"network": 31.0, "input": 20.0, "gaussian": 25.0, "intensity_map": 40.0}
    return Case(title, {**planes, "network": reference + error, "reference": reference}, psnr)


def test_the_best_baseline_that_is_no_bound_is_shown() -> None:
    rows = [{"psnr": 30, "psnr_input": 29, "psnr_gaussian": 20, "psnr_median": 24, "psnr_intensity_map": 50}]
    assert best_baseline(rows, ["input", "gaussian", "median", "intensity_map"]) == "median"
    assert best_baseline(rows, ["input", "intensity_map"]) == "intensity_map"
    assert best_baseline(rows, ["input"]) is None
    assert best_baseline([{"psnr": 3, "psnr_median": None}], ["median"]) is None


def test_cases_of_a_run_share_a_scale_of_errors_that_says_that_it_ends() -> None:
    cases = [case(0.1), case(0.5)]
    end = error_end([each.error for each in cases])
    for each in cases:
        axes = side_by_side(each, "gaussian", end, "standard deviations").axes
        assert [one.get_title() for one in axes[:5]] == [
            "input\nPSNR 20.0 dB",
            "gaussian\nPSNR 25.0 dB",
            "network\nPSNR 31.0 dB",
            "reference\n",
            "absolute error\nof the network",
        ]
        assert axes[4].images[0].get_clim() == (0, end)
        assert axes[4].images[0].colorbar.extend == "max"
        assert axes[5].get_ylabel() == "standard deviations"


def test_one_of_several_channels_and_a_fitted_baseline_are_named() -> None:
    figure = side_by_side(case(0.1), "intensity_map", 1.0, "intensity", channels=3)
    assert [axes.get_title().split("\n")[0] for axes in figure.axes[:2]] == [
        "input (channel 1 of 3)",
        "intensity map (fitted to the reference)",
    ]
    assert figure._suptitle.get_text() == "p1, axial slice 3 of 6"


def test_of_several_runs_together_every_case_is_counted_once(tmp_path: Path) -> None:
    """A row for them together and for each alone, then one drawing."""
    prepared = Prepared(torch.rand(1, 16, 16), None, np.eye(4), Grid((16, 16), np.eye(4), (1.0, 1.0)))
    records = [Record(name, name, (Path("a.nii.gz"),)) for name in ("p1", "p2")]
    data: Any = SimpleNamespace(preparation=Preparation(2, 1))
    found, scorer = Images({"figures": 2}, data), ImageScores(["input", "gaussian"])
    found.begin(records, tmp_path)
    rows = []
    for record in records:
        outcome = Outcome(record, prepared, prepared.image, prepared.image + 0.1, given=prepared.image + 0.2)
        scored = [found.row(replace(outcome, scores=scores), scorer) for scores in (outcome.scores, prepared.image)]
        found.draw(outcome, scored[0][1])
        rows.append({"case_id": record.case_id, **scored[0][1]})
    found.finish(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p1.png", "p2.png"]
    assert found.drawn["p1"].error.max() == pytest.approx(0.1)
