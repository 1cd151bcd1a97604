"""Problems of a composed config: what tests of the checks share."""

from __future__ import annotations

from medexp.config.check import check
from medexp.config.compose import compose, resolve
from medexp.errors import Faults


def problems(*overrides: str) -> list[str]:
    """What `check` says of `medexp train OVERRIDES`, a line each."""
    cfg = resolve(compose([*overrides, "run_dir=run"]))
    try:
        check(cfg, "the config")
    except Faults as faults:
        return faults.problems
    return []
