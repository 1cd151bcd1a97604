"""Attention over slices is drawn as a profile beside the slices that hold the class."""

from __future__ import annotations

from typing import Any

import numpy as np

from medexp.run.localisation.profile import profile

WEIGHTS = np.array([0.1, 0.2, 0.15, 0.4, 0.15])


def drawn(mask: np.ndarray | None) -> Any:
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 5))
    return profile(image, mask, WEIGHTS, "axial slice", "p1, lesion (probability 0.80)")


def test_the_weights_stand_over_the_slices_that_hold_the_class() -> None:
    mask = np.zeros((8, 8, 5), bool)
    mask[2:4, 2:4, 1:3] = mask[4, 4, 2] = True
    figure = drawn(mask)
    *slices, weights = figure.axes
    titles = ["most of the class: axial slice 3 (weight 0.1500)", "counts most: axial slice 4 (weight 0.4000)"]
    assert [axes.get_title() for axes in slices] == titles
    assert [round(patch.get_x() + patch.get_width() / 2) for patch in weights.patches] == [2, 3]
    assert weights.lines[0].get_ydata().tolist() == WEIGHTS.tolist()
    assert [text.get_text() for text in weights.get_legend().get_texts()] == [
        "holds the class",
        "attention",
        "all alike",
    ]
    assert weights.get_ylim()[1] > WEIGHTS.max()


def test_without_a_label_map_no_slice_is_marked() -> None:
    figure = drawn(None)
    assert [axes.get_title() for axes in figure.axes[:-1]] == ["counts most: axial slice 4 (weight 0.4000)"]
    assert not figure.axes[-1].patches
