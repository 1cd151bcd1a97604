"""Hashes follow the content, not the name or the time; a file is read once."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from medexp.data.records import Record, Slice, Window
from medexp.data.store import content
from medexp.data.store.content import Contents, digest_of
from medexp.errors import UserError


def test_texts_are_told_apart_from_each_other() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("ab", "c") == digest_of("ab", b"c")


def test_equal_content_has_one_hash_whatever_its_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"scan")
    (tmp_path / "c").write_bytes(b"other")
    contents = Contents(tmp_path / "cache")
    assert contents.digest(tmp_path / "a") == contents.digest(tmp_path / "b") != contents.digest(tmp_path / "c")


def test_a_file_is_read_once_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"scan")
    first = Contents(tmp_path / "cache")
    before = first.digest(path)
    first.save()
    real = content.hashlib.blake2b
    monkeypatch.setattr(content.hashlib, "blake2b", lambda *a, **k: pytest.fail("read again"))
    second = Contents(tmp_path / "cache")
    assert second.digest(path) == before
    monkeypatch.setattr(content.hashlib, "blake2b", real)
    path.write_bytes(b"spam")  # of the same size
    os.utime(path, ns=(0, 0))
    assert second.digest(path) != before


def test_a_folder_is_its_files_and_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "1").write_bytes(b"a")
    (folder / "2").write_bytes(b"b")
    contents = Contents(tmp_path / "cache")
    before = contents.digest(folder)
    (folder / "2").rename(folder / "3")
    assert contents.digest(folder) != before


def test_a_record_is_its_files_and_which_part_of_them(tmp_path: Path) -> None:
    for name in ("image", "label", "region"):
        (tmp_path / name).write_bytes(name.encode())
    contents = Contents(tmp_path / "cache")
    record = Record("a", (tmp_path / "image",), tmp_path / "label")
    others = [
        replace(record, images=(tmp_path / "image", None)),
        replace(record, label=None),
        replace(record, region=tmp_path / "region"),
        replace(record, member=1),
        replace(record, time=1),
        replace(record, slice=Slice("axial", 1)),
        replace(record, slice=Slice("coronal", 1)),
        replace(record, window=Window((0, 0, 0), (1, 1, 1))),
    ]
    hashes = [contents.of(one) for one in (record, *others)]
    assert len(set(hashes)) == len(hashes)
    assert contents.of(replace(record, case_id="b", patient_id="p", target="x")) == hashes[0]
    assert contents.of(record, label=False) == contents.of(replace(record, label=None))


def test_notes_are_remembered(tmp_path: Path) -> None:
    contents = Contents(tmp_path)
    assert contents.note("k") is None
    contents.write_note("k", "text")
    contents.save()
    assert Contents(tmp_path).note("k") == "text"


def test_a_damaged_memory_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "digests.sqlite").write_bytes(b"no database at all" * 200)
    path = tmp_path / "a"
    path.write_bytes(b"scan")
    contents = Contents(tmp_path / "cache")
    digest = contents.digest(path)
    contents.save()
    with sqlite3.connect(tmp_path / "cache" / "digests.sqlite") as database:
        assert database.execute("SELECT digest FROM digests").fetchall() == [(digest,)]
    database.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cache_dir: cannot write to"):
        Contents(tmp_path / "file" / "cache")


def test_the_voxels_beside_a_header_count(tmp_path: Path) -> None:
    head = "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {}.raw\n"
    for name, voxels in (("a", b"01234567"), ("b", b"01234560")):
        (tmp_path / f"{name}.mhd").write_text(head.format("v"))
        (tmp_path / f"{name}").mkdir()
        (tmp_path / name / "scan.mhd").write_text(head.format("v"))
        (tmp_path / name / "v.raw").write_bytes(voxels)
    contents = Contents(tmp_path / "cache")
    assert contents.digest(tmp_path / "a" / "scan.mhd") != contents.digest(tmp_path / "b" / "scan.mhd")
