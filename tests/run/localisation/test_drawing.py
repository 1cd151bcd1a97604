"""Figures of maps explain their lines, their cross and their colours."""

from __future__ import annotations

from typing import Any

import numpy as np

from medexp.run.localisation.drawing import Named, overlay


def drawn(cross: bool = True, mask: bool = True, volume: bool = True) -> Any:
    shape = (8, 8, 5) if volume else (8, 8)
    values = np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
    truth = np.zeros(shape, bool)
    truth[2:5, 2:5] = mask
    return overlay(values[None], values, truth, Named("p1, lesion", "grad-cam", 0.25, cross))


def said(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_line_and_the_cross_are_explained() -> None:
    figure = drawn()
    threshold = "map from its threshold (0.25) on"
    assert said(figure) == ["reference mask or box", threshold, "largest value of the map in this slice"]
    assert [axes.get_title() for axes in figure.axes[:2]] == ["image", "map over the image"]
    assert figure.axes[2].get_ylabel() == "grad-cam: 0 least, 1 most\nin the whole image"


def test_what_is_not_drawn_is_not_explained() -> None:
    figure = drawn(cross=False, mask=False)
    assert said(figure) == ["map from its threshold (0.25) on"]
    assert not any(line.get_marker() == "+" for line in figure.axes[1].lines)
    assert said(drawn(volume=False))[-1] == "largest value"
