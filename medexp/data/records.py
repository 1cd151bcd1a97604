"""What a data set says of one case, before any image is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Plane = Literal["axial", "coronal", "sagittal"]


@dataclass(frozen=True)
class Box:
    """An object's place: voxel indices in the order of the array's axes (row, column[, slice]), `upper` just beyond it."""

    name: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]


@dataclass(frozen=True)
class Window:
    """A part of a volume: its centre in mm of the scanner's space (RAS, as in NIfTI) and its size in mm along the
    volume's own axes. Beyond the volume its edge is repeated."""

    centre: tuple[float, float, float]
    size: tuple[float, float, float]


@dataclass(frozen=True)
class Slice:
    """One slice of a volume: which plane, and the index along the voxel axis nearest to that plane's normal. neighbours: so
    many slices on either side are channels of the image as well (2.5D), the first slice and the last stand in beyond them."""

    plane: Plane
    index: int
    neighbours: int = 0


@dataclass(frozen=True)
class Record:
    """One case. A source (`medexp/data/sources/<format>.py`) lists these; it never opens an image.

    images: one file per channel, or a single file that holds all channels; None for a modality that this case lacks.
        A folder of DICOM files is a volume (`member` names the series).
    label: file of the label map on the image's grid (segmentation), or a folder of one mask an object (their union is
        class 1); None where there is none.
    target: class name, list of class names, or number(s): classification and every other task.
    patient_id: scans of one patient never fall into two parts of a split; "" means one scan a patient.
    split: "train", "val" or "test" where the data set comes with a split of its own.
    member: row within an array file (`images` is then that one file), or the SeriesInstanceUID within a DICOM folder.
    time: time point of a 4D scan (the last axis of NIfTI, the temporal position in DICOM).
    frames: of a study of several frames, the time points of its one file, in order; None where each is a file of its own
        (`images` are then the frames). times: when each frame was taken, in a unit of the data set's own.
    slice, window: the part of the volume that is the case.
    region: file of a mask of the image's field of view: outside of it nothing is learnt and nothing is evaluated.
    boxes: objects by their bounding boxes; None where the data set has none.
    covariates: what else is known of the case, cells of a table by name (see medexp/covariates.py).
    """

    case_id: str
    images: tuple[Path | None, ...]
    label: Path | None = None
    target: Any = None
    patient_id: str = ""
    split: str | None = None
    member: int | str | None = None
    time: int | None = None
    slice: Slice | None = None
    window: Window | None = None
    region: Path | None = None
    boxes: tuple[Box, ...] | None = None
    frames: tuple[int, ...] | None = None
    times: tuple[float, ...] | None = None
    covariates: Mapping[str, str | None] | None = None

    @property
    def group(self) -> str:
        """The patient, or the case itself where the data set names no patients."""
        return self.patient_id or self.case_id

    @property
    def files(self) -> tuple[Path, ...]:
        """The image files that are there."""
        return tuple(path for path in self.images if path is not None)

    @property
    def missing(self) -> tuple[int, ...]:
        """Channels of which this case has no image."""
        return tuple(index for index, path in enumerate(self.images) if path is None)
