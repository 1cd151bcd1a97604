"""Whether what a pretraining without labels is made of goes together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medexp.targets import has_classes

VIEWS = "views"
PAIRS = ("ContrastiveLoss", "InfoNCE", "BarlowTwinsLoss")  # losses of two projections
QUEUES = "InfoNCE"  # the one that takes others beside


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """What does not fit of views, loss, momentum and the trainer's options."""
    task, loss, change = cfg["task"], str(cfg["loss"]["_target_"]), (cfg.get("degradation") or {}).get("_target_")
    views, pairs, makes = task.get("target") == VIEWS, loss.endswith(PAIRS), str(change).endswith("TwoViews")
    if views != makes:
        wanted = (
            "give degradation=two_views" if views else "only task=pretrain_contrastive and its like learn from views"
        )
        yield f"degradation: {change or 'null'}; {wanted}"
    if views != pairs and not (views and not loss.startswith(("monai.", "torch.", "medexp."))):
        wanted = "choose contrastive, info_nce or barlow_twins" if views else "only task=pretrain_* compares views"
        yield f"loss: {loss}; {wanted}"
    if views:
        yield from _of_views(cfg, task, loss)


def _of_views(cfg: dict[str, Any], task: dict[str, Any], loss: str) -> Iterator[str]:
    trainer, dataset = cfg["trainer"], cfg["dataset"]
    yield from _numbers(cfg, task)
    if dataset["batch_size"] < 2:
        yield "dataset.batch_size: 1, but an image is told from the others of its batch; give 2 or more (32 is little)"
    if task.get("queue") and (task.get("momentum") is None or not loss.endswith(QUEUES)):
        yield "task.queue: is of an average of the weights, for loss=info_nce; give task.momentum=0.99, or task.queue=0"
    if task.get("momentum") is not None and not loss.endswith(QUEUES) and loss.endswith(PAIRS):
        yield f"loss: {loss} learns from both views alike, but task.momentum averages one; choose loss=info_nce"
    for key in ("compile", "activation_checkpointing"):
        if trainer.get(key):
            yield f"trainer.{key}: {trainer[key]}, but only the encoder of the network is computed; set it to false"
    if dataset.get("balance") is not None:
        yield "dataset.balance: draws by class, but no label may have a part in this; set dataset.balance=null"
    averages = [key for key, node in cfg["callbacks"].items() if node and "averaging" in str(node["_target_"])]
    if averages and task.get("momentum") is not None:
        yield f"callbacks.{averages[0]}: task.momentum averages the weights already; leave one of them out"


def _numbers(cfg: dict[str, Any], task: dict[str, Any]) -> Iterator[str]:
    """Values of task, loss and probes that mean nothing."""
    if task.get("queue", 0) < 0:
        yield f"task.queue: {task['queue']} is negative; 0 keeps none, 1024 is usual"
    if not task.get("projector", [1]) or min(task.get("projector", [1])) < 1:
        yield f"task.projector: {task['projector']}; give one width or more, each at least 1, e.g. [128, 64]"
    if task.get("momentum") is not None and not 0 <= task["momentum"] < 1:
        yield f"task.momentum: {task['momentum']} is not from 0 to below 1; 0.99 is usual, null is none"
    if cfg["loss"].get("temperature", 1) <= 0:
        yield f"loss.temperature: {cfg['loss']['temperature']} is not above 0; 0.1 is usual"
    for name, probe in (task.get("probes") or {}).items():
        for key in ("temperature", "penalty"):
            if probe.get(key, 1) <= 0:
                yield f"task.probes.{name}.{key}: {probe[key]} is not above 0; 0.1 is usual"
        if probe.get("neighbours", 1) < 1:
            yield f"task.probes.{name}.neighbours: {probe['neighbours']} is below 1; 10 are usual"


def logged(cfg: dict[str, Any]) -> list[str]:
    """Scores of the probes, where the data set has classes that these can be fitted to."""
    dataset = cfg["dataset"]
    known = has_classes(dataset.get("provides"), dataset.get("classes"))
    return [f"val/{name}" for name in cfg["task"].get("probes") or {}] if known else []
