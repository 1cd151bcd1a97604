"""PNG, JPEG, BMP and GIF through PIL; TIFF through tifffile, which needs no ITK."""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from PIL import Image, ImageSequence, UnidentifiedImageError

from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted, first_line, without_place

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
TIFF = (".tif", ".tiff")
MOST_PAGES = 2**20  # of a TIFF; a stack of microscopy has thousands
LARGEST = 64 * 2**30  # bytes of one picture or stack
TIGHTEST = {1: 1, 5: 4096, 8: 1032, 32773: 128, 32946: 1032}  # raw, LZW, deflate, PackBits: how much tighter at most
MOST_TAGS = 4096  # of a page; tifffile takes no more


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
    _check_chain(path)
    try:
        with tifffile.TiffFile(path) as file:
            pages = len(file.pages)
    except Exception as error:  # tifffile raises many kinds for a broken file
        raise Unreadable(f"cannot be read as TIFF ({first_line(error)}); copy it again") from None
    if not pages:
        raise Unreadable("cannot be read as TIFF (it has no page); copy it again")
    return pages


def _check_chain(path: Path) -> None:
    """Follows the directories of a TIFF (TIFF 6.0, section 2; BigTIFF has longer counts and offsets), one a page, each
    of which says where the next one begins, to the last, which says 0.

    tifffile walks a chain without an end until memory is out, and leaves out in silence what lies beyond a broken link.
    What does not begin as a TIFF is left to it. Raises Unreadable.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(16)
        form = _form(head)
        if form is None:
            return
        starts: list[int] = []
        ends: list[int] = []
        at = form.first(head)
        while at:
            end, following = form.directory(file, at, size)
            index = bisect_left(starts, at)
            if index < len(starts) and starts[index] == at:
                raise Unreadable("is damaged (its pages form a circle); copy it again")
            if (index and ends[index - 1] > at) or (index < len(starts) and starts[index] < end):
                raise Unreadable("is damaged (the tags of its pages overlap); copy it again")
            if len(starts) == MOST_PAGES:
                raise Unreadable(f"cannot be read as TIFF (it has more than {MOST_PAGES} pages); split it")
            starts.insert(index, at)
            ends.insert(index, end)
            at = following


@dataclass(frozen=True)
class _Form:
    """How a TIFF writes the number of tags of a page and where the next page is; bytes of a tag."""

    number: struct.Struct
    link: struct.Struct
    tag: int

    def first(self, head: bytes) -> int:
        """Byte at which the first directory begins."""
        return int(self.link.unpack_from(head, self.link.size)[0])  # the magic before it is as long

    def directory(self, file: BinaryIO, at: int, size: int) -> tuple[int, int]:
        """Where the directory at a byte ends, and where the next one begins. size: of the file. Raises Unreadable."""
        if at + self.number.size > size:
            raise Unreadable(f"is truncated: a page begins at byte {at} of {size}; copy it again")
        file.seek(at)
        tags = self.number.unpack(file.read(self.number.size))[0]
        if not 0 < tags <= MOST_TAGS:
            raise Unreadable(f"is damaged (a page of {tags} tags at byte {at}); copy it again")
        end = at + self.number.size + tags * self.tag + self.link.size
        if end > size:
            raise Unreadable(f"is truncated: the tags of a page end at byte {end} of {size}; copy it again")
        file.seek(end - self.link.size)
        return end, int(self.link.unpack(file.read(self.link.size))[0])


def _form(head: bytes) -> _Form | None:
    """None where it is no TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    kind = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) >= 8 else None
    if kind == 42:
        return _Form(struct.Struct(f"{order}H"), struct.Struct(f"{order}I"), 12)
    if kind == 43 and len(head) == 16:
        return _Form(struct.Struct(f"{order}Q"), struct.Struct(f"{order}Q"), 20)
    return None


def _tiff(path: Path, spatial_dims: int) -> Array:
    """(rows, columns[, C]), or (rows, columns, pages[, C]) of a stack."""
    _check_chain(path)
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series
            if len(series) > 1:
                raise Unreadable(f"holds {len(series)} images of different kinds; save each as a file of its own")
            _check_size(series[0], path.stat().st_size)
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


def _check_size(series: tifffile.TiffPageSeries, size: int) -> None:
    """tifffile fills what a file does not hold with zeros, however much its tags announce. Raises Unreadable.

    size: bytes of the file.
    """
    bits, whole = series.keyframe.bitspersample, 8 * series.dtype.itemsize
    needed = math.prod(map(int, series.shape)) * (bits if 0 < bits <= whole else whole) // 8
    if min(series.shape) < 1:
        raise Unreadable(f"is damaged: its tags claim the shape {series.shape}; copy it again")
    if needed > LARGEST:
        raise Unreadable(f"its tags announce {needed / 2**30:.0f} GiB; it is no picture")
    if needed > size * TIGHTEST.get(int(series.keyframe.compression), 2**16):
        raise Unreadable(f"cannot be read as TIFF (it is truncated: its tags announce {needed} bytes); copy it again")


def _tiff_pages(path: Path) -> Array:
    with Image.open(path) as file:
        pages = [np.asarray(page) for page in ImageSequence.Iterator(file)]
    return pages[0] if len(pages) == 1 else np.stack(pages)
