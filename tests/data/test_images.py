"""Reading image files: values, axes and places as stored; every fault names the case and the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from layouts.one_case import AFFINE, VOLUME, image, label, nifti, refused
from PIL import Image

from medexp.data.images import read_image, read_label, stem, suffix
from medexp.data.records import Record
from medexp.errors import UserError

RGB = np.random.default_rng(0).integers(0, 255, (10, 12, 3), dtype=np.uint8)
GREY = RGB[..., 0]
PAGE = b"\n<!DOCTYPE html><html><body>Sign in" + b" " * 600


def test_a_file_a_channel_is_stacked(tmp_path: Path) -> None:
    paths = [nifti(tmp_path / f"{i}.nii.gz", VOLUME + i) for i in range(3)]
    np.testing.assert_array_equal(image(*paths, channels=3).array, np.stack([VOLUME, VOLUME + 1, VOLUME + 2]))


def test_channels_of_another_shape_or_place_are_named(tmp_path: Path) -> None:
    first = nifti(tmp_path / "0.nii.gz", VOLUME)
    small = nifti(tmp_path / "small.nii.gz", VOLUME[1:])
    moved = nifti(tmp_path / "moved.nii.gz", VOLUME, AFFINE + np.eye(4, k=3))
    with pytest.raises(UserError, match=r"small\.nii\.gz: has shape \(4, 6, 7\), its first channel \(5, 6, 7\)"):
        image(first, small, channels=2)
    with pytest.raises(UserError, match=r"moved\.nii\.gz: lies elsewhere in space than the first channel"):
        image(first, moved, channels=2)
    with pytest.raises(UserError, match=r"has 2 channels, dataset\.in_channels is 4"):
        image(first, first, channels=4)


def test_voxels_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    broken = VOLUME.copy()
    broken[0, 0, :2], broken[1, 1, 1] = np.nan, np.inf
    refused(nifti(tmp_path / "a.nii.gz", broken), "3 of 210 voxels are NaN or infinite")
    tifffile.imwrite(tmp_path / "a.tif", broken[0])
    refused(tmp_path / "a.tif", "2 of 42 voxels are NaN", dims=2)


def test_a_missing_file_and_an_unknown_kind_are_named(tmp_path: Path) -> None:
    refused(tmp_path / "gone.nii.gz", "no such file")
    (tmp_path / "a.xyz").write_bytes(b"DICM")
    refused(tmp_path / "a.xyz", r"cannot read this kind of file; known: \.nii \.nii\.gz \.png")


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif"])
def test_a_grey_picture_has_one_channel_of_rows_and_columns(tmp_path: Path, name: str) -> None:
    Image.fromarray(GREY).save(tmp_path / name)
    scan = image(tmp_path / name, dims=2)
    np.testing.assert_array_equal(scan.array, GREY[None].astype(np.float32))
    np.testing.assert_array_equal(scan.affine, np.eye(4))
    assert scan.spacing == (1.0, 1.0)


def test_colours_become_three_channels_or_the_grey_of_the_same_weights_as_in_pil(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    np.testing.assert_array_equal(image(tmp_path / "a.png", dims=2, channels=3).array, np.moveaxis(RGB, -1, 0))
    grey = np.asarray(Image.fromarray(RGB).convert("L"))
    np.testing.assert_allclose(image(tmp_path / "a.png", dims=2, channels=1).array[0], grey, atol=0.51)
    refused(tmp_path / "a.png", "is 3D .* where 2D is expected|has 3 channels", dims=2, channels=2)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([RGB, np.zeros_like(GREY)])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(image(tmp_path / "a.png", dims=2, channels=3).array, np.moveaxis(RGB, -1, 0))


def test_one_bit_and_sixteen_bit_pictures_keep_their_values(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(image(tmp_path / "bit.png", dims=2).array[0], GREY > 100)
    deep = GREY.astype(np.uint16) * 200
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(image(tmp_path / "deep.png", dims=2).array[0], deep)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_truncated_picture_is_named(tmp_path: Path, name: str) -> None:
    Image.fromarray(RGB).resize((200, 200)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    refused(tmp_path / name, "cannot be read as", dims=2, channels=3)


def test_a_picture_that_is_none_and_one_of_several_frames_are_named(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(PAGE)
    refused(tmp_path / "page.png", "cannot be read as an image", dims=2)
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    refused(tmp_path / "film.gif", "holds 2 frames where one is expected", dims=2)


def test_too_large_a_picture_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    refused(tmp_path / "a.png", "is too large a picture", dims=2, channels=3)


def test_the_pages_of_a_tiff_are_the_third_axis_of_a_volume(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME)
    np.testing.assert_array_equal(image(tmp_path / "a.tif").array[0], np.moveaxis(VOLUME, 0, 2))
    refused(tmp_path / "a.tif", r"is 3D \(5, 6, 7\) where 2D is expected", dims=2)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", None])
def test_a_tiff_is_read_whatever_its_compression(tmp_path: Path, compression: str | None) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(image(tmp_path / "a.tif", dims=2, channels=3).array, np.moveaxis(RGB, -1, 0))


def test_a_tiff_may_store_its_colours_plane_by_plane(tmp_path: Path) -> None:
    planes = np.moveaxis(RGB, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(image(tmp_path / "a.tif", dims=2, channels=3).array, planes)


def test_a_tiff_of_images_of_several_sizes_is_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY)
        file.write(GREY[:4, :4])
    refused(tmp_path / "a.tif", "holds 2 images of different kinds", dims=2)


def test_a_row_of_an_array_file_is_found_by_split_and_row(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", train_images=RGB[None], test_images=np.stack([GREY, GREY + 1]))
    record = Record("case7", (tmp_path / "a.npz",), split="test", member=1)
    np.testing.assert_array_equal(read_image(record, spatial_dims=2, channels=1).array[0], GREY + 1)
    colour = Record("case7", (tmp_path / "a.npz",), split="train", member=0)
    assert read_image(colour, spatial_dims=2, channels=3).array.shape == (3, 10, 12)
    with pytest.raises(UserError, match="row 2 of test_images cannot be read"):
        read_image(Record("case7", (tmp_path / "a.npz",), split="test", member=2), spatial_dims=2)


def test_a_truncated_array_file_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", test_images=GREY[None])
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    with pytest.raises(UserError, match=r"case case7: .*a\.npz: test_images cannot be read"):
        read_image(Record("case7", (tmp_path / "a.npz",), split="test", member=0), spatial_dims=2)


def test_labels_between_whole_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"case case7: .*label values are not whole numbers \(e.g. 0\.5\)"):
        label(nifti(tmp_path / "a.nii.gz", np.full((2, 2, 2), 0.5, np.float32)))


def test_the_entries_of_a_palette_are_the_classes_of_a_label_map(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8))
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(label(tmp_path / "a.png", dims=2).array, [[0, 1], [2, 1]])


def test_a_grey_label_map_stored_in_colour_is_read_and_a_coloured_one_refused(tmp_path: Path) -> None:
    Image.fromarray(np.repeat(np.array([[[0]], [[2]]], dtype=np.uint8), 3, axis=2)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(label(tmp_path / "grey.png", dims=2).array, [[0], [2]])
    Image.fromarray(RGB).save(tmp_path / "colour.png")
    with pytest.raises(UserError, match=r"colour\.png: is a colour picture, not a label map"):
        label(tmp_path / "colour.png", dims=2)


def test_a_case_without_label_map_is_named() -> None:
    with pytest.raises(UserError, match="case case7: has no label map"):
        read_label(Record("case7", ()), spatial_dims=3)


def test_suffix_and_stem_know_double_suffixes_and_capitals() -> None:
    assert [suffix(Path(name)) for name in ("a.nii.gz", "a.b.PNG", "a.gz", "a")] == [".nii.gz", ".png", "", ""]
    assert [stem(Path(name)) for name in ("x/a.nii.gz", "a.b.PNG", "a")] == ["a", "a.b", "a"]
