"""What a model loses where a modality is missing: all cases again, without each in turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medexp.data.images import suffix
from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.errors import UserError
from medexp.run import folder
from medexp.run.figures import save

TABLE, FIGURE, NONE = "missing_modality.csv", "missing_modality.png", "nothing"
Row = dict[str, Any]


def asked(cfg: dict[str, Any], without: Sequence[str]) -> list[int]:
    """Channels to leave out in turn: those of --without ("each": all); without it all of them where the run was trained for
    missing ones (augmentation.modality_dropout). Raises UserError for a channel that there is not."""
    count = int(cfg["dataset"]["in_channels"])
    if not without:
        return list(range(count)) if (cfg["augmentation"] or {}).get("modality_dropout") else []
    known = names(cfg)
    if count < 2 or cfg["dataset"].get("sequence") or cfg["dataset"].get("neighbours"):
        what = (
            "frames and neighbouring slices are no modalities"
            if count > 1
            else "the model has one channel, nothing would be left"
        )
        raise UserError(f"--without: {what}; leave it out")
    if "each" in without:
        return list(range(count))
    found = []
    for text in without:
        if text not in known and not (text.isdigit() and int(text) < count):
            listed = ", ".join(f"{place} ({name})" for place, name in enumerate(known))
            raise UserError(f"--without: no channel '{text}'; allowed: each, {listed}")
        found.append(known.index(text) if text in known else int(text))
    return sorted(set(found))


def names(cfg: dict[str, Any]) -> list[str]:
    """Of the channels: what the data set's columns, suffixes or patterns call them, else channel 0, channel 1 ..."""
    source, count = cfg["dataset"]["source"], int(cfg["dataset"]["in_channels"])
    for key in ("image", "images", "suffix"):
        given = source.get(key)
        if isinstance(given, list) and len(given) == count:
            return [_plain(str(text)) for text in given]
    return [f"channel {place}" for place in range(count)]


def _plain(pattern: str) -> str:
    """FLAIR of {case}/FLAIR_*.nii.gz, flair of flair/{case}.nii.gz."""
    *folders, name = pattern.split("/")
    for part in (name[: len(name) - len(suffix(Path(name)))], *reversed(folders)):
        if said := re.sub(r"\{\w+\}|\*", "", part).strip("_-. "):
            return said
    return pattern


def left(records: Sequence[Record], channel: int) -> list[Record]:
    """Cases that have another modality than this one."""
    return [
        record
        for record in records
        if len(record.images) == 1
        or any(place not in (*record.missing, channel) for place in range(len(record.images)))
    ]


def report(
    cfg: dict[str, Any],
    task: Any,
    data: DataModule,
    records: Sequence[Record],
    channels: Sequence[int],
    output: Path,
    summary: dict[str, Any],
) -> dict[str, Any]:
    """Scores the cases without each of the channels, into OUTPUT/without_<name>/; writes the table and the figure of what is
    lost to `output`, and `missing_modality` to its summary, which it returns."""
    from medexp.run.evaluate import score

    if not channels:
        return summary
    rows: list[Row] = [_row(cfg, NONE, summary, summary)]
    for channel in channels:
        name, data.without = names(cfg)[channel], (channel,)
        try:
            found = score(
                {**cfg, "figures": 0}, task, data, left(records, channel), output / f"without_{name.replace(' ', '_')}",
                summary["checkpoint"], f"{summary['part']}, without {name}",
            )  # fmt: skip
        finally:
            data.without = ()
        rows.append(_row(cfg, name, found, summary))
    table = [{"without": row["without"], "cases": row["cases"], **row["mean"], **_lost(row)} for row in rows]
    folder.write(output / TABLE, pd.DataFrame(table).to_csv(index=False))
    summary = {**summary, "missing_modality": rows}
    folder.write_json(output / folder.SUMMARY, summary)
    if cfg["figures"]:
        save(bars(rows), output / "figures" / FIGURE)
    return summary


def _row(cfg: dict[str, Any], name: str, summary: dict[str, Any], complete: dict[str, Any]) -> Row:
    """Means of all metrics, and of the monitored one what is lost, on the whole and of each class."""
    metrics = {key: entry for key, entry in summary["metrics"].items() if isinstance(entry, dict) and "mean" in entry}
    monitored = str(cfg["monitor"]).rsplit("/", 1)[-1]
    main = monitored if monitored in metrics else next(iter(metrics))
    mean, whole = metrics[main]["mean"], complete["metrics"][main]["mean"]
    classes = metrics[main].get("per_class") or {}
    return {
        "without": name,
        "cases": summary["cases"],
        "mean": {key: entry["mean"] for key, entry in metrics.items()},
        "metric": main,
        "lost": None if mean is None or whole is None else round(whole - mean, 6),
        "per_class": {key: (entry or {}).get("mean") for key, entry in classes.items()},
    }


def _lost(row: Row) -> dict[str, Any]:
    return {f"lost_{row['metric']}": row["lost"]}


def bars(rows: Sequence[Row]) -> Any:
    """The monitored metric of complete cases and without each modality: the mean, and each class."""
    from matplotlib.figure import Figure

    groups = {"mean": [row["mean"][row["metric"]] for row in rows]}
    if len(rows[0]["per_class"]) > 1:
        groups |= {name: [row["per_class"].get(name) for row in rows] for name in rows[0]["per_class"]}
    figure = Figure(figsize=(2.2 + 0.28 * len(groups) * len(rows) + 0.5 * len(rows), 3.6), layout="constrained")
    axes, width = figure.subplots(), 0.8 / len(groups)
    for place, (name, values) in enumerate(groups.items()):
        at = [index + (place - (len(groups) - 1) / 2) * width for index in range(len(rows))]
        drawn = axes.bar(
            at, [value or 0.0 for value in values], width, label=name, color="0.35" if not place else f"C{place - 1}"
        )
        if not place:
            axes.bar_label(drawn, [f"{value:.2f}" if value is not None else "-" for value in values], fontsize=8)
    axes.set_xticks(
        range(len(rows)), ["complete" if row["without"] == NONE else f"without\n{row['without']}" for row in rows]
    )
    axes.set_ylabel(rows[0]["metric"])
    if len(groups) > 1:
        figure.legend(loc="outside lower center", ncols=min(len(groups), 6), frameon=False, fontsize=9)
    return figure
