"""Tables for people: the test metrics of a run, the outcome of a sweep, runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from medexp.run import folder, summary_table


def print_run(result: dict[str, Any]) -> None:
    """The test metrics of a finished run and where it is."""
    if not result:  # a rank other than the first
        return
    run = Path(result["run_dir"])
    print_summary(folder.read_json(run / folder.SUMMARY))
    value = "-" if result["value"] is None else f"{result['value']:.4f}"
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"best {result['monitor']} {value}, {result['seconds']:.0f} s in all")
    console.print(f"run folder: {shown(run)}", markup=False)


def shown(path: Path) -> str:
    """Relative to here where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def print_summary(summary: dict[str, Any]) -> None:
    """Metrics as a table: the mean, or what it is of, and each class, or what stands beside it, where there is one."""
    metrics = summary_table.shown(summary)
    wanted = summary_table.columns(metrics)
    table = Table(title=summary_table.title(summary, metrics), title_justify="left")
    table.add_column("metric")
    for name in wanted:
        table.add_column(name, justify="right")
    for name, entry in metrics.items():
        values = map(number, summary_table.cells(name, entry, wanted))
        table.add_row(summary_table.row_name(name, metrics), *values)
    show_table(table)
    show_note(summary_table.notes(metrics))
    print_missing(summary.get("missing_modality") or [])
    print_members(summary)


def print_members(summary: dict[str, Any]) -> None:
    """Several runs together, and each alone."""
    own = summary.get("members")
    if not own:
        return
    means = {key: entry for key, entry in summary["metrics"].items() if isinstance(entry, dict) and "mean" in entry}
    table = Table(title="together and alone", title_justify="left")
    table.add_column("run", overflow="fold")
    for name in means:
        table.add_column(name, justify="right")
    for run, metrics in {"together": summary["metrics"], **own}.items():
        table.add_row(run, *(number(metrics[name]["mean"]) for name in means))
    show_table(table)


def print_missing(rows: list[dict[str, Any]]) -> None:
    """What is lost without each modality."""
    if not rows:
        return
    table = Table(title="without a modality", title_justify="left")
    for name in ("without", "cases", *rows[0]["mean"], f"lost {rows[0]['metric']}"):
        table.add_column(name, justify="left" if name == "without" else "right")
    for row in rows:
        values = map(number, (*row["mean"].values(), row["lost"]))
        table.add_row(row["without"], str(row["cases"]), *values)
    show_table(table)


def show_table(table: Table) -> None:
    """As wide as it needs where nobody's terminal bounds it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(80, Console(width=1000).measure(table).maximum))
    console.print(table)


def show_note(text: str | None) -> None:
    """A line beneath a table, if any, not broken to the table's width."""
    if text:
        Console(highlight=False, soft_wrap=True).print(text, markup=False)


def number(value: Any) -> str:
    return "-" if value is None else f"{float(value):.4f}"


def print_comparison(rows: Sequence[Mapping[str, Any]]) -> None:
    """Means over seeds and paired differences, with their 95 % intervals."""
    first = rows[0]
    table = Table(title=f"{first['metric']} (test split)", title_justify="left")
    key = [first["key"]] if first["key"] else []
    for name in ("choices", *key, "seeds", "mean", "95 %", "beside", "difference", "95 %"):
        table.add_column(name, overflow="fold")
    for row in rows:
        against = f"{row['beside']} ({row['pairs']} pairs)" if row["beside"] else "-"
        apart = number(row["difference"]), _between(row["difference_low"], row["difference_high"])
        mean = number(row["mean"]), _between(row["low"], row["high"])
        table.add_row(row["choices"], *([row["value"]] if key else []), str(row["seeds"]), *mean, against, *apart)
    show_table(table)


def _between(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{number(low)} to {number(high)}"


def print_sweep(rows: list[dict[str, Any]], monitor: str) -> None:
    """Overrides, value and state of every job."""
    table = Table(title="sweep", title_justify="left")
    for name in ("job", "overrides", monitor, "state", "run folder"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(str(row["job"]), " ".join(row["overrides"]), number(row["value"]), row["state"], row["folder"])
    show_table(table)
