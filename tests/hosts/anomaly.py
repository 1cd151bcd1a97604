"""Experiments that leaves of autoencoders fit into, and small data for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from layouts import findings

ANOMALY = ["experiment=anomaly/phantom_2d"]
BY_CLASS = ["experiment=anomaly/csv", "dataset.root=x", "dataset.classes=[healthy,ill]", "dataset.image_size=[64,64]"]
SMALL = ["dataset.image_size=[32,32]", "dataset.split.val=0.3"]
OPTIONS = ("anomaly", "anomaly_by_class", "autoencoder", "autoencoder_kl", "vae")


def host(group: str, option: str, line: str) -> list[list[str]]:
    if group not in ("task", "metrics", "model") or option not in OPTIONS:
        return []
    task = [] if group == "task" else ["task=autoencoder"]
    return [[*ANOMALY, *task] if option == "autoencoder" else BY_CLASS if option == "anomaly_by_class" else ANOMALY]


def model(option: str, line: str) -> list[list[str]]:
    if option not in ("autoencoder_kl", "vae"):
        return []
    solid = ["dataset=phantom", "dataset.image_size=[32,32,32]", "dataset.split.stratify=true"]
    return [[*ANOMALY, f"model={option}"], [*ANOMALY, f"model={option}", *solid]]


def exchanged(experiment: str) -> list[str] | None:
    if not experiment.startswith("anomaly"):
        return None
    return ["model=autoencoder_kl", "optimizer=sgd", "scheduler=plateau", "augmentation=none", "loss=mae"]


def small_data(
    experiment: str, root: Path, layouts: SimpleNamespace, request: pytest.FixtureRequest
) -> list[str] | None:
    if not experiment.startswith("anomaly"):
        return None
    if experiment.startswith("anomaly/csv"):
        classes = "background,lesion" if experiment.endswith("masks") else "healthy,ill"
        given = ["dataset.label_values=[0,255]"] if experiment.endswith("masks") else []
        return [f"dataset.root={findings.write(root / 'pictures')}", f"dataset.classes=[{classes}]", *SMALL, *given]
    place = [f"dataset.root={request.getfixturevalue('phantom_2d')}", "dataset.source.patients=12"]
    return [*place, *SMALL]
