"""The table of a summary: what its columns and rows are called, in which unit, and what needs a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medexp.errors import counted

LEADS = ("network", "samples")  # columns that a mean is of, where there is one
UNITS = {"psnr": "dB", "hd95": "mm", "asd": "mm"}
BETTER = "better"
Metrics = Mapping[str, Mapping[str, Any]]


def shown(summary: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Its metrics that have a mean; of `better` only what has baselines."""
    entries = {name: entry for name, entry in summary["metrics"].items() if isinstance(entry, dict) and "mean" in entry}
    return {name: entry for name, entry in entries.items() if name != BETTER or entry.get("per_class")}


def title(summary: Mapping[str, Any], metrics: Metrics) -> str:
    """Part, number and checkpoint: of a generative run the number of samples, as no case has a row."""
    noun = "sample" if lead(metrics) == "samples" else "case"
    return f"{summary['part']}: {counted(summary['cases'], noun)} ({summary['checkpoint']})"


def lead(metrics: Metrics) -> str | None:
    """The column that holds what the means are of; None where there is none and a column of means is needed."""
    known = {column for entry in metrics.values() for column in entry.get("per_class") or {}}
    return next((name for name in LEADS if name in known), None)


def columns(metrics: Metrics) -> list[str]:
    """`mean`, then the classes; where there is a lead it comes in the place of `mean`."""
    classes = dict.fromkeys(name for entry in metrics.values() for name in entry.get("per_class") or {})
    first = lead(metrics) or "mean"
    return [first, *(name for name in classes if name != first)]


def cells(name: str, entry: Mapping[str, Any], wanted: Sequence[str]) -> list[Any]:
    """The means of a row; None where there is none. A metric of the lead alone has no columns of its own: its mean is the lead's,
    which that of `better` is not."""
    parts = entry.get("per_class") or {}
    values = [(parts.get(column) or {}).get("mean") for column in wanted]
    if wanted[0] not in parts and name != BETTER:
        values[0] = entry["mean"]
    return values


def row_name(name: str, metrics: Metrics) -> str:
    """With its unit, where the name has one: `mae` is that of images where PSNR stands beside it."""
    parts = UNITS | ({"mae": "unit of the prepared image"} if "psnr" in metrics else {})
    base = name.partition("_")[0]
    return f"{name} ({parts[base]})" if base in parts else name


def notes(metrics: Metrics) -> str | None:
    """What a row needs to be understood."""
    if BETTER not in metrics:
        return None
    return f"{BETTER}: share of the cases in which the network's PSNR is above that of the column"
