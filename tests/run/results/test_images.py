"""Figures of restored images say what they show, on one scale for a run."""

from __future__ import annotations

import numpy as np

from medexp.run.planes import error_end
from medexp.run.results.image_figures import Case, best_baseline, side_by_side


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
