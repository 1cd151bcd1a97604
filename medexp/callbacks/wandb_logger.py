"""A WandbLogger that sends values and pictures, and nothing of the machine or the command line that they came from."""

from __future__ import annotations

import uuid
from pathlib import Path

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

# Console lines, command line and host hold paths, and paths hold names of patients.
PRIVATE = {
    "console": "off",
    "host": "",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


def wandb_logger(
    save_dir: str,
    project: str = "medexp",
    name: str | None = None,
    group: str | None = None,
    entity: str | None = None,
    tags: list[str] | None = None,
    notes: str | None = None,
    offline: bool = True,
) -> WandbLogger:
    """A run of Weights & Biases; offline it is a folder below `save_dir`/wandb that `wandb sync` uploads.

    Its id stays in `save_dir`, so that a run that is resumed goes on there too.
    """
    return WandbLogger(
        save_dir=save_dir,
        id=_run_id(Path(save_dir) / "wandb_id"),
        project=project,
        name=name,
        group=group,
        entity=entity,
        tags=tags,
        notes=notes,
        offline=offline,
        settings={**PRIVATE, "program": "medexp"},
    )


def _run_id(path: Path) -> str | None:
    """The id in the file, which the first process of a new run writes; others need none, for they send nothing."""
    if not path.is_file() and getattr(rank_zero_only, "rank", 0) == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex[:8], encoding="utf-8")
    return path.read_text(encoding="utf-8") if path.is_file() else None
