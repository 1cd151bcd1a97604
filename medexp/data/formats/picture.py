"""PNG, JPEG, BMP and GIF through PIL; TIFF through tifffile, which needs no ITK."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageSequence, UnidentifiedImageError

from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted, first_line, without_place

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
TIFF = (".tif", ".tiff")


def read_picture(path: Path, wanted: Wanted) -> Scan:
    """Transparency is dropped. A label map's palette entries are its classes, but of a GIF in greys the grey values:
    GIF stores those by palette, too, in an order of the writer's own. Raises Unreadable."""
    return without_place(_picture(path, wanted.label), wanted)


def read_tiff(path: Path, wanted: Wanted) -> Scan:
    """(rows, columns), or (rows, columns, pages) of a stack. Raises Unreadable."""
    return without_place(_tiff(path, wanted.spatial_dims), wanted)


def _picture(path: Path, label: bool) -> Array:
    try:
        with Image.open(path) as picture:
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                raise Unreadable(f"holds {frames} frames where one is expected; save each as a file of its own")
            picture.load()
            if picture.format == "GIF" and picture.mode == "P" and label and _greys(picture):
                picture = picture.convert("L")  # type: ignore[assignment]
            if picture.mode in ("P", "PA", "RGBA", "LA", "CMYK", "YCbCr") and not (label and picture.mode == "P"):
                picture = picture.convert("L" if picture.mode == "LA" else "RGB")  # type: ignore[assignment]
            return np.asarray(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(f"is too large a picture ({error})") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise Unreadable(f"cannot be read as an image ({first_line(error)}); copy it again") from None


def _greys(picture: Image.Image) -> bool:
    """Whether every palette entry that a picture uses is a grey."""
    palette = np.asarray(picture.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    used = palette[np.unique(np.asarray(picture))]
    return bool((used == used[:, :1]).all())


def tiff_pages(path: Path) -> int:
    """Pages of a TIFF, by its headers. Raises Unreadable."""
    try:
        with tifffile.TiffFile(path) as file:
            pages = len(file.pages)
    except Exception as error:  # tifffile raises many kinds for a broken file
        raise Unreadable(f"cannot be read as TIFF ({first_line(error)}); copy it again") from None
    if not pages:
        raise Unreadable("cannot be read as TIFF (it has no page); copy it again")
    return pages


def _tiff(path: Path, spatial_dims: int) -> Array:
    """(rows, columns[, C]), or (rows, columns, pages[, C]) of a stack."""
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series
            if len(series) > 1:
                raise Unreadable(f"holds {len(series)} images of different kinds; save each as a file of its own")
            axes = series[0].axes
            try:
                array = series[0].asarray()
            except ValueError as error:  # LZW and JPEG: PIL knows them without the imagecodecs package
                if "imagecodecs" not in str(error):
                    raise
                array = _tiff_pages(path)
    except Unreadable:
        raise
    except Exception as error:  # tifffile raises many kinds for a broken file
        raise Unreadable(f"cannot be read as TIFF ({first_line(error)}); copy it again") from None
    if spatial_dims == 3 and axes == "YXS":
        raise Unreadable("is one colour picture where a stack of pages is expected; set dataset.spatial_dims=2")
    colour = max(axes.find("S"), axes.find("C"))
    if colour >= 0 and len(axes) == array.ndim == spatial_dims + 1:
        array = np.moveaxis(array, colour, -1)
    if spatial_dims == 3 and array.ndim >= 3:
        return np.moveaxis(array, 0, 2)  # pages become the third axis
    return np.asarray(array)


def _tiff_pages(path: Path) -> Array:
    with Image.open(path) as file:
        pages = [np.asarray(page) for page in ImageSequence.Iterator(file)]
    return pages[0] if len(pages) == 1 else np.stack(pages)
