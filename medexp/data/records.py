"""What a data set says of one case, before any image is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Record:
    """One case. A source (`medexp/data/sources/<format>.py`) lists these; it never opens an image.

    images: one file per channel, or a single file that holds all channels.
    label: file of the label map on the image's grid (segmentation), None where there is none.
    target: class name, list of class names, or number(s): classification and every other task.
    patient_id: scans of one patient never fall into two parts of a split; "" means one scan a patient.
    split: "train", "val" or "test" where the data set comes with a split of its own.
    member: row within an array file (`images` is then that one .npz file).
    """

    case_id: str
    images: tuple[Path, ...]
    label: Path | None = None
    target: Any = None
    patient_id: str = ""
    split: str | None = None
    member: int | None = None

    @property
    def group(self) -> str:
        """The patient, or the case itself where the data set names no patients."""
        return self.patient_id or self.case_id
