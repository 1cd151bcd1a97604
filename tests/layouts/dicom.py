"""Small DICOM series as scanners write them: `write_series(folder, volume)`, with every tag that a test wants to spoil."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

MR, CT, CR = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("4", "2", "1"))
SECONDARY, REPORT = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.11"
ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
PATIENT = "Roe^Jane 12345"  # must be in no message


def uid(*parts: object) -> str:
    """The same UID for the same words."""
    return str(generate_uid(entropy_srcs=[str(part) for part in parts]))


def slice_dataset(pixels: np.ndarray, *, series: str = "series", name: str = "0", **tags: Any) -> Dataset:
    """One image (rows, columns[, 3]) of unsigned or signed whole numbers; `tags` are added, those that are None removed."""
    dataset = Dataset()
    dataset.SOPClassUID = MR
    dataset.SOPInstanceUID = uid(series, name)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study", series), uid(series)
    dataset.PatientName, dataset.PatientID = PATIENT, PATIENT
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "MR", 3, "t2 axial"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelSpacing, dataset.SliceThickness = [2.0, 1.5], 3.0
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = list(AXIAL), [0.0, 0.0, 0.0]
    dataset.PixelData = pixels.tobytes()
    for tag, value in tags.items():
        if value is None:
            dataset.pop(tag, None)
        else:
            setattr(dataset, tag, value)
    return dataset


def save(dataset: Dataset, path: Path, compress: str | None = None) -> Path:
    """A file with preamble; compress: a transfer syntax that pydicom can write (RLE Lossless)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or MR
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or uid("none")
    if compress is not None:
        dataset.compress(UID(compress), generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    volume: np.ndarray,
    *,
    series: str = "series",
    origin: tuple[float, float, float] = (-30.0, -40.0, 50.0),
    orientation: tuple[float, ...] = AXIAL,
    gap: float = 4.0,
    end: str = ".dcm",
    compress: str | None = None,
    spoil: dict[int, dict[str, Any]] | None = None,
    **tags: Any,
) -> Path:
    """volume: (columns, rows, slices) or (columns, rows, slices, times). A file an image, named so that the order of
    names is not the order of places. spoil: tags of single files, by slice (of the first time point)."""
    row, column = np.asarray(orientation).reshape(2, 3)
    normal = np.cross(row, column)
    volume = volume if volume.ndim == 4 else volume[..., None]
    slices, times = volume.shape[2:]
    for time in range(times):
        for index in range(slices):
            own = {
                "ImagePositionPatient": [float(v) for v in np.asarray(origin) + gap * index * normal],
                "ImageOrientationPatient": [float(v) for v in orientation],
                "InstanceNumber": time * slices + index + 1,
                "AcquisitionNumber": 1,
            }
            own |= tags | ((spoil or {}).get(index, {}) if time == 0 else {})
            image = np.ascontiguousarray(volume[:, :, index, time].T)
            dataset = slice_dataset(image, series=series, name=f"{index} {time}", **own)
            save(dataset, folder / f"im{(index * 7) % slices:03d}_{index}_{time}{end}", compress)
    return folder


def write_enhanced(path: Path, volume: np.ndarray, *, gap: float = 4.0, times: int = 1, **tags: Any) -> Path:
    """One file of all frames, (columns, rows, frames): each with a place and a rescale of its own, stored upside down."""
    frames = np.ascontiguousarray(np.moveaxis(volume, 2, 0).swapaxes(1, 2))
    dataset = slice_dataset(
        frames[0], SOPClassUID=ENHANCED, ImagePositionPatient=None, ImageOrientationPatient=None, **tags
    )
    for tag in ("PixelSpacing", "SliceThickness"):
        del dataset[tag]
    dataset.NumberOfFrames, dataset.PixelData = len(frames), frames.tobytes()
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [2.0, 1.5], 3.0
    orientation.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    each = []
    for index in range(len(frames)):
        item, place, content, value = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0.0, 0.0, -gap * (index // times)]
        content.TemporalPositionIndex = index % times + 1
        value.RescaleSlope, value.RescaleIntercept = 2.0, float(index)
        item.PlanePositionSequence, item.FrameContentSequence = Sequence([place]), Sequence([content])
        item.PixelValueTransformationSequence = Sequence([value])
        each.append(item)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(each)
    return save(dataset, path)
