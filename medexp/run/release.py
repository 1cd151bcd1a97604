"""A release: a model as a folder of its own, with nothing in it of the machine and the cases that it was trained on.

model.yaml is the part of the run's config that prediction needs, weights.safetensors holds the tensors and nothing else.
`folder.load` and `folder.weights` take such a folder where they take a run's.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from medexp.data.records import Record
from medexp.errors import UserError

MODEL, WEIGHTS, CARD = "model.yaml", "weights.safetensors", "README.md"
FORMAT = 1  # of model.yaml
# What every config has and no prediction asks for.
STAND_INS: dict[str, Any] = {
    "monitor": "val/loss",
    "mode": "min",
    "resume": None,
    "data_root": "",
    "cache_dir": "",
    "figures": 0,
    "init": {},
    "loss": {"_target_": "torch.nn.Identity"},
    "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True},
    "scheduler": {
        "_target_": "medexp.optim.schedule.Schedule",
        "schedule": {"_target_": "torch.optim.lr_scheduler.ConstantLR", "_partial_": True},
    },
    "augmentation": None,
    "learning": {},
    "callbacks": {},
    "logger": {},
}
DATASET: dict[str, Any] = {
    "root": ".",
    "store": None,
    "source": {"_target_": "medexp.run.release.no_layout", "_partial_": True},
    "split": {"_target_": "medexp.data.splits.make.make_split", "_partial_": True},
}


def is_one(folder: Path) -> bool:
    return (folder / MODEL).is_file()


def no_layout(root: Path) -> list[Record]:
    """In the place of a data set's layout, which a release may not hold."""
    raise UserError(f"{root}: the release does not say how such a data set is laid out; `medexp predict` takes images")


def facts(folder: Path) -> dict[str, Any]:
    """What model.yaml says. Raises UserError where it is none of this format."""
    path = folder / MODEL
    try:
        said = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as error:  # YAML and OmegaConf raise many kinds; all mean that the file is not ours
        raise UserError(f"{path}: not a released model: {str(error).splitlines()[0]}") from None
    if not isinstance(said, dict) or not {"format", "weights", "task", "model", "dataset"} <= said.keys():
        raise UserError(f"{path}: not a released model; give the folder that `medexp export` wrote")
    if said["format"] != FORMAT:
        raise UserError(
            f"{path}: is of format {said['format']}, this medexp reads {FORMAT}; install the one that wrote it"
        )
    return {str(key): value for key, value in said.items()}


def load(folder: Path) -> dict[str, Any]:
    """The config of a release, as a run's. Raises UserError."""
    said = facts(folder)
    nodes = {key: said[key] for key in ("name", "seed", "task", "model", "inferer", "trainer", "metrics")}
    dataset = {**DATASET, **said["dataset"], "about": said.get("data") or {}}
    nodes |= {"degradation": said.get("degradation") or {}}
    return {**STAND_INS, **nodes, "dataset": dataset, "run_dir": str(folder.absolute())}


def weights(folder: Path, checkpoint: str) -> Path:
    """The file of the weights, its digest verified. Raises UserError where it is not whole, or of another checkpoint."""
    said, path = facts(folder)["weights"], folder / WEIGHTS
    if checkpoint not in ("best", said["checkpoint"]):
        raise UserError(
            f"--checkpoint: {folder} is a release of the {said['checkpoint']} checkpoint alone; leave it out"
        )
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; fetch the whole release") from None
    if digest != said["sha256"]:
        raise UserError(f"{path}: does not match the SHA-256 in {MODEL}; fetch the release anew")
    return path
