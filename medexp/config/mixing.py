"""Whether callbacks that blend cases, or average weights, go with the task, the loss and each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medexp.config.targets import locate

HOME = "medexp.callbacks."
# Targets that each can blend.
BLENDS = {
    "mixing.Mixup": ("index", "binary", "multilabel", "value"),
    "mixing.CutMix": ("index", "binary", "multilabel", "mask"),
}
AVERAGES = ("averaging.AverageWeights", "averaging.StochasticWeightAverage")


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound."""
    names = {key: str(node["_target_"]).removeprefix(HOME) for key, node in cfg["callbacks"].items() if node}
    averages = [key for key, name in names.items() if name in AVERAGES]
    if len(averages) > 1:
        yield f"callbacks: {' and '.join(averages)} both put an average in the place of the weights; choose one"
    for key, name in names.items():
        if name in BLENDS:
            yield from _blending(cfg, f"callbacks.{key}", BLENDS[name])


def _blending(cfg: dict[str, Any], path: str, kinds: tuple[str, ...]) -> Iterator[str]:
    kind, loss = cfg["task"]["target"], str(cfg["loss"]["_target_"])
    if kind not in kinds:
        other = "; callbacks=cutmix cuts and pastes label maps" if kind == "mask" else ""
        yield f"{path}: cannot blend targets of the kind '{kind}', only {', '.join(kinds)}{other}; leave it out"
        return
    soft = kind in ("mask", "value") or kind in getattr(locate(loss), "soft_targets", ())
    if not soft:
        hint = "cross_entropy" if kind == "index" else "bce or focal"
        yield f"{path}: gives targets between the classes, which {loss} does not take from this task; choose loss={hint}"
    if cfg["dataset"]["batch_size"] < 2:
        yield f"dataset.batch_size: 1, but {path} blends cases of a batch; give 2 or more, or leave it out"
