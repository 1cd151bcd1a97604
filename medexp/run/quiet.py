"""Lightning's hints that do not help a medexp user, silenced; everything else still warns."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

HINTS = (
    r".*does not have many workers.*",  # prepared cases lie in memory: workers are a choice
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*Experiment logs directory .* exists and is not empty.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*GPU available but not used.*",
    r".*isinstance\(treespec, LeafSpec\).*",  # Lightning's own use of a torch name
    r".*torch\.distributed\.nn\.functional\.all_gather is deprecated.*",  # Lightning's all_gather with gradients
    r".*scheduler is using 'interval': 'epoch'.*",  # curves are by epoch here, so that a resumed run can be longer
    r".*Trying to infer the `batch_size` from an ambiguous collection.*",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Within: no banner of Lightning, none of the HINTS."""
    names = ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning", "lightning.fabric", "lightning_fabric")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for hint in HINTS:
                warnings.filterwarnings("ignore", message=hint)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
