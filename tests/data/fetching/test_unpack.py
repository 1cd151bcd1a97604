"""Archives: whole or nothing, and never beyond their folder, whatever they hold."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.data.fetching import unpack as module
from medexp.data.fetching.archives import Refused, link_target, safe_parts
from medexp.data.fetching.unpack import gunzip, lift, merge, unpack
from medexp.errors import UserError

FILES = {"set/imagesTr/a.nii": b"image", "set/dataset.json": b"{}"}
Members = list[tuple[str, bytes | dict[str, object]]]


def _tar(path: Path, members: Members, mode: str = "w:gz") -> Path:
    """Members: (name, bytes), or (name, fields of the TarInfo)."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                for key, value in content.items():
                    setattr(info, key, value)
                archive.addfile(info)
    return path


def _zip(path: Path, members: Members) -> Path:
    """Members: (name, bytes), or (name, {"mode": st_mode, "content": bytes})."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name  # as it stands: the constructor would mend it
            info.compress_type = zipfile.ZIP_DEFLATED
            if isinstance(content, dict):
                info.create_system = 3
                info.external_attr = int(str(content["mode"])) << 16
                content = content.get("content", b"")  # type: ignore[assignment]
            archive.writestr(info, content)  # type: ignore[arg-type]
    return path


WRITERS: dict[str, Callable[[Path, Members], Path]] = {"zip": _zip, "tar": _tar}
BOTH = pytest.mark.parametrize("kind", ["zip", "tar"])


def _link(target: str, kind: bytes = tarfile.SYMTYPE) -> dict[str, object]:
    return {"type": kind, "linkname": target}


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _refused(archive: Path, kind: str, text: str) -> None:
    """It is refused in one line, and neither the folder nor anything beside it is there afterwards."""
    home = archive.parent / "home"
    home.mkdir()
    with pytest.raises(UserError, match=text) as fault:
        unpack(archive, home / "into", kind)
    assert "\n" not in str(fault.value)
    assert str(fault.value).endswith("nothing was unpacked")
    assert list(home.iterdir()) == []
    assert {path.name for path in archive.parent.iterdir()} == {archive.name, "home"}


@BOTH
def test_files_and_folders_come_out(tmp_path: Path, kind: str) -> None:
    archive = WRITERS[kind](tmp_path / "a", list(FILES.items()))
    done = unpack(archive, tmp_path / "into", kind)
    assert _tree(tmp_path / "into") == FILES
    assert (done.files, done.bytes, done.left_out) == (2, 7, 0)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_may_be_compressed_in_any_way(tmp_path: Path, mode: str) -> None:
    unpack(_tar(tmp_path / "a", list(FILES.items()), mode), tmp_path / "into", "tar")
    assert _tree(tmp_path / "into") == FILES


def test_empty_folders_and_names_with_a_dot_are_kept(tmp_path: Path) -> None:
    members: Members = [(".", {"type": tarfile.DIRTYPE}), ("./labelsTs", {"type": tarfile.DIRTYPE}), ("./a", b"x")]
    unpack(_tar(tmp_path / "a", members), tmp_path / "into", "tar")
    assert sorted(path.name for path in (tmp_path / "into").iterdir()) == ["a", "labelsTs"]


def test_a_zip_of_a_windows_tool_has_folders(tmp_path: Path) -> None:
    unpack(_zip(tmp_path / "a", [("images\\a.png", b"x")]), tmp_path / "into", "zip")
    assert _tree(tmp_path / "into") == {"images/a.png": b"x"}


def test_permissions_are_the_users_own(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "a", [("d", {"type": tarfile.DIRTYPE, "mode": 0}), ("d/f", {"mode": 0o6000, "size": 0})])
    unpack(archive, tmp_path / "into", "tar")
    (tmp_path / "mine").touch()
    assert (tmp_path / "into/d/f").stat().st_mode == (tmp_path / "mine").stat().st_mode


@BOTH
def test_what_only_macos_knows_is_left_out_and_counted(tmp_path: Path, kind: str) -> None:
    litter: Members = [("set/._a.nii", b"x"), ("__MACOSX/set/._a.nii", b"x"), ("set/.DS_Store", b"x"), ("._set", b"x")]
    done = unpack(WRITERS[kind](tmp_path / "a", [*FILES.items(), *litter]), tmp_path / "into", kind)
    assert _tree(tmp_path / "into") == FILES
    assert done.left_out == 4


@BOTH
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("../evil", r"entry '../evil' leaves the folder by '..'"),
        ("a/../../evil", "leaves the folder"),
        ("/tmp/evil", r"entry '/tmp/evil' is an absolute path"),
        ("C:/evil", "is an absolute path"),
        ("..", "leaves the folder"),
        ("__MACOSX/../../evil", "leaves the folder"),
    ],
)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, kind: str, name: str, text: str) -> None:
    _refused(WRITERS[kind](tmp_path / "a", [*FILES.items(), (name, b"x")]), kind, text)


def test_backslashes_of_a_zip_do_not_leave_the_folder(tmp_path: Path) -> None:
    _refused(_zip(tmp_path / "a", [("..\\..\\evil", b"x")]), "zip", "leaves the folder")


@BOTH
def test_a_nul_in_a_name_is_refused(tmp_path: Path, kind: str) -> None:
    archive = WRITERS[kind](tmp_path / "a", [("good_name", b"x")] if kind == "zip" else [("good\0name", b"x")])
    if kind == "zip":
        archive.write_bytes(archive.read_bytes().replace(b"good_name", b"good\0name"))
    else:
        with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo("x")
            info.pax_headers = {"path": "good\0name"}
            tar.addfile(info)
    _refused(archive, kind, r"entry 'good\\x00name' has a NUL in its name")


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    _refused(_tar(tmp_path / "a", [("../\x1b[31mred\udcff", b"x")]), "tar", r"entry '../\\x1b\[31mred\\udcff' leaves")


@pytest.mark.parametrize("device", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"])
def test_a_device_is_refused(tmp_path: Path, device: bytes) -> None:
    _refused(_tar(tmp_path / "a", [("null", {"type": device})]), "tar", "entry 'null' is a device")


def test_a_device_in_a_zip_is_refused(tmp_path: Path) -> None:
    _refused(_zip(tmp_path / "a", [("fifo", {"mode": stat.S_IFIFO | 0o644})]), "zip", "entry 'fifo' is a device")


def test_links_within_the_archive_are_kept(tmp_path: Path) -> None:
    links: Members = [
        ("set/first.nii", _link("imagesTr/a.nii")),
        ("set/labelsTr/b.nii", _link("../imagesTr/../imagesTr/a.nii")),
        ("set/around", _link("../set/imagesTr")),
        ("set/hard.nii", _link("set/imagesTr/a.nii", tarfile.LNKTYPE)),
    ]
    done = unpack(_tar(tmp_path / "a", [*links, *FILES.items()]), tmp_path / "into", "tar")
    lift(tmp_path / "into", {"set"})
    assert done.files == 6
    assert _tree(tmp_path / "into")["hard.nii"] == b"image"
    places = {name: os.readlink(tmp_path / "into" / name) for name in ("first.nii", "labelsTr/b.nii", "around")}
    assert places == {"first.nii": "imagesTr/a.nii", "labelsTr/b.nii": "../imagesTr/a.nii", "around": "imagesTr"}


def test_a_link_of_a_zip_is_kept(tmp_path: Path) -> None:
    members: Members = [("a.nii", b"image"), ("b.nii", {"mode": stat.S_IFLNK | 0o777, "content": b"a.nii"})]
    unpack(_zip(tmp_path / "a", members), tmp_path / "into", "zip")
    assert os.readlink(tmp_path / "into/b.nii") == "a.nii"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/etc/passwd", "is a link to an absolute path"),
        ("../../home", "is a link that leaves the folder"),
        ("..", "is a link to a folder that it lies in"),
        (".", "is a link to a folder that it lies in"),
        ("evil", "is a link"),
        ("imagesTr/../../../x", "is a link that leaves the folder"),
        ("", "is a link to an absolute path, or to none"),
        ("missing", "is a link to something that is not in the archive"),
    ],
)
def test_a_link_to_elsewhere_is_refused(tmp_path: Path, target: str, text: str) -> None:
    tar = _tar(tmp_path / "a", [*FILES.items(), ("set/evil", _link(target))])
    _refused(tar, "tar", f"entry 'set/evil' {text}")


@pytest.mark.parametrize("target", ["/etc/passwd", "../etc/passwd", "missing", "set"])
def test_a_hard_link_to_elsewhere_is_refused(tmp_path: Path, target: str) -> None:
    tar = _tar(tmp_path / "a", [*FILES.items(), ("set/evil", _link(target, tarfile.LNKTYPE))])
    _refused(tar, "tar", "entry 'set/evil' ")


def test_a_link_of_a_zip_to_elsewhere_is_refused(tmp_path: Path) -> None:
    evil = {"mode": stat.S_IFLNK | 0o777, "content": b"../../etc"}
    _refused(_zip(tmp_path / "a", [("evil", evil)]), "zip", "entry 'evil' is a link that leaves the folder")


@pytest.mark.parametrize(
    "members",
    [
        [("up", _link(".")), ("up/../../evil", b"x")],
        [("d/x", b"x"), ("door", _link("d")), ("door/evil", b"x")],
        [("d/x", b"x"), ("door/evil", b"x"), ("door", _link("d"))],
        [("d/e/x", b"x"), ("d/e/back", _link("../../d")), ("evil", _link("d/e/back/../../../x"))],
        [("d/x", b"x"), ("one", _link("d")), ("two", _link("one"))],
        [("d/x", b"x"), ("one", _link("d")), ("one/two", _link("x"))],
        [("d/x", b"x"), ("one", _link("d")), ("two", _link("one/x", tarfile.LNKTYPE))],
    ],
)
def test_no_way_leads_through_a_link(tmp_path: Path, members: Members) -> None:
    _refused(_tar(tmp_path / "a", members), "tar", r"entry '[\w./]+' (is a link|leaves|is there twice)")


@BOTH
def test_an_entry_that_is_there_twice_is_refused(tmp_path: Path, kind: str) -> None:
    archive = WRITERS[kind](tmp_path / "a", [("a", b"one"), ("b", b"x"), ("./a", b"two")])
    _refused(archive, kind, "entry './a' is there twice")
    (tmp_path / "home").rmdir()
    _refused(WRITERS[kind](tmp_path / "a", [("a", b"one"), ("a/b", b"x")]), kind, "entry 'a/b' is there twice")


def test_names_that_differ_in_case_are_two(tmp_path: Path) -> None:
    unpack(_zip(tmp_path / "a", [("A.png", b"1"), ("a.png", b"2")]), tmp_path / "into", "zip")
    assert _tree(tmp_path / "into") == {"A.png": b"1", "a.png": b"2"}


@BOTH
def test_a_decompression_bomb_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNSUSPICIOUS", 1000)
    archive = WRITERS[kind](tmp_path / "a", [("small", b"x"), ("big", bytes(3_000_000))])
    _refused(archive, kind, r"entry 'big' brings the archive to 3.0 MB, more than .*: a decompression bomb\?")


@BOTH
def test_many_small_bombs_are_one(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNSUSPICIOUS", 1000)
    monkeypatch.setattr(module, "MAX_RATIO", 1)
    archive = WRITERS[kind](tmp_path / "a", [(f"{index}", bytes(20_000)) for index in range(30)])
    _refused(archive, kind, "a decompression bomb")


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a", [("big", bytes(100_000))])
    archive.write_bytes(archive.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    _refused(archive, "zip", "entry 'big' is no zip file, or a damaged one")


@BOTH
def test_too_many_entries_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    archive = WRITERS[kind](tmp_path / "a", [(f"{index}", b"") for index in range(4)])
    _refused(archive, kind, "entry '3' is one more than the 3 entries")


@BOTH
def test_an_archive_larger_than_the_disk_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 6})())
    archive = WRITERS[kind](tmp_path / "a", list(FILES.items()))
    _refused(archive, kind, r"entry 'set/dataset.json' does not fit on the disk: 6 bytes are free")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_tar_leaves_nothing(tmp_path: Path, mode: str, share: float) -> None:
    content = os.urandom(30_000)
    archive = _tar(tmp_path / "a", [(f"case_{index}", content) for index in range(5)], mode)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * share)])
    _refused(archive, "tar", r"(is no tar file, or a damaged one|there is)")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "a", [("one", b"1"), ("two", b"2"), ("three", b"3")], "w")
    damaged = bytearray(archive.read_bytes())
    damaged[1024:1030] = b"XXXXXX"  # the second header
    archive.write_bytes(damaged)
    _refused(archive, "tar", "damaged")


def test_a_damaged_byte_is_found_by_the_checksum_of_the_archive(tmp_path: Path) -> None:
    for kind in ("zip", "tar"):
        archive = WRITERS[kind](tmp_path / f"a.{kind}", [("case", os.urandom(3000) + bytes(30_000))])
        damaged = bytearray(archive.read_bytes())
        damaged[1500] ^= 0xFF
        archive.write_bytes(damaged)
        with pytest.raises(UserError, match="nothing was unpacked"):
            unpack(archive, tmp_path / "into", kind)
        assert not (tmp_path / "into").exists()


@BOTH
@pytest.mark.parametrize("content", [b"", b"hello", os.urandom(2000), b"PK\3\4" + bytes(100), bytes(5)])
def test_what_is_no_archive_is_named(tmp_path: Path, kind: str, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    _refused(tmp_path / "a", kind, f"/a: is no {kind} file, or a damaged one")


@BOTH
def test_a_web_page_is_called_one(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(b"\n<!DOCTYPE html><html>log in</html>")
    _refused(tmp_path / "a", kind, f"is a web page, not a {kind} file")


def test_an_encrypted_zip_is_named(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a", [("case", b"x")])
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(raw)
    _refused(archive, "zip", "entry 'case' is encrypted")


@BOTH
def test_an_interrupted_unpacking_leaves_nothing(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_copy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unpack(WRITERS[kind](tmp_path / "a", list(FILES.items())), tmp_path / "into", kind)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@BOTH
def test_nothing_is_unpacked_over_what_is_there(tmp_path: Path, kind: str) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "into/mine").touch()
    with pytest.raises(UserError, match="is there already"):
        unpack(WRITERS[kind](tmp_path / "a", list(FILES.items())), tmp_path / "into", kind)
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["mine"]


def test_gzip_holds_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(100_000)))
    assert gunzip(tmp_path / "a.gz", tmp_path / "deep/a") == 100_000
    assert (tmp_path / "deep/a").read_bytes() == bytes(100_000)
    with pytest.raises(UserError, match="is there already"):
        gunzip(tmp_path / "a.gz", tmp_path / "deep/a")
    monkeypatch.setattr(module, "UNSUSPICIOUS", 1000)
    monkeypatch.setattr(module, "MAX_RATIO", 10)
    with pytest.raises(UserError, match=r"unpacks to more than .*: a decompression bomb"):
        gunzip(tmp_path / "a.gz", tmp_path / "b")
    (tmp_path / "a.gz").write_bytes(gzip.compress(os.urandom(100))[:-9])
    with pytest.raises(UserError, match=r"a.gz: is no gz file, or a damaged one"):
        gunzip(tmp_path / "a.gz", tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("members", "names", "left"),
    [
        (["set/a", "set/set/b"], {"Set"}, {"a", "set/b"}),
        (["set/a"], {"other"}, {"set/a"}),
        (["set/a", "b"], {"set"}, {"set/a", "b"}),
        (["set"], {"set"}, {"set"}),
    ],
)
def test_a_single_top_folder_that_repeats_the_name_is_lifted(
    tmp_path: Path, members: list[str], names: set[str], left: set[str]
) -> None:
    unpack(_zip(tmp_path / "a", [(name, b"x") for name in members]), tmp_path / "into", "zip")
    lift(tmp_path / "into", names)
    assert set(_tree(tmp_path / "into")) == left
    assert {path.name for path in tmp_path.iterdir()} == {"a", "into"}


def test_folders_merge_and_files_are_never_overwritten(tmp_path: Path) -> None:
    for name in ("a/both/one", "b/both/two", "c/both/two"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    merge(tmp_path / "a", tmp_path / "b")
    assert set(_tree(tmp_path / "b")) == {"both/one", "both/two"}
    assert not (tmp_path / "a").exists()
    with pytest.raises(UserError, match="two: is there already, and was not overwritten"):
        merge(tmp_path / "c", tmp_path / "b")
    assert (tmp_path / "b/both/two").read_text() == "b/both/two"


NAMES = st.text(alphabet="ab./\\\0", max_size=12)


@given(name=NAMES)
def test_a_safe_name_stays_below_the_folder(name: str) -> None:
    try:
        parts = safe_parts(name)
    except Refused:
        return
    path = os.path.normpath(os.path.join("/top", *parts))
    assert path == "/top" or path.startswith("/top/")


@settings(max_examples=100, deadline=None)
@given(entries=st.lists(st.tuples(NAMES, st.one_of(st.binary(max_size=3), NAMES)), max_size=8), data=st.data())
def test_whatever_names_and_links_an_archive_holds_nothing_lies_outside(
    entries: list[tuple[str, bytes | str]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A string is a link's target, symbolic or hard."""
    home = tmp_path_factory.mktemp("home")
    members: Members = []
    for name, content in entries:
        kind = data.draw(st.sampled_from([tarfile.SYMTYPE, tarfile.LNKTYPE]))
        members.append((name, content if isinstance(content, bytes) else _link(content, kind)))
    archive = _tar(home / "a.tar", members, "w")
    try:
        unpack(archive, home / "into", "tar")
    except UserError:
        assert [path.name for path in home.iterdir()] == ["a.tar"]
        return
    assert {path.name for path in home.iterdir()} == {"a.tar", "into"}
    for path in (home / "into").rglob("*"):
        assert path.resolve(strict=True).is_relative_to((home / "into").resolve())


@given(target=NAMES)
def test_a_link_leads_below_the_folder_or_is_refused(target: str) -> None:
    try:
        to = link_target(("a", "b", "link"), target, {("a", "ab"), ("a", "b", "link")})
    except Refused:
        return
    assert ".." not in to
    assert os.path.normpath(f"/a/b/{target}") == "/" + "/".join(to)


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1), value=st.binary(min_size=1, max_size=4), kind=st.sampled_from(["zip", "tar", "gz"]))
def test_damage_anywhere_is_a_line_and_never_a_traceback(
    place: float, value: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    members: Members = [*FILES.items(), ("set/link", b"x")]
    archive = (
        _zip(home / "a", members) if kind == "zip" else _tar(home / "a", members, "w" if kind == "tar" else "w:gz")
    )
    raw = bytearray(archive.read_bytes())
    at = int(place * (len(raw) - 1))
    raw[at : at + len(value)] = value
    archive.write_bytes(raw)
    try:
        unpack(archive, home / "into", "zip" if kind == "zip" else "tar")
    except UserError:
        assert [path.name for path in home.iterdir()] == ["a"]
