"""A WandbLogger that sends values and pictures, and nothing of the machine or the command line that they came from."""

from __future__ import annotations

from pytorch_lightning.loggers import WandbLogger

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
    """A run of Weights & Biases; offline it is a folder below `save_dir`/wandb that `wandb sync` uploads."""
    return WandbLogger(
        save_dir=save_dir,
        project=project,
        name=name,
        group=group,
        entity=entity,
        tags=tags,
        notes=notes,
        offline=offline,
        settings={**PRIVATE, "program": "medexp"},
    )
