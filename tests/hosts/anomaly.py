"""Experiments that leaves of autoencoders fit into, and small data for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

ANOMALY = ["experiment=anomaly/phantom_2d"]
PLAIN = [*ANOMALY, "task=autoencoder", "dataset.split._target_=medexp.data.splits.make_split"]


def host(group: str, option: str, line: str) -> list[list[str]]:
    if group not in ("task", "metrics", "model") or option not in ("anomaly", "autoencoder", "autoencoder_kl", "vae"):
        return []
    plain = [word for word in PLAIN if group != "task" or not word.startswith("task")]
    return [plain if option == "autoencoder" else ANOMALY]


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
    place = [f"dataset.root={request.getfixturevalue('phantom_2d')}", "dataset.source.patients=12"]
    return [*place, "dataset.image_size=[32,32]", "dataset.split.val=0.3"]
