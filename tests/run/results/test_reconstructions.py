"""Figures of reconstructions say what their colours and lines are."""

from __future__ import annotations

import numpy as np

from medexp.run.results.reconstruction_figures import cut, panels


def drawn(finding: bool, end: float = 0.4) -> tuple[str, list]:
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 5))
    mask = np.zeros((8, 8, 5), bool)
    mask[2:5, 2:5, 3] = finding
    case = cut(image, image + 0.3, mask, np.diag([2.0, 2, 2, 1]), ["p1", "", "PSNR 12.0 dB"])
    figure = panels(case, end, "standard deviations")
    return figure._suptitle.get_text(), figure.axes


def test_the_slice_of_the_finding_is_named_and_its_outline_explained() -> None:
    title, axes = drawn(finding=True)
    assert title == "p1, PSNR 12.0 dB, axial slice 4 of 5"
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["reference mask"]
    assert all(one.collections for one in axes[:3])  # the outline is on every panel


def test_without_a_finding_nothing_is_outlined() -> None:
    title, axes = drawn(finding=False)
    assert title == "p1, PSNR 12.0 dB, axial slice 3 of 5"
    assert axes[0].get_legend() is None


def test_the_colour_bar_of_the_error_has_a_unit_and_says_that_it_ends() -> None:
    _, axes = drawn(finding=True, end=0.4)
    shown = axes[2].images[0]
    assert shown.get_clim() == (0, 0.4)
    assert shown.colorbar.extend == "max"
    assert shown.colorbar.ax.get_ylabel() == "standard deviations"
