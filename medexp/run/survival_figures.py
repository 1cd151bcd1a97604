"""Figures of survival: Kaplan-Meier curves of two risk groups with the numbers at risk, and scores over time."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from medexp.metrics.censoring import kaplan_meier
from medexp.metrics.survival import CURVE, HIGH, LOW, curves_in, group_of

COLOURS = {HIGH: "tab:red", LOW: "tab:blue"}


def groups(rows: list[dict[str, Any]], p_value: float | None) -> Any:
    """Survival of the high-risk and the low-risk cases, with 95 % bands (log-log), censoring marks and numbers at risk."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=[6, 1], sharex=True)
    longest = max(float(row["time"]) for row in rows)
    named = [name for name in (HIGH, LOW) if len(group_of(rows, name)[0])]
    for name in named:
        time, came = group_of(rows, name)
        _curve(axes, time, came, COLOURS[name], f"{name} risk: {came.sum()} events in {len(time)} cases", longest)
    text = "" if p_value is None else f"log-rank p {'< 0.0001' if p_value < 1e-4 else f'= {p_value:.2g}'}"
    axes.set_title(f"Groups by the median risk of the training split   {text}", fontsize=10)
    axes.set_ylabel("share without the event (Kaplan-Meier)")
    axes.set_ylim(0, 1.03)
    axes.legend(frameon=False, loc="best", fontsize=9)
    _numbers(below, rows, named, longest)
    return figure


def _curve(axes: Any, time: np.ndarray, came: np.ndarray, colour: str, label: str, longest: float) -> None:
    places = np.unique(np.concatenate([[0.0], time, [longest]]))
    places = places[places <= time.max()]  # beyond nobody of the group is seen
    estimate = kaplan_meier(time, came)
    axes.step(places, estimate.evaluate(places), where="post", color=colour, label=label)
    if came.any():
        with warnings.catch_warnings():  # the band is not defined where the estimate is 0 or 1
            warnings.simplefilter("ignore")
            band = estimate.confidence_interval(method="log-log")
        low, high = (edge.evaluate(places) for edge in (band.low, band.high))
        axes.fill_between(places, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
    gone = time[~came]
    axes.plot(gone, estimate.evaluate(gone), "|", color=colour, markersize=6)


def _numbers(axes: Any, rows: list[dict[str, Any]], named: list[str], longest: float) -> None:
    """Cases still followed up, a line a group, at the ticks of the time axis."""
    from matplotlib.ticker import MaxNLocator

    ticks = [tick for tick in MaxNLocator(6).tick_values(0, longest) if 0 <= tick <= longest]
    for line, name in enumerate(named):
        time, _ = group_of(rows, name)
        for tick in ticks:
            axes.text(
                tick, line, str(int((time >= tick).sum())), color=COLOURS[name], ha="center", va="center", fontsize=9
            )
    axes.set_ylim(len(named) - 0.5, -0.5)
    axes.set_yticks(range(len(named)), [f"{name} risk" for name in named])
    axes.set_title("number at risk", fontsize=9, loc="left")
    axes.set_xticks(ticks)
    axes.set_xlabel("time (unit of the data)")
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def calibration(rows: list[dict[str, Any]]) -> Any:
    """Mean predicted survival of all cases beside what Kaplan-Meier says came true, over the follow-up."""
    from matplotlib.figure import Figure

    times, curves = curves_in(rows, CURVE)
    time = np.array([float(row["time"]) for row in rows])
    came = np.array([float(row["event"]) > 0 for row in rows])
    seen = times <= time.max()
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(times, curves.T, color="0.6", linewidth=0.6, alpha=0.5)
    axes.plot([], [], color="0.6", linewidth=0.6, label="predicted, a case")
    axes.plot(times, curves.mean(0), color="tab:orange", label="predicted, mean of the cases")
    known = kaplan_meier(time, came).evaluate(times[seen])
    axes.step(times[seen], known, where="post", color="black", label="seen (Kaplan-Meier)")
    axes.set_ylim(0, 1.03)
    axes.set_xlim(left=0)
    axes.set_xlabel("time (unit of the data)")
    axes.set_ylabel("probability of no event until then")
    axes.legend(frameon=False, fontsize=9)
    return figure
