"""A loss that looks at images through the network of another run is told of it in the config: nothing later needs that run's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medexp.config import translation
from medexp.errors import UserError
from medexp.run import folder

KEYS = ("net", "weights", "in_channels")


def embed(cfg: dict[str, Any]) -> None:
    """Puts the network of `loss.run` into the loss's node, in the place of that key. Raises UserError where there is none."""
    loss = cfg["loss"]
    if "run" not in loss:
        return
    run = loss.pop("run")
    given = [key for key in KEYS if loss.get(key) is not None]
    if run is None:
        if len(given) < len(KEYS):
            raise UserError("loss.run: null; give a run folder, or loss.net, loss.weights and loss.in_channels")
        loss["weights"] = str(Path(str(loss["weights"])).expanduser().absolute())
        return
    if given:
        raise UserError(f"loss.{given[0]}: is that of loss.run={run} already; leave one of them out")
    path = Path(str(run)).expanduser().absolute()
    known = folder.load(path)
    loss |= {"net": known["model"], "weights": str(path), "in_channels": translation.inputs(known)}
