"""Whether what learns from studies of several frames fits together: data set, network, task and inferer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from medexp.config.targets import locate
from medexp.targets import KINDS

TRIED = 3  # frames of a study in the trial of a network


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound."""
    dataset, task, net = cfg["dataset"], cfg["task"], str(cfg["model"]["_target_"])
    sequence = dataset.get("sequence")
    kind, ahead = task["target"], str(task["target"]).startswith("next_")
    reads = _reads_frames(net)
    if sequence is None:
        if reads:
            seen = f"{net} reads studies of several frames, dataset.sequence is null"
            yield f"model: {seen}; choose a dataset of sequences, or a model of still images"
        if ahead:
            seen = f"{kind} needs frames to look ahead from, dataset.sequence is null"
            yield f"task.target: {seen}; choose a dataset of sequences, or another task"
        return
    if KINDS[kind].label_map:
        what = f"task.target={kind} has one label map, of a still image"
        yield f"dataset.sequence: {what}; choose another task, or a dataset of still images"
    if not reads:
        fitting = "sequence_voxels" if kind == "next_frame" else "sequence_lstm"
        seen = f"{net} reads one image, the cases are studies of several frames (dataset.sequence)"
        yield f"model: {seen}; choose model={fitting}, or a dataset of still images"
    if not str(cfg["inferer"]["_target_"]).endswith("SimpleInferer"):
        what = f"{cfg['inferer']['_target_']} cuts or pads still images, frames go through the network whole"
        yield f"inferer: {what}; choose inferer=simple"
    horizon = sequence.get("horizon", 0)
    if horizon != task.get("horizon", 0):
        what = f"{horizon}, but task.horizon is {task.get('horizon', 0)}"
        yield f"dataset.sequence.horizon: {what}; leave it to its leaf (${{oc.select:task.horizon,0}})"
    wanted = horizon * (dataset["in_channels"] if kind == "next_frame" else 1)
    if ahead and task["out_channels"] != wanted:
        yield f"task.out_channels: {task['out_channels']}, but {horizon} frames ahead are {wanted}; leave it to its leaf"
    if task.get("change") and not ahead:
        yield "task.change: is for next values only; leave it out"


def frames(cfg: dict[str, Any]) -> tuple[int, ...]:
    """The axis of frames that a batch to try the network with has, or none."""
    return () if cfg["dataset"].get("sequence") is None else (TRIED,)


def given(cfg: dict[str, Any]) -> dict[str, Any]:
    """What such a batch of two has beside its images, where the network asks for it."""
    import torch

    return (
        {"values": torch.zeros((2, TRIED), device="meta")}
        if cfg["task"]["target"] == "next_value" and frames(cfg)
        else {}
    )


def outcome(cfg: dict[str, Any], output: Any, size: tuple[int, ...]) -> Iterator[str]:
    """What is wrong with what a network of next frames gives."""
    if cfg["task"]["target"] != "next_frame":
        return
    wanted, seen = [cfg["task"]["out_channels"], *size], list(output.shape[1:])
    if seen != wanted:
        what = f"{cfg['model']['_target_']} returns {seen} a study, the next frames are {wanted}"
        yield f"model: {what}; choose model=sequence_voxels, or an encoder that keeps the size"


def _reads_frames(net: str) -> bool:
    forward = getattr(locate(net), "forward", None)
    return forward is not None and "frames" in inspect.signature(forward).parameters
