"""Listing folders: any name, links that lead nowhere or in circles, and ten thousand files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medexp.data.images import read_image
from medexp.data.sources import image_folder
from medexp.errors import UserError


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5), 7, np.uint8)).save(path)
    return path


def test_names_may_hold_any_letters_and_spaces(tmp_path: Path) -> None:
    names = ["gut artig/Bild 1 (Kopie).png", "gut artig/ä.b.c.png", "恶性/图 像.png", "恶性/x'\"$;.png"]
    for name in names:
        picture(tmp_path / "data sét" / name)
    found = image_folder.records(tmp_path / "data sét")
    assert [(record.case_id, record.target) for record in found] == [
        *[("gut artig_Bild 1 (Kopie)", "gut artig"), ("gut artig_ä.b.c", "gut artig")],
        *[("恶性_x'\"$;", "恶性"), ("恶性_图 像", "恶性")],
    ]
    for record in found:
        assert read_image(record, spatial_dims=2, channels=1).array.shape == (1, 4, 5)


def test_folders_that_link_in_a_circle_do_not_hold_it_up(tmp_path: Path) -> None:
    picture(tmp_path / "ill/a.png")
    picture(tmp_path / "well/b.png")
    (tmp_path / "ill/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "well/loop").symlink_to(tmp_path / "well/loop")
    assert [record.case_id for record in image_folder.records(tmp_path)] == ["ill_a", "well_b"]


def test_linked_images_and_linked_classes_are_read(tmp_path: Path) -> None:
    kept = picture(tmp_path / "store/x.png")
    (tmp_path / "set/ill").mkdir(parents=True)
    (tmp_path / "set/ill/a.png").symlink_to(kept)
    (tmp_path / "set/well").symlink_to(tmp_path / "store", target_is_directory=True)
    found = image_folder.records(tmp_path / "set")
    assert [record.case_id for record in found] == ["ill_a", "well_x"]
    assert read_image(found[0], spatial_dims=2, channels=1).array.max() == 7


@pytest.mark.parametrize("target", ["gone.png", "a.png"], ids=["nowhere", "itself"])
def test_image_that_links_to_nothing_is_named_when_it_is_read(tmp_path: Path, target: str) -> None:
    picture(tmp_path / "ill/b.png")
    (tmp_path / "ill/a.png").symlink_to(tmp_path / "ill" / target)
    found = image_folder.records(tmp_path)
    assert [record.case_id for record in found] == ["ill_a", "ill_b"]
    with pytest.raises(UserError, match=r"case ill_a: .*a\.png: no such file"):
        read_image(found[0], spatial_dims=2, channels=1)


def test_ten_thousand_files_are_listed_with_one_look_at_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ill", "well"):
        (tmp_path / name).mkdir()
        for number in range(5000):
            (tmp_path / name / f"image {number:05d}.png").touch()
    looks = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda *a, **k: looks.append(a) or stat(*a, **k))  # what pathlib asks, too
    begun = time.perf_counter()
    found = image_folder.records(tmp_path)
    seconds = time.perf_counter() - begun
    assert [found[0].case_id, found[-1].case_id] == ["ill_image 00000", "well_image 04999"]
    assert len(found) == 10000
    assert len(looks) < 100
    assert seconds < 2  # 0.1 s on one core of 2024; a stat a file over a network takes minutes
