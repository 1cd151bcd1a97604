"""Another class on the command line: `model._target_=...` forgets what the leaf gave to the class before."""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import DictConfig, OmegaConf

from medexp.config.targets import locate, signature
from medexp.errors import UserError

log = logging.getLogger(__name__)


def forget(cfg: DictConfig, overrides: list[str]) -> None:
    """Takes from each node whose `_target_` was overridden the arguments that the new class does not take and nobody typed.

    What was typed stays, so that a mistake in it is found. What is taken is logged.
    """
    typed = {text.partition("=")[0].lstrip("+") for text in overrides}
    for key in sorted(name for name in typed if name.endswith("._target_")):
        path = key.removesuffix("._target_")
        node = OmegaConf.select(cfg, path)
        if not isinstance(node, DictConfig):
            continue
        try:
            known: Any = signature(locate(str(node["_target_"])))
        except UserError:
            continue  # the check says it better
        if known.open:
            continue
        kept = {name.removeprefix(f"{path}.").partition(".")[0] for name in typed if name.startswith(f"{path}.")}
        gone = [str(name) for name in node if not str(name).startswith("_") and name not in {*known.hints, *kept}]
        for name in gone:
            node.pop(name)
        if gone:
            log.info("%s: %s of the leaf are not of %s and are left out", path, ", ".join(gone), node["_target_"])
