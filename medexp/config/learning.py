"""Whether a way to learn goes with the task, and the data set has the batches that it wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medexp.config.targets import locate

MOVES = ("crop", "flip", "turn", "affine", "elastic")  # arguments of an augmentation that move the image
DENSE = ("mask",)  # kinds of targets that would have to move with it
ONE_OF_SEVERAL = ("index", "binary", "ordinal")  # kinds of targets whose class can be exchanged for another
AVERAGES = ("AverageWeights", "StochasticWeightAverage")
BLENDS = ("Mixup", "CutMix")
INTO_THE_NET = ("Freeze", "GradualUnfreezing")


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """What does not fit of learning, task and data set."""
    node, dataset = cfg.get("learning") or {}, cfg["dataset"]
    unlabelled = dataset.get("unlabelled")
    way: Any = locate(str(node["_target_"])) if node else None
    wanted = bool(getattr(way, "unlabelled", False))
    if unlabelled and not wanted:
        what = f"{node['_target_']} learns" if node else "the task learns"
        yield f"dataset.unlabelled: {what} from labelled cases alone; set dataset.unlabelled=null, or choose learning=mean_teacher"
    if dataset.get("labelled") is not None and not wanted:
        yield (
            f"dataset.labelled: {dataset['labelled']}, but nothing learns from the other cases; choose "
            "learning=mean_teacher or the like, or dataset.split.limit_train for few cases alone"
        )
    if dataset.get("label_noise") and cfg["task"]["target"] not in ONE_OF_SEVERAL:
        yield (
            f"dataset.label_noise: {dataset['label_noise']}, but the task learns '{cfg['task']['target']}', which is not one "
            "of several classes; set dataset.label_noise=0"
        )
    if node:
        yield from _task(cfg, way)
        yield from _callbacks(cfg, way)
    if wanted:
        yield from _views(cfg, way)


def _task(cfg: dict[str, Any], way: Any) -> Iterator[str]:
    kinds, kind = getattr(way, "kinds", ()), cfg["task"]["target"]
    name = cfg["learning"]["_target_"]
    if kind not in kinds:
        yield f"learning: {name} knows targets of the kind {', '.join(kinds)}, the task learns '{kind}'; set learning=null"
    if getattr(way, "twin", False) and cfg["task"].get("layer_decay", 1.0) != 1.0:
        yield f"task.layer_decay: does not reach the second network of {name}; set task.layer_decay=1"


def _views(cfg: dict[str, Any], way: Any) -> Iterator[str]:
    unlabelled = cfg["dataset"].get("unlabelled")
    if not unlabelled:
        hint = "leave it to the leaf (`medexp list learning`), or give dataset.unlabelled.per_batch"
        yield f"dataset.unlabelled: null, but {cfg['learning']['_target_']} learns from unlabelled cases; {hint}"
        return
    strong = unlabelled.get("strong")
    if getattr(way, "strong", False) and not strong:
        yield f"dataset.unlabelled.strong: null, but {cfg['learning']['_target_']} compares two views; give an augmentation"
    moving = [key for key in MOVES if _any((strong or {}).get(key))]
    if moving and cfg["task"]["target"] in DENSE:
        yield (
            f"dataset.unlabelled.strong.{moving[0]}: moves the strong view, but not what is said of the weak one; set it to 0 "
            "(the augmentation moves both alike)"
        )
    if cfg["dataset"].get("sequence"):
        yield "dataset.unlabelled: studies of several frames have no strong view; choose another data set"


def _any(value: Any) -> bool:
    return any(value) if isinstance(value, list) else bool(value)


def _callbacks(cfg: dict[str, Any], way: Any) -> Iterator[str]:
    for key, node in cfg["callbacks"].items():
        name = str((node or {}).get("_target_")).rsplit(".", 1)[-1]
        if name in AVERAGES and getattr(way, "averages", False):
            yield f"callbacks.{key}: the teacher is an average of the weights already; leave {key} out"
        if name in BLENDS and not way.unlabelled:
            yield f"callbacks.{key}: blends cases, among which wrong labels are to be found; leave {key} out"
        if name in INTO_THE_NET and getattr(way, "twin", False):
            yield f"callbacks.{key}: does not reach the second network of {cfg['learning']['_target_']}; leave {key} out"
