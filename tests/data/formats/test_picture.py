"""TIFF frames and stacks, and GIF label maps."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from medexp.data.formats.picture import read_picture, read_tiff, tiff_pages
from medexp.data.formats.scan import Unreadable, Wanted

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 255, (20, 30, 3), dtype=np.uint8)


@pytest.mark.real_data
def test_frames_of_a_real_sequence_are_colour_or_grey(real_data: Callable[[str], Path]) -> None:
    frames = sorted((real_data("timelapse_drosophila") / "Sequence1").glob("*.tif"))
    assert len(frames) == 10
    for path in frames:
        plain = np.asarray(Image.open(path))
        scan = read_tiff(path, Wanted(2, 3))
        assert (scan.array.shape, scan.array.dtype) == ((3, *plain.shape[:2]), np.float32)
        np.testing.assert_array_equal(scan.array, plain.transpose(2, 0, 1))
        grey = read_tiff(path, Wanted(2, 1)).array
        assert grey.shape == (1, *plain.shape[:2])
        np.testing.assert_allclose(grey[0], plain @ [0.299, 0.587, 0.114], atol=1e-4)
        assert scan.array[1].max() > 2 * max(scan.array[0].max(), 1)  # the signal is green


def write_colour(path: Path, kind: str) -> None:
    if kind == "planar":
        tifffile.imwrite(path, COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    elif kind == "alpha":
        alpha = np.full((20, 30, 1), 9, np.uint8)
        tifffile.imwrite(path, np.concatenate([COLOUR, alpha], 2), photometric="rgb", extrasamples=["unassalpha"])
    elif kind == "imagej":
        tifffile.imwrite(path, COLOUR, imagej=True)
    else:
        Image.fromarray(COLOUR).save(path, compression=kind)


@pytest.mark.parametrize("kind", ["planar", "alpha", "imagej", "raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_colour_tiff_is_read_whatever_its_layout(tmp_path: Path, kind: str) -> None:
    write_colour(tmp_path / "a.tif", kind)
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tif", Wanted(2, 3)).array, COLOUR.transpose(2, 0, 1))
    np.testing.assert_allclose(
        read_tiff(tmp_path / "a.tif", Wanted(2, 1)).array[0], COLOUR @ [0.299, 0.587, 0.114], atol=1e-4
    )


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"compression": "zlib"}, {"metadata": None}])
def test_pages_are_the_third_axis_and_are_counted_without_reading_them(tmp_path: Path, options: dict) -> None:
    stack = RNG.integers(0, 60000, (7, 20, 30)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", **options)
    assert tiff_pages(tmp_path / "a.tif") == 7
    scan = read_tiff(tmp_path / "a.tif", Wanted(3, 1))
    np.testing.assert_array_equal(scan.array[0], np.moveaxis(stack, 0, 2))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_stack_written_by_pil_is_read_alike(tmp_path: Path, compression: str) -> None:
    stack = RNG.integers(0, 255, (4, 20, 30), dtype=np.uint8)
    first, *rest = [Image.fromarray(page) for page in stack]
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest, compression=compression)
    assert tiff_pages(tmp_path / "a.tif") == 4
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tif", Wanted(3, 1)).array[0], np.moveaxis(stack, 0, 2))


def test_colour_picture_is_no_stack(tmp_path: Path) -> None:
    write_colour(tmp_path / "a.tif", "raw")
    with pytest.raises(Unreadable, match="is one colour picture where a stack of pages is expected"):
        read_tiff(tmp_path / "a.tif", Wanted(3, 1))


def test_stack_is_no_picture(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((7, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(Unreadable, match=r"is 3D \(7, 20, 30\) where 2D is expected"):
        read_tiff(tmp_path / "a.tif", Wanted(2, 1))


@pytest.mark.parametrize("read", [lambda path: read_tiff(path, Wanted(2, 1)), tiff_pages])
def test_broken_tiff_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    for content in (b"II*\0\0\0\0\0 and nothing else", b"II", b"nothing", b"II+\0\x08\0\0\0"):
        (tmp_path / "a.tif").write_bytes(content)
        with pytest.raises(Unreadable, match=r"cannot be read as TIFF \(.*\); copy it again"):
            read(tmp_path / "a.tif")


STACK = RNG.integers(0, 255, (4, 16, 16), dtype=np.uint8)
KINDS = [
    *({"byteorder": order, "bigtiff": big} for order in "<>" for big in (False, True)),
    *({"imagej": True}, {"compression": "zlib"}, {"metadata": None, "contiguous": False}),
]


def links(path: Path) -> list[int]:
    """Bytes of a TIFF at which it says where the next page begins."""
    with tifffile.TiffFile(path) as file:
        form = file.tiff
        pages = [page.offset for page in file.pages]
        content = path.read_bytes()
        sizes = [struct.unpack_from(form.tagnoformat, content, at)[0] * form.tagsize for at in pages]
    return [at + form.tagnosize + size for at, size in zip(pages, sizes, strict=True)]


def relinked(path: Path, link: int, to: int) -> None:
    with tifffile.TiffFile(path) as file:
        packed = struct.pack(file.tiff.offsetformat, to)
    content = path.read_bytes()
    path.write_bytes(content[:link] + packed + content[link + len(packed) :])


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("read", [lambda path: read_tiff(path, Wanted(3, 1)), tiff_pages])
def test_pages_in_a_circle_are_named(tmp_path: Path, options: dict, read: Callable[[Path], object]) -> None:
    for page in range(4):
        tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", **options)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            first = file.pages[0].offset
        relinked(tmp_path / "a.tif", links(tmp_path / "a.tif")[page], first)
        with pytest.raises(Unreadable, match=r"is damaged \(its pages form a circle\); copy it again"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("options", KINDS)
def test_a_link_that_leads_beyond_the_file_or_to_no_page_is_named(tmp_path: Path, options: dict) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", **options)
    size, link = (tmp_path / "a.tif").stat().st_size, links(tmp_path / "a.tif")[2]
    for to, message in (
        (size - 1, "is truncated: a page begins at byte"),
        (size + 9, "is truncated: a page begins at byte"),
        (links(tmp_path / "a.tif")[0], "is damaged|is truncated"),
        (link - 12, "is damaged|is truncated"),
    ):
        relinked(tmp_path / "a.tif", link, to)
        with pytest.raises(Unreadable, match=message):
            tiff_pages(tmp_path / "a.tif")


def test_a_page_that_leads_into_the_header_does_not_hang(tmp_path: Path) -> None:
    Image.fromarray(STACK[0]).save(tmp_path / "a.tif")
    relinked(tmp_path / "a.tif", links(tmp_path / "a.tif")[0], 16)
    with pytest.raises(Unreadable, match=r"is damaged|is truncated"):
        read_tiff(tmp_path / "a.tif", Wanted(2, 1))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [(2**24, r"it is truncated: its tags announce \d+ bytes"), (0, "is damaged|cannot be read as TIFF")],
)
def test_a_picture_that_claims_more_than_its_file_holds_is_named(
    tmp_path: Path, compression: str | None, rows: int, message: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags["ImageLength"].overwrite(rows, dtype="I")
    with pytest.raises(Unreadable, match=message):
        read_tiff(tmp_path / "a.tif", Wanted(2, 1))


@pytest.mark.parametrize("options", [*KINDS, "raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_a_stack_cut_off_anywhere_loses_no_page_in_silence(tmp_path: Path, options: dict | str) -> None:
    if isinstance(options, str):
        first, *rest = [Image.fromarray(page) for page in STACK]
        first.save(tmp_path / "a.tif", save_all=True, append_images=rest, compression=options)
    else:
        tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", **options)
    content = (tmp_path / "a.tif").read_bytes()
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tif", Wanted(3, 1)).array[0], np.moveaxis(STACK, 0, 2))
    for length in range(1, len(content), 13):
        (tmp_path / "a.tif").write_bytes(content[:length])
        try:
            array = read_tiff(tmp_path / "a.tif", Wanted(3, 1)).array
        except Unreadable:
            continue
        np.testing.assert_array_equal(array[0], np.moveaxis(STACK, 0, 2))  # it was padding that was lost


def test_label_of_a_grey_gif_has_its_grey_values_whatever_the_order_of_its_palette(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 5:12] = 255
    Image.fromarray(mask).save(tmp_path / "a.gif")  # the writer keeps the two greys that are used, as entries 0 and 1
    with Image.open(tmp_path / "a.gif") as picture:
        assert (picture.mode, np.asarray(picture).max()) == ("P", 1)
    palette = bytes(value for grey in range(256) for value in (grey, grey, grey))
    Image.fromarray(mask).save(tmp_path / "b.gif", optimize=False, palette=palette)
    for name in ("a.gif", "b.gif"):
        scan = read_picture(tmp_path / name, Wanted(2, label=True))
        np.testing.assert_array_equal(scan.array[0], mask)


@pytest.mark.parametrize("end", ["png", "gif"])
def test_label_of_a_coloured_palette_has_its_entries(tmp_path: Path, end: str) -> None:
    classes = RNG.integers(0, 3, (20, 30)).astype(np.uint8)
    picture = Image.fromarray(classes)
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / f"a.{end}", optimize=False)
    scan = read_picture(tmp_path / f"a.{end}", Wanted(2, label=True))
    np.testing.assert_array_equal(scan.array[0], classes)


def test_gif_of_several_frames_is_named(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((20, 30), value, np.uint8)) for value in (0, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(Unreadable, match="holds 3 frames where one is expected"):
        read_picture(tmp_path / "a.gif", Wanted(2, 1))


@pytest.mark.real_data
def test_vessels_of_one_bit_are_zero_and_one(real_data: Callable[[str], Path]) -> None:
    scan = read_picture(real_data("chase_db1") / "Image_01L_1stHO.png", Wanted(2, label=True))
    assert (scan.array.shape, scan.array.dtype) == ((1, 960, 999), np.uint8)
    assert np.unique(scan.array).tolist() == [0, 1]
