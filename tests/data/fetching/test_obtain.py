"""A data set is at its root whole or not at all, and what is there is never written over."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from layouts import web as layout

from medexp.data.fetching import download, unpack
from medexp.data.fetching.about import About, read_about
from medexp.data.fetching.obtain import obtain, work_folder
from medexp.data.fetching.web import Unreachable
from medexp.errors import UserError


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "BACK_OFF", (0.0, 0.0))


@pytest.fixture
def site() -> Iterator[layout.Site]:
    with layout.serve() as running:
        yield running


def _tar(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return held.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


TASK = {"Task09_Spleen/imagesTr/a.nii": b"image", "Task09_Spleen/dataset.json": b"{}", "._Task09_Spleen": b"mac"}
AT_ROOT = {"imagesTr/a.nii": b"image", "dataset.json": b"{}"}


def _about(*files: dict[str, Any]) -> About:
    terms = {"licence": "CC0", "cite": "Somebody 2020", "page": "https://example.org/set"}
    return read_about({**terms, "files": list(files)}, "about")


def _md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _task(site: layout.Site, **moods: Any) -> About:
    content = _tar(TASK)
    return _about({"url": site.put("Task09_Spleen.tar", content, **moods), "md5": _md5(content), "unpack": "tar"})


def _obtain(about: About, root: Path, keep: bool = False) -> list[str]:
    said: list[str] = []
    obtain(about, root, keep, said.append)
    return said


@pytest.mark.parametrize("name", ["Task09_Spleen", "task09_spleen", "msd_spleen"])
def test_an_archive_with_a_top_folder_ends_up_at_the_root(site: layout.Site, tmp_path: Path, name: str) -> None:
    said = _obtain(_task(site), tmp_path / "data" / name)
    assert _tree(tmp_path / "data") == {f"{name}/{path}": content for path, content in AT_ROOT.items()}
    assert said[1:] == [
        "Task09_Spleen.tar: 10.2 kB, its md5 is right",
        "unpacking Task09_Spleen.tar",
        "Task09_Spleen.tar: 2 files, 7 bytes; left out, of macOS: 1",
    ]


@pytest.mark.parametrize("there", [False, True])
def test_an_empty_root_is_filled(site: layout.Site, tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "disk").mkdir()
        (tmp_path / "set").symlink_to(tmp_path / "disk")
    _obtain(_task(site), tmp_path / "set")
    assert _tree(tmp_path / "set") == AT_ROOT
    assert (tmp_path / "set").is_symlink() is there


def test_a_root_with_content_is_left_as_it_is(site: layout.Site, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/mine").write_text("mine")
    (said,) = _obtain(_task(site), tmp_path / "set")
    assert "holds data already, which is left as it is" in said
    assert _tree(tmp_path) == {"set/mine": b"mine"}
    assert site.requests == []


def test_a_file_in_place_of_the_root_is_named(site: layout.Site, tmp_path: Path) -> None:
    (tmp_path / "set").write_text("mine")
    with pytest.raises(UserError, match=r"dataset.root: .*/set is a file; the data set is a folder"):
        _obtain(_task(site), tmp_path / "set")
    about = _about({"url": site.put("a.zip", _zip({"a": b"1"})), "unpack": "zip", "to": "images"})
    (tmp_path / "root").mkdir()
    (tmp_path / "root/images").write_text("mine")
    with pytest.raises(UserError, match=r"root/images: is a file where a.zip has a folder"):
        _obtain(about, tmp_path / "root")


def test_a_root_may_be_a_file(site: layout.Site, tmp_path: Path) -> None:
    about = _about({"url": site.put("a.npz", b"arrays"), "md5": _md5(b"arrays")})
    _obtain(about, tmp_path / "medmnist/a.npz")
    assert _tree(tmp_path) == {"medmnist/a.npz": b"arrays"}
    assert _obtain(about, tmp_path / "medmnist/a.npz") == [
        f"{tmp_path}/medmnist/a.npz: is there already, its md5 is right"
    ]
    assert len(site.requests) == 1


def test_a_wrong_file_that_is_there_is_neither_taken_nor_overwritten(site: layout.Site, tmp_path: Path) -> None:
    about = _about({"url": site.put("a.npz", b"arrays"), "md5": _md5(b"arrays")})
    (tmp_path / "a.npz").write_bytes(b"mine")
    with pytest.raises(UserError, match=f"a.npz: is there already, but has md5 {_md5(b'mine')}, published is"):
        _obtain(about, tmp_path / "a.npz")
    assert _tree(tmp_path) == {"a.npz": b"mine"}


def _mnist(site: layout.Site) -> About:
    parts = (
        {"url": site.put(f"{name}.gz", gzip.compress(name.encode())), "unpack": "gz"} for name in ("images", "labels")
    )
    return _about(*parts, {"url": site.put("README.txt", b"read me"), "md5": _md5(b"read me"), "to": "doc/"})


def test_several_files_are_placed_at_once(site: layout.Site, tmp_path: Path) -> None:
    said = _obtain(_mnist(site), tmp_path / "mnist")
    assert _tree(tmp_path) == {"mnist/images": b"images", "mnist/labels": b"labels", "mnist/doc/README.txt": b"read me"}
    assert "images.gz: 26 bytes, not verified: no checksum is published" in said


def test_of_several_files_those_that_are_missing_are_added(site: layout.Site, tmp_path: Path) -> None:
    about = _mnist(site)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/labels").write_bytes(b"mine")
    _obtain(about, tmp_path / "mnist")
    assert _tree(tmp_path) == {"mnist/images": b"images", "mnist/labels": b"mine", "mnist/doc/README.txt": b"read me"}


def test_one_file_that_cannot_be_had_leaves_the_root_as_it_was(site: layout.Site, tmp_path: Path) -> None:
    about = _mnist(site)
    readme = site.pages.pop("/README.txt")
    work = work_folder(tmp_path / "mnist")
    with pytest.raises(Unreachable) as fault:
        _obtain(about, tmp_path / "mnist")
    assert not (tmp_path / "mnist").exists()
    by_hand = f"or get README.txt by hand (https://example.org/set), save it as {work}/README.txt, and run the same"
    assert by_hand in str(fault.value)
    assert {path.name for path in work.iterdir()} == {"images.gz", "labels.gz"}
    site.requests.clear()
    site.pages["/README.txt"] = readme
    assert "taken as it is: no checksum is published" in _obtain(about, tmp_path / "mnist")[0]
    assert [path for path, _ in site.requests] == ["/README.txt"]
    assert not work.exists()


def test_a_file_that_was_got_by_hand_is_taken_where_its_checksum_is_right(site: layout.Site, tmp_path: Path) -> None:
    about, work = _task(site), work_folder(tmp_path / "set")
    work.mkdir()
    (work / "Task09_Spleen.tar").write_bytes(b"half")
    with pytest.raises(UserError, match=r"Task09_Spleen.tar: has md5 .*, published is .*; remove it"):
        _obtain(about, tmp_path / "set")
    (work / "Task09_Spleen.tar").write_bytes(_tar(TASK))
    assert "is there already, its md5 is right" in _obtain(about, tmp_path / "set")[0]
    assert _tree(tmp_path / "set") == AT_ROOT
    assert site.requests == []


def test_two_archives_share_a_root(site: layout.Site, tmp_path: Path) -> None:
    training = site.put("training.zip", _zip({"training/images/1.tif": b"1"}))
    test = site.put("test.zip", _zip({"test/images/2.tif": b"2"}))
    _obtain(_about({"url": training, "unpack": "zip"}, {"url": test, "unpack": "zip"}), tmp_path / "DRIVE")
    assert set(_tree(tmp_path)) == {"DRIVE/training/images/1.tif", "DRIVE/test/images/2.tif"}


def test_two_archives_of_one_name_have_folders_of_their_own(site: layout.Site, tmp_path: Path) -> None:
    entries = [
        {"url": site.put(f"{part}/images.zip", _zip({"images/1.tif": part.encode()})), "unpack": "zip", "to": part}
        for part in ("train", "test")
    ]
    _obtain(_about(*entries), tmp_path / "set")
    assert _tree(tmp_path / "set") == {"train/1.tif": b"train", "test/1.tif": b"test"}


def test_archives_that_hold_the_same_file_are_refused(site: layout.Site, tmp_path: Path) -> None:
    entries = [{"url": site.put(name, _zip({"x/1.tif": b"1"})), "unpack": "zip"} for name in ("a.zip", "b.zip")]
    with pytest.raises(UserError, match=r"1.tif: is there already, and was not overwritten"):
        _obtain(_about(*entries), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_an_archive_that_cannot_be_unpacked_leaves_the_root_as_it_was(site: layout.Site, tmp_path: Path) -> None:
    about = _about({"url": site.put("a.tar", _tar({"a": b"1", "../evil": b"2"})), "unpack": "tar"})
    with pytest.raises(UserError, match=r"entry '../evil' leaves the folder"):
        _obtain(about, tmp_path / "set")
    assert set(_tree(tmp_path)) == {"set.download/a.tar"}


WEB_PAGE = b"<!DOCTYPE html><html>Sign in</html>"


@pytest.mark.parametrize(
    ("kind", "whole"), [("zip", _zip(AT_ROOT)), ("tar", _tar(AT_ROOT)), ("gz", gzip.compress(b"image", mtime=0))]
)
@pytest.mark.parametrize("wrong", [WEB_PAGE, None])
def test_what_is_no_archive_and_has_no_checksum_is_removed_and_downloaded_anew(
    site: layout.Site, tmp_path: Path, kind: str, whole: bytes, wrong: bytes | None
) -> None:
    broken = whole[: min(len(whole) // 2, 1100)] if wrong is None else wrong
    entry = {"url": site.put(f"a.{kind}", broken), "unpack": kind, **({"to": "a.nii"} if kind == "gz" else {})}
    with pytest.raises(UserError, match=r"is (a web page|no).*; its checksum is not published, so it was removed: the"):
        _obtain(_about(entry), tmp_path / "set")
    assert _tree(tmp_path) == {}
    site.put(f"a.{kind}", whole)
    _obtain(_about(entry), tmp_path / "set")
    assert _tree(tmp_path / "set") == ({"a.nii": b"image"} if kind == "gz" else AT_ROOT)


def test_a_damaged_archive_of_a_right_checksum_stays(site: layout.Site, tmp_path: Path) -> None:
    about = _about({"url": site.put("a.zip", WEB_PAGE), "md5": _md5(WEB_PAGE), "unpack": "zip"})
    with pytest.raises(UserError, match=r"is a web page, not a zip file; nothing was unpacked$"):
        _obtain(about, tmp_path / "set")
    assert set(_tree(tmp_path)) == {"set.download/a.zip"}


@pytest.mark.parametrize("keep", [False, True])
def test_archives_are_kept_where_asked(site: layout.Site, tmp_path: Path, keep: bool) -> None:
    said = _obtain(_task(site), tmp_path / "set", keep)
    kept = tmp_path / "set.download/Task09_Spleen.tar"
    assert kept.exists() is keep
    assert (f"kept: {kept}" in said) is keep
    assert kept.parent.exists() is keep


def test_an_interrupted_unpacking_goes_on_without_downloading_again(
    site: layout.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    about = _task(site)
    with monkeypatch.context() as patch:
        patch.setattr(unpack, "_copy", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _obtain(about, tmp_path / "set")
    assert set(_tree(tmp_path)) == {"set.download/Task09_Spleen.tar"}
    _obtain(about, tmp_path / "set")
    assert _tree(tmp_path) == {f"set/{path}": content for path, content in AT_ROOT.items()}
    assert len(site.requests) == 1


def test_what_a_killed_process_had_unpacked_is_not_taken(site: layout.Site, tmp_path: Path) -> None:
    left = work_folder(tmp_path / "set") / ".staged/root"
    left.mkdir(parents=True)
    (left / "half.nii").write_text("half")
    _obtain(_task(site), tmp_path / "set")
    assert _tree(tmp_path) == {f"set/{path}": content for path, content in AT_ROOT.items()}


def test_a_data_set_is_fetched_by_one_process_at_a_time(site: layout.Site, tmp_path: Path) -> None:
    with (
        download.lock(work_folder(tmp_path / "set")),
        pytest.raises(UserError, match="another process is fetching this"),
    ):
        _obtain(_task(site), tmp_path / "set")
    assert site.requests == []


def test_a_place_that_cannot_be_written_is_named(site: layout.Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write \(Not a directory\); mend that, or give --root"):
        _obtain(_task(site), tmp_path / "file/set")
