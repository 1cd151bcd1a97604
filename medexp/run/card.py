"""The README.md of a release: what the model is, how to use it, how good it was, on whose data."""

from __future__ import annotations

from typing import Any

from medexp.errors import counted
from medexp.run import summary_table

PREDICT = "predict THIS_FOLDER --input images --output predictions"  # folders, which suit every kind of result
SHOWN = 12  # metrics; all are in model.yaml


def card(said: dict[str, Any]) -> str:
    """Markdown, from what model.yaml says."""
    dataset, weights = said["dataset"], said["weights"]
    size = f"{weights['values'] / 1e6:.2f} M values, {weights['checkpoint']} checkpoint, epoch {weights['epoch'] + 1}"
    makes = str(said["task"].get("target")).startswith("generation")
    use = "generate THIS_FOLDER --count 16 --output samples" if makes else PREDICT
    lines = [
        f"# {said['name']}",
        "",
        f"`{said['model']['_target_']}` ({size}) in {dataset['spatial_dims']}D.",
        *_channels(dataset, said.get("channels") or {}),
        *([f"Classes: {', '.join(map(str, dataset['classes']))}."] if _tells(said) else []),
        "",
        f"Install medexp {said['versions']['medexp']} as its README says, then:",
        "",
        "```sh",
        f"medexp {use}",
        "```",
        "",
        "`model.yaml` says how images are prepared; `weights.safetensors` holds the weights. Not a medical device.",
        *_results(said["results"]),
        *_data(said["data"]),
    ]
    return "\n".join(lines) + "\n"


def _channels(dataset: dict[str, Any], made: dict[str, Any]) -> list[str]:
    """How many, or, of a model that makes images, what goes in, what comes out and in which unit."""
    if not made:
        return [f"In: {counted(dataset['in_channels'], 'channel')}."]
    into = _listed(made["inputs"]) if made["inputs"] else "noise"
    return [f"In: {into}. Out: {_listed(made['outputs'])}, in {made['unit']}."]


def _tells(said: dict[str, Any]) -> bool:
    """Whether the model has to do with classes: of those that make images only what makes images of a class."""
    by_class = said["task"].get("target") == "generation_by_class"
    return bool(said["dataset"]["classes"]) and (by_class or not said.get("channels"))


def _listed(names: list[str]) -> str:
    """`channel 0` alone says nothing that the word image does not."""
    return "one channel" if names == ["channel 0"] else ", ".join(names)


def _results(results: dict[str, Any]) -> list[str]:
    """A column for what the means are of, and one for each class or baseline."""
    if not results:
        return []
    metrics = dict(list(summary_table.shown(results).items())[:SHOWN])
    columns, note = summary_table.columns(metrics), summary_table.notes(metrics)
    noun = "sample" if summary_table.lead(metrics) == "samples" else "case"
    rows = [
        [summary_table.row_name(name, metrics), *map(_number, summary_table.cells(name, entry, columns))]
        for name, entry in metrics.items()
    ]
    return [
        "",
        f"Results on {counted(results['cases'], noun)} ({results['part']}):",
        "",
        f"| {' | '.join(['metric', *columns])} |",
        f"|{'---|' * (len(columns) + 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        *(["", f"{note[0].upper()}{note[1:]}."] if note else []),
    ]


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}"


def _data(data: dict[str, Any]) -> list[str]:
    named = {"licence": "Licence of the training data", "cite": "Cite", "page": "Page"}
    return ["", *(f"{named[key]}: {value}." for key, value in data.items())] if data else []
