"""The README.md of a release: what the model is, how to use it, how good it was, on whose data."""

from __future__ import annotations

from typing import Any

PREDICT = "predict THIS_FOLDER --input scan.nii.gz --output prediction.nii.gz"
SHOWN = 12  # metrics; all are in model.yaml


def card(said: dict[str, Any]) -> str:
    """Markdown, from what model.yaml says."""
    dataset, weights = said["dataset"], said["weights"]
    size = f"{weights['values'] / 1e6:.2f} M values, {weights['checkpoint']} checkpoint, epoch {weights['epoch'] + 1}"
    makes = str(said["task"].get("target")).startswith("generation")
    use = "generate THIS_FOLDER --count 16 --output samples" if makes else PREDICT
    channels, dims = dataset["in_channels"], dataset["spatial_dims"]
    lines = [
        f"# {said['name']}",
        "",
        f"`{said['model']['_target_']}` ({size}) in {dims}D, {channels} channel{'s' * (channels != 1)}.",
        f"Classes: {', '.join(map(str, dataset['classes']))}.",
        "",
        "```sh",
        f"pip install 'medexp=={said['versions']['medexp']}'",
        f"medexp {use}",
        "```",
        "",
        "`model.yaml` says how images are prepared; `weights.safetensors` holds the weights. Not a medical device.",
        *_results(said["results"]),
        *_data(said["data"]),
    ]
    return "\n".join(lines) + "\n"


def _results(results: dict[str, Any]) -> list[str]:
    if not results:
        return []
    means = {
        name: entry["mean"] for name, entry in results["metrics"].items() if isinstance(entry.get("mean"), int | float)
    }
    rows = [f"| {name} | {value:.4g} |" for name, value in list(means.items())[:SHOWN]]
    return [
        "",
        f"Results on {results['cases']} cases ({results['part']}):",
        "",
        "| metric | mean |",
        "|---|---|",
        *rows,
    ]


def _data(data: dict[str, Any]) -> list[str]:
    named = {"licence": "Licence of the training data", "cite": "Cite", "page": "Page"}
    return ["", *(f"{named[key]}: {value}." for key, value in data.items())] if data else []
