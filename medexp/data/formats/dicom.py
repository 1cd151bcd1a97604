"""DICOM: a series of a folder as a volume, or one file as an image.

A volume comes as (1, columns, rows, slices), the axes of NIfTI and of dcm2niix (which also flips the rows), its slices
along the normal of the image plane, its affine turned from DICOM's LPS to RAS. An image of its own comes as
(C, rows, columns), as any picture does; it lies nowhere, but keeps its pixel spacing (between rows, between columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
from pydicom.uid import UID

from medexp.data.formats.dicom_folder import scan_folder
from medexp.data.formats.dicom_header import Frame, Header, quiet, read_header, short
from medexp.data.formats.dicom_series import affine, some, volumes
from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted, first_line, without_place

QUANTITIES = ("CT", "PT")  # HU and activity: MONOCHROME1 then speaks of how to show them, not of what they are
PACKAGES = ("pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls")  # in the order of preference
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def read_dicom(path: Path, wanted: Wanted) -> Scan:
    """A folder with the series `wanted.member` (None where it holds one), or a file. Values are those of the modality
    (rescale slope and intercept applied), float32; a label map keeps its stored whole numbers. Raises Unreadable, also
    for a 4D series without `wanted.time`."""
    frames = _frames(path, wanted.member)
    if wanted.spatial_dims == 2:
        return _image(frames, wanted)
    times, placed = _volumes(frames)
    if wanted.time is None and len(times) > 1:
        raise Unreadable(f"has {len(times)} time points; set dataset.times=each to make each a case")
    point = wanted.time or 0
    if not 0 <= point < len(times):
        raise Unreadable(f"has {len(times)} time points; there is no number {point}")
    return Scan(_volume(times[point], wanted.label), placed, _sizes(placed))


def dicom_header(path: Path, series: str | None = None) -> tuple[tuple[int, ...], Array]:
    """Shape (columns, rows, slices[, time points]) and affine; no voxel is read. Raises Unreadable."""
    times, placed = _volumes(_frames(path, series))
    rows, columns = times[0][0].size
    shape = (columns, rows, len(times[0]))
    return (*shape, len(times)) if len(times) > 1 else shape, placed


def time_points(path: Path, series: str | None = None) -> int:
    """How many volumes a series holds; 1 where it cannot be put in order, which is said when it is read."""
    try:
        return len(_volumes(_frames(path, series))[0])
    except (Unreadable, OSError):
        return 1


def image_series(headers: Sequence[Header]) -> dict[str, list[Header]]:
    """Headers by SeriesInstanceUID, of images other than localizers."""
    found: dict[str, list[Header]] = {}
    for header in headers:
        if header.frames and not header.localizer:
            found.setdefault(header.series, []).append(header)
    return found


def _frames(path: Path, member: int | str | None) -> list[Frame]:
    if path.is_dir():
        headers = _series(path, member)
    else:
        header = read_header(path)
        if header is None:
            raise Unreadable("is no DICOM file (neither its magic nor a SOPClassUID is there); copy it again")
        if not header.frames:
            raise Unreadable(f"holds no image (modality {header.modality or 'not named'}); leave it out")
        headers = [header]
    return [frame for header in headers for frame in header.frames]


def _series(path: Path, member: int | str | None) -> list[Header]:
    folder = scan_folder(path)
    if folder.broken:  # one of them may be a slice of this series
        raise Unreadable(f"holds {len(folder.broken)} DICOM files that cannot be read: {some(folder.broken, 3)}")
    if member is not None:
        chosen = [header for header in folder.headers if header.series == member and header.frames]
        if not chosen:
            raise Unreadable(f"holds no images of the series {short(str(member))}; copy the folder again")
        return chosen
    found = image_series(folder.headers)
    if not found:
        raise Unreadable(f"holds no DICOM image ({len(folder.headers)} DICOM files, localizers left out)")
    if len(found) > 1:
        names = [f"{_title(headers[0])}: {len(headers)} files" for headers in found.values()]
        raise Unreadable(f"holds {len(found)} series ({some(names)}); give each a folder of its own, or name one")
    return next(iter(found.values()))


def _title(header: Header) -> str:
    words = [f"number {header.number}" if header.number is not None else "", header.description, short(header.series)]
    return " ".join(word for word in words if word)


def _volumes(frames: list[Frame]) -> tuple[list[list[Frame]], Array]:
    """The frames of each time point, and the affine that all have. Raises Unreadable."""
    if _unplaced(frames):
        return [frames], _stacked(frames)
    times = volumes(frames)
    return times, affine(times[0])


def _unplaced(frames: Sequence[Frame]) -> bool:
    """One file of many frames that names no place for each: pages in the order of the file."""
    return len(frames) > 1 and len({f.path for f in frames}) == 1 and any(f.position is None for f in frames[1:])


def _image(frames: list[Frame], wanted: Wanted) -> Scan:
    if wanted.time is not None and not 0 <= wanted.time < len(frames):
        raise Unreadable(f"has {len(frames)} frames; there is no number {wanted.time}")
    if wanted.time is None and len(frames) > 1:
        raise Unreadable(f"holds {len(frames)} images where one is expected; set dataset.spatial_dims=3")
    frame = frames[wanted.time or 0]
    pixels = _values(frame.path, [frame], wanted.label)[0]
    spacing = frame.spacing if frame.spacing is not None and min(frame.spacing) > 0 else (1.0, 1.0)
    scan = without_place(pixels, wanted)
    return replace(scan, affine=np.diag([*spacing, 1.0, 1.0]), spacing=tuple(spacing))


def _stacked(frames: list[Frame]) -> Array:
    """Affine of frames in the order of their file."""
    first = frames[0]
    if first.spacing is None or first.step is None or min(*first.spacing, first.step) <= 0:
        raise Unreadable(f"holds {len(frames)} frames without place or spacing; it is no volume: leave it out")
    if first.position is not None and first.orientation is not None:
        return affine([first])
    return np.diag([first.spacing[1], first.spacing[0], first.step, 1.0])


def _sizes(placed: Array) -> tuple[float, ...]:
    return tuple(float(size) for size in nib.affines.voxel_sizes(placed))


def _volume(frames: Sequence[Frame], label: bool) -> Array:
    """(1, columns, rows, slices)."""
    files: dict[Path, list[Frame]] = {}
    for frame in frames:
        files.setdefault(frame.path, []).append(frame)
    pixels: dict[Frame, Array] = {}
    for path, held in files.items():
        for frame, values in zip(held, _values(path, held, label), strict=True):
            if values.ndim != 2:
                raise Unreadable(f"{frame.name} is a colour picture; a volume has one value a voxel")
            pixels[frame] = values
    stacked = np.empty(
        (1, *frames[0].size[::-1], len(frames)), dtype=np.result_type(*{v.dtype for v in pixels.values()})
    )
    for index, frame in enumerate(frames):
        stacked[0, :, :, index] = pixels[frame].T
    return stacked


def _values(path: Path, frames: Sequence[Frame], label: bool) -> list[Array]:
    """Of each frame of a file (rows, columns[, 3]), in the units of the modality. Raises Unreadable."""
    quiet()
    try:
        dataset = pydicom.dcmread(path, force=True)
        stored = _stored(path, dataset)
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read ({error.strerror or error})") from None
    except Unreadable:
        raise
    except Exception as error:  # decoders raise many kinds for broken pixel data
        raise Unreadable(
            f"{path.name}: its pixel data cannot be read ({first_line(error).split(' - ')[0]}); copy it again"
        ) from None
    several = int(dataset.get("NumberOfFrames") or 1) > 1
    found = []
    for frame in frames:
        values = stored[frame.index] if several else stored
        if values.shape[:2] != frame.size:
            raise Unreadable(f"{frame.name}: its pixel data are {values.shape[:2]}, its header says {frame.size}")
        found.append(values if label else _modality(values, frame, dataset))
    return found


def _stored(path: Path, dataset: Dataset) -> Array:
    """Decoded pixel data, as stored; palettes become RGB."""
    if dataset.get("SOPClassUID") == SEGMENTATION:
        raise Unreadable(f"{path.name} is a DICOM segmentation object; convert it to a NIfTI or NRRD label map")
    if not any(tag in dataset for tag in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise Unreadable(f"{path.name} is truncated: it holds no pixel data; copy it again")
    _decodable(path, dataset)
    array = np.asarray(pixel_array(dataset))
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        array = np.asarray(apply_color_lut(array, dataset))
    return array


def _decodable(path: Path, dataset: Dataset) -> None:
    uid = UID(str(getattr(dataset.file_meta, "TransferSyntaxUID", "") or "1.2.840.10008.1.2"))
    dataset.file_meta.TransferSyntaxUID = uid  # files without a meta header are implicit little endian (PS3.5 A.1)
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        raise Unreadable(f"{path.name} is stored as {uid.name}, which is no image that can be decoded") from None
    if not decoder.is_available:
        needs = " ".join(decoder.missing_dependencies)
        package = next((name for name in PACKAGES if name in needs), "pylibjpeg-libjpeg")
        both = f"pylibjpeg {package}" if package.startswith("pylibjpeg") else package
        what = f"{path.name} is compressed as {uid.name}, and nothing here can decode that"
        raise Unreadable(f"{what}; pip install {both}, or decompress the files (gdcmconv --raw)")


def _modality(stored: Array, frame: Frame, dataset: Dataset) -> Array:
    """MONOCHROME1, in which the least value is white, is turned over, so that more is always brighter."""
    if stored.ndim == 3:
        return stored.astype(np.float32)
    if dataset.get("ModalityLUTSequence"):
        stored = np.asarray(apply_modality_lut(stored, dataset))
    elif dataset.get("PhotometricInterpretation") == "MONOCHROME1" and dataset.get("Modality") not in QUANTITIES:
        bits = int(dataset.get("BitsStored") or 16)
        top = -1 if dataset.get("PixelRepresentation") == 1 else 2**bits - 1
        stored = top - stored.astype(np.int64 if stored.dtype.kind in "iu" else np.float64)
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return stored.astype(np.float32)
    return (stored * np.float64(frame.slope) + frame.intercept).astype(np.float32)
