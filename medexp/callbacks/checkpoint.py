"""Best and last checkpoint of a run whose folder may move between two halves of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint

PLACES = ("best_model_path", "kth_best_model_path", "last_model_path")


class Checkpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint; the best value so far is not forgotten where the folder has moved since."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        here = {**state_dict, "dirpath": self.dirpath}
        here |= {key: self._here(str(state_dict.get(key, ""))) for key in PLACES}
        here["best_k_models"] = {self._here(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict(here)

    def _here(self, path: str) -> str:
        return str(Path(self.dirpath or ".") / Path(path).name) if path else path
