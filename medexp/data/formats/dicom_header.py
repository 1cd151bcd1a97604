"""What the headers of DICOM files say: which series an image belongs to, where it lies, when it was taken.

No value that identifies a patient leaves this module: PatientID becomes a hash, names are never read.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medexp.data.formats.scan import Unreadable

TIMES = ("TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "AcquisitionTime", "InstanceNumber")
TAGS = [
    *TIMES,
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality"),
    *("PatientID", "ImageType", "AcquisitionDate", "NumberOfFrames"),
    *("SamplesPerPixel", "Rows", "Columns", "BitsAllocated"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("SpacingBetweenSlices", "SliceThickness", "RescaleSlope", "RescaleIntercept"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
SILENT = ("ignore", None, UserWarning, re.compile(r"pydicom(\.|$)"), 0)  # an entry of warnings.filters
DIRECTORY = "1.2.840.10008.1.3.10"  # SOP class of a DICOMDIR
GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # how a file without preamble begins: group 0002 or 0008


@dataclass(frozen=True, slots=True)
class Frame:
    """One image. position, orientation (direction cosines of a row, then of a column): mm and units of the patient's
    space (LPS). spacing: mm between rows, and between columns. step: mm between slices, or their thickness.
    times: values of TIMES. slope, intercept: from stored values to those of the modality. patient: hash of the PatientID."""

    path: Path
    index: int
    name: str
    uid: str
    size: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    step: float | None
    times: tuple[float | None, ...]
    slope: float = 1.0
    intercept: float = 0.0
    patient: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """One file. patient: hash of the PatientID, "" where there is none. frames: empty where the file is no image."""

    path: Path
    series: str
    number: int | None
    description: str
    modality: str
    localizer: bool
    patient: str
    colour: bool
    frames: tuple[Frame, ...]


def short(uid: str) -> str:
    """A UID as people tell it from another: its end."""
    return f"...{uid[-8:]}" if len(uid) > 8 else uid


def pseudonym(identifier: str) -> str:
    """16 hexadecimal digits in place of an identifier; "" stays ""."""
    text = identifier.strip()
    return blake2b(text.encode(), digest_size=8).hexdigest() if text else ""


def read_header(path: Path) -> Header | None:
    """None where a file is not DICOM. Raises Unreadable where it is, and cannot be read."""
    dataset = read_tags(path, TAGS)
    try:
        return None if dataset is None else _header(path, dataset)
    except Unreadable:
        raise
    except Exception as error:  # values are converted when they are asked for
        raise Unreadable(f"has a damaged header ({type(error).__name__}); copy it again") from None


def looks_dicom(path: Path) -> bool:
    """By its first bytes: the magic behind the preamble, or a first element of group 0002 or 0008. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or head[:2] in GROUPS


def quiet() -> None:
    """pydicom warns of values that break the standard, and quotes them: they may name the patient. What matters to a
    volume is checked here, so neither its warnings nor its log lines are shown."""
    if SILENT not in warnings.filters:  # other threads read too: the list is left alone where it holds the entry
        warnings.filterwarnings("ignore", category=UserWarning, module=SILENT[3].pattern)
    logging.getLogger("pydicom").setLevel(logging.ERROR)


def read_tags(path: Path, tags: list[str]) -> Dataset | None:
    """None where the file is not DICOM. Raises Unreadable."""
    quiet()
    try:
        if not looks_dicom(path):
            return None
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags), force=True)
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror or error})") from None
    except Exception as error:  # pydicom raises many kinds for a broken file
        raise Unreadable(f"has a damaged header ({type(error).__name__}); copy it again") from None


def _header(path: Path, dataset: Dataset) -> Header | None:
    meta = getattr(dataset, "file_meta", None) or {}
    kind = str(meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID") or "")
    with_magic = getattr(dataset, "preamble", None) is not None
    if not kind and not with_magic:
        return None  # began like DICOM by chance
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    image = rows > 0 and columns > 0
    series = str(dataset.get("SeriesInstanceUID") or "")
    if dataset.get("BitsAllocated") is None and (_is_image(kind) or not (series or kind == DIRECTORY)):
        raise Unreadable("is truncated: its header ends before the description of the image; copy it again")
    number = dataset.get("SeriesNumber")
    return Header(
        path=path,
        series=series,
        number=None if number in (None, "") else int(number),
        description=str(dataset.get("SeriesDescription") or ""),
        modality=str(dataset.get("Modality") or ""),
        localizer="LOCALIZER" in _words(dataset.get("ImageType")),
        patient=pseudonym(str(dataset.get("PatientID") or "")),
        colour=int(dataset.get("SamplesPerPixel") or 1) > 1,
        frames=tuple(_frames(path, dataset, (rows, columns))) if image else (),
    )


def _is_image(kind: str) -> bool:
    """By the SOP class; one of DICOM's own that is in no table was cut off. Other makers' own may be anything."""
    name = UID(kind).name
    return not kind or "Image Storage" in name or (name == kind and kind.startswith("1.2.840.10008."))


def _frames(path: Path, dataset: Dataset, size: tuple[int, int]) -> Iterator[Frame]:
    """Of an enhanced file each frame's own place; of another one with many frames, the place of the first only."""
    count = int(dataset.get("NumberOfFrames") or 1)
    if not 0 < count <= path.stat().st_size:
        raise Unreadable(f"has a damaged header ({count} frames); copy it again")
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    uid = str(dataset.get("SOPInstanceUID") or "")
    patient = pseudonym(str(dataset.get("PatientID") or ""))
    for index in range(count):
        own = each[index] if index < len(each) else Dataset()
        look = [*_groups(own), *_groups(shared), *([dataset] if index == 0 or not each else [])]
        placed = index == 0 or bool(each)
        slope, intercept = _number(look, "RescaleSlope"), _number(look, "RescaleIntercept")
        yield Frame(
            path=path,
            index=index,
            name=path.name if count == 1 else f"frame {index + 1} of {path.name}",
            uid=uid if count == 1 else f"{uid}/{index}",
            size=size,
            position=_numbers(look, "ImagePositionPatient", 3) if placed else None,
            orientation=_numbers(look, "ImageOrientationPatient", 6),
            spacing=_numbers(look, "PixelSpacing", 2) or _numbers(look, "ImagerPixelSpacing", 2),
            step=_number(look, "SpacingBetweenSlices") or _number(look, "SliceThickness"),
            times=_times(look, index if count > 1 else None),
            slope=1.0 if slope is None else slope,
            intercept=intercept or 0.0,
            patient=patient,
        )


def _groups(item: Dataset) -> list[Dataset]:
    """The functional groups of one frame: sequences of one item each (DICOM PS3.3 C.7.6.16)."""
    return [element.value[0] for element in item if element.VR == "SQ" and element.value]


def _times(look: list[Dataset], frame: int | None) -> tuple[float | None, ...]:
    taken = _first(look, "AcquisitionTime")
    seconds = None if taken is None else _seconds(_first(look, "AcquisitionDate"), str(taken))
    temporal = _number(look, "TemporalPositionIdentifier")
    temporal = _number(look, "TemporalPositionIndex") if temporal is None else temporal
    acquisition = _number(look, "AcquisitionNumber")
    acquisition = _number(look, "FrameAcquisitionNumber") if acquisition is None else acquisition
    instance = _number(look, "InstanceNumber") if frame is None else float(frame)
    return temporal, acquisition, _number(look, "TriggerTime"), seconds, instance


def _seconds(day: Any, time: str) -> float | None:
    """Of a date YYYYMMDD (None: the day is not known) and a time HHMMSS.ffffff."""
    try:
        clock = float(time[:2]) * 3600 + float(time[2:4] or 0) * 60 + float(time[4:] or 0)
        text = str(day or "")
        days = date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal() if text else 0
    except ValueError:
        return None
    return days * 86400 + clock


def _first(look: list[Dataset], tag: str) -> Any:
    return next((value for item in look if (value := item.get(tag)) not in (None, "")), None)


def _number(look: list[Dataset], tag: str) -> float | None:
    value = _first(look, tag)
    return None if value is None else _finite(tag, [value])[0]


def _numbers(look: list[Dataset], tag: str, count: int) -> tuple[float, ...] | None:
    value = _first(look, tag)
    if value is None:
        return None
    values = list(value) if hasattr(value, "__len__") and not isinstance(value, str) else [value]
    if len(values) not in (0, count):
        raise Unreadable(f"has a damaged header ({tag} holds {len(values)} values, not {count}); copy it again")
    return _finite(tag, values) if values else None


def _finite(tag: str, values: list[Any]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = (math.nan,)
    if not all(math.isfinite(number) for number in numbers):
        raise Unreadable(f"has a damaged header ({tag} is no number); copy it again")
    return numbers


def _words(value: Any) -> list[str]:
    return [value.upper()] if isinstance(value, str) else [str(word).upper() for word in value or []]
