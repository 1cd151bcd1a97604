"""Downloads: whole and verified, or nothing; against a server on loopback that does what real ones do."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from layouts import web as layout

from medexp.data.fetching import download as module
from medexp.data.fetching import web
from medexp.data.fetching.download import bar, download, lock, mismatch, part_of, size
from medexp.data.fetching.web import Origin, Unreachable
from medexp.errors import UserError

CONTENT = bytes(range(256)) * 1000  # 256 kB
MD5 = {"md5": hashlib.md5(CONTENT).hexdigest()}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between us and loopback, and no long pauses."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "BACK_OFF", (0.0, 0.0, 0.0))


@pytest.fixture
def site() -> Iterator[layout.Site]:
    with layout.serve() as running:
        yield running


def _get(url: str, path: Path, sums: dict[str, str] | None = None) -> list[str]:
    """What is said on the way."""
    said: list[str] = []
    download(url, path, MD5 if sums is None else sums, said.append)
    return said


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_arrives_whole_and_alone(site: layout.Site, tmp_path: Path) -> None:
    assert _get(site.put("a.npz", CONTENT), tmp_path / "a.npz") == []
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert _names(tmp_path) == {"a.npz"}
    assert site.requests[0][1]["User-Agent"].startswith("medexp/")
    assert site.requests[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    "sums",
    [
        {},
        {"sha256": hashlib.sha256(CONTENT).hexdigest().upper()},
        {**MD5, "sha256": hashlib.sha256(CONTENT).hexdigest()},
    ],
)
def test_every_published_checksum_is_held_against_the_file(
    site: layout.Site, tmp_path: Path, sums: dict[str, str]
) -> None:
    _get(site.put("a.npz", CONTENT), tmp_path / "a.npz", sums)
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


def test_a_dropped_connection_is_gone_on_with(site: layout.Site, tmp_path: Path) -> None:
    url = site.put("a.npz", CONTENT, faults=[100_000, 50_000])
    said = _get(url, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert site.requests[1][1]["If-Range"] == '"v1"'
    assert "connection closed after 100000 of 256000 bytes; attempt 2 in 0 s" in said[0]


def test_without_a_strong_etag_the_date_is_the_mark(site: layout.Site, tmp_path: Path) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    url = site.put("a.npz", CONTENT, etag='W/"weak"', modified=date, faults=[1000])
    _get(url, tmp_path / "a.npz", {})
    assert site.requests[1][1]["If-Range"] == date
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


@pytest.mark.parametrize(("sums", "asked"), [(MD5, "bytes=1000-"), ({}, None)])
def test_without_any_mark_a_part_is_trusted_only_where_a_checksum_will_tell(
    site: layout.Site, tmp_path: Path, sums: dict[str, str], asked: str | None
) -> None:
    url = site.put("a.npz", CONTENT, etag=None, faults=[1000])
    _get(url, tmp_path / "a.npz", sums)
    assert site.ranges == [None, asked]
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


def test_a_server_that_cannot_resume_starts_over(site: layout.Site, tmp_path: Path) -> None:
    url = site.put("a.npz", CONTENT, ranges=False, faults=[1000])
    said = _get(url, tmp_path / "a.npz", {})
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert "does not go on from 1.0 kB" in said[1]


def _half(site: layout.Site, path: Path, **moods: object) -> str:
    """An earlier command that was given up: a .part of 1000 bytes of the same address."""
    url = site.put("a.npz", CONTENT, faults=[1000, 0, 0, 0, 0], **moods)
    with pytest.raises(
        Unreachable, match=r"\(connection closed after 1000 of 256000 bytes, 4 times\); 1.0 kB are kept"
    ):
        _get(url, path)
    assert _names(path.parent) == {"a.npz.part", "a.npz.part.json"}
    site.requests.clear()
    return url


def test_the_next_command_goes_on_where_the_last_was_given_up(site: layout.Site, tmp_path: Path) -> None:
    url = _half(site, tmp_path / "a.npz")
    site.pages["/a.npz"].faults.clear()
    _get(url, tmp_path / "a.npz")
    assert site.ranges == ["bytes=1000-"]
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    assert _names(tmp_path) == {"a.npz"}


@pytest.mark.parametrize("etag", ['"v2"', None])
def test_a_file_that_changed_between_resumes_is_never_glued_together(
    site: layout.Site, tmp_path: Path, etag: str | None
) -> None:
    url = _half(site, tmp_path / "a.npz")
    site.put("a.npz", CONTENT[::-1], etag=etag)
    _get(url, tmp_path / "a.npz", {})
    assert (tmp_path / "a.npz").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    ("etag", "content", "modified"),
    [
        ('"v2"', CONTENT[::-1], None),
        ('"v1"', CONTENT[::-1] + b"more", None),
        ('"v1"', CONTENT[::-1], "Thu, 01 Jan 2026 00:00:00 GMT"),
    ],
)
def test_a_server_that_ignores_if_range_is_caught_by_its_own_marks(
    site: layout.Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    etag: str,
    content: bytes,
    modified: str | None,
) -> None:
    url = _half(site, tmp_path / "a.npz", modified="Wed, 21 Oct 2015 07:28:00 GMT")
    monkeypatch.setattr(layout.Handler, "_start", _without_if_range)
    site.put("a.npz", content, etag=etag, modified=modified)
    assert "the file has changed since; starting over" in _get(url, tmp_path / "a.npz", {})[0]
    assert (tmp_path / "a.npz").read_bytes() == content
    assert site.ranges == ["bytes=1000-", None]


def _without_if_range(handler: layout.Handler, page: layout.Page) -> int:
    return int(handler.headers.get("Range", "bytes=0-")[6:-1])


def test_another_part_than_was_asked_for_is_not_appended(site: layout.Site, tmp_path: Path) -> None:
    url = site.put("a.npz", CONTENT, faults=[1000, "wrong start"])
    assert "answers with another part" in _get(url, tmp_path / "a.npz")[1]
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_not_asked_for_again(site: layout.Site, tmp_path: Path) -> None:
    url, path = site.put("a.npz", CONTENT), tmp_path / "a.npz"
    part_of(path).write_bytes(CONTENT)
    path.with_name("a.npz.part.json").write_text(json.dumps({"url": url, "etag": '"v1"', "length": len(CONTENT)}))
    _get(url, path)
    assert site.requests == []
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("state", ["", "[]", '{"url": "http://elsewhere/a.npz", "etag": "x"}', '{"colour": 3}', None])
def test_a_part_of_unknown_origin_is_not_gone_on_with(site: layout.Site, tmp_path: Path, state: str | None) -> None:
    part_of(tmp_path / "a.npz").write_bytes(b"something else")
    if state is not None:
        (tmp_path / "a.npz.part.json").write_text(state)
    _get(site.put("a.npz", CONTENT), tmp_path / "a.npz", {})
    assert site.ranges == [None]
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


def test_a_part_beyond_the_end_of_the_file_starts_over(site: layout.Site, tmp_path: Path) -> None:
    url, path = site.put("a.npz", CONTENT[:1000]), tmp_path / "a.npz"
    part_of(path).write_bytes(CONTENT)
    path.with_name("a.npz.part.json").write_text(json.dumps({"url": url, "etag": '"v1"'}))
    assert "no such part" in _get(url, path, {})[0]
    assert path.read_bytes() == CONTENT[:1000]


def test_a_wrong_checksum_is_said_with_both_sums_and_nothing_is_left(site: layout.Site, tmp_path: Path) -> None:
    wrong = hashlib.md5(b"wrong").hexdigest()
    with pytest.raises(
        UserError, match=f"a.npz: what 127.0.0.1:\\d+ sent has md5 {wrong}, published is {MD5['md5']}"
    ) as fault:
        _get(site.put("a.npz", b"wrong"), tmp_path / "a.npz")
    assert "\n" not in str(fault.value)
    assert _names(tmp_path) == set()


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_passing_fault_of_the_server_is_waited_for(site: layout.Site, tmp_path: Path, status: int) -> None:
    said = _get(site.put("a.npz", CONTENT, faults=[{"status": status}] * 2), tmp_path / "a.npz")
    assert [f"answers {status}" in line for line in said] == [True, True]
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


def test_a_server_that_asks_for_a_pause_gets_it(
    site: layout.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waited.append)
    faults = [
        {"status": 503, "Retry-After": "7"},
        {"status": 503, "Retry-After": "9999999"},
        {"status": 503, "Retry-After": "x"},
    ]
    _get(site.put("a.npz", CONTENT, faults=faults), tmp_path / "a.npz")
    assert waited == [7.0, web.LONGEST_PAUSE, 0.0]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_names_the_address(site: layout.Site, tmp_path: Path, status: int) -> None:
    url = site.put("a.npz", CONTENT, faults=[{"status": status}])
    with pytest.raises(Unreachable, match=rf"127.0.0.1:\d+ answers {status} .* for {url}"):
        _get(url, tmp_path / "a.npz")
    assert len(site.requests) == 1
    assert _names(tmp_path) == set()


def test_an_answer_that_is_no_file_is_none(site: layout.Site, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="answers 204 No Content, which is not the file"):
        _get(site.put("a.npz", CONTENT, faults=[{"status": 204}]), tmp_path / "a.npz")


def test_a_web_page_in_place_of_the_file_is_named(site: layout.Site, tmp_path: Path) -> None:
    url = site.put("a.zip", b"<html>log in</html>", kind="text/html; charset=utf-8")
    with pytest.raises(Unreachable, match=r"answers with a web page in place of a.zip \(it asks for a log-in, or"):
        _get(url, tmp_path / "a.zip")
    assert _names(tmp_path) == set()


def test_a_server_that_keeps_failing_is_given_up(site: layout.Site, tmp_path: Path) -> None:
    with pytest.raises(
        Unreachable, match=r"cannot reach 127.0.0.1:\d+ \(answers 500 Internal Server Error, 4 times\)$"
    ):
        _get(site.put("a.npz", CONTENT, faults=[{"status": 500}] * 9), tmp_path / "a.npz")
    assert len(site.requests) == 4


def test_attempts_that_bring_something_new_are_not_counted(
    site: layout.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GAIN", 1000)
    _get(site.put("a.npz", CONTENT, faults=[20_000] * 12), tmp_path / "a.npz")
    assert len(site.requests) == 13
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


def test_without_a_length_the_end_of_the_connection_is_the_end(site: layout.Site, tmp_path: Path) -> None:
    _get(site.put("a.npz", CONTENT, length=False), tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == CONTENT
    with pytest.raises(UserError, match="published is"):
        _get(site.put("b.npz", CONTENT, length=False, faults=[1000]), tmp_path / "b.npz")


def test_a_host_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(Unreachable, match=rf"cannot reach 127.0.0.1:{port} \(Connection refused, 4 times\)"):
        _get(f"http://127.0.0.1:{port}/a.npz", tmp_path / "a.npz")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Unreachable, match=r"cannot reach nowhere.invalid \(Name or service not known\)$"):
        _get("http://nowhere.invalid/a.npz", tmp_path / "a.npz")


def test_a_server_that_falls_silent_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(Unreachable, match=r"\(no answer within 0.05 s, 4 times\)"),
    ):
        _get(f"http://127.0.0.1:{silent.getsockname()[1]}/a.npz", tmp_path / "a.npz")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:text/plain,hello", "/etc/passwd", "http://"]
)
def test_no_other_scheme_is_opened(tmp_path: Path, url: str) -> None:
    with pytest.raises(Unreachable):
        _get(url, tmp_path / "a", {})
    assert _names(tmp_path) == set()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_no_other_scheme_is_redirected_to(site: layout.Site, tmp_path: Path, target: str) -> None:
    url = site.put("a.npz", b"", faults=[{"status": 302, "Location": target}])
    with pytest.raises(Unreachable):
        _get(url, tmp_path / "a.npz", {})
    assert _names(tmp_path) == set()


def test_a_redirect_is_followed_with_its_range(site: layout.Site, tmp_path: Path) -> None:
    moved = {"status": 302, "Location": site.put("b", CONTENT, faults=[1000])}
    _get(site.put("a.npz", b"", faults=[moved, dict(moved)]), tmp_path / "a.npz")
    assert site.ranges == [None, None, "bytes=1000-", "bytes=1000-"]
    assert (tmp_path / "a.npz").read_bytes() == CONTENT


def test_too_little_disk_is_said_before_a_byte_is_written(
    site: layout.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 300_000})())
    url = site.put("a.npz", CONTENT)
    with pytest.raises(UserError, match=r"a.npz needs 512.0 kB of disk space, .* has 300.0 kB;"):
        download(url, tmp_path / "a.npz", MD5, print, room=2.0)
    assert _names(tmp_path) == set()
    download(url, tmp_path / "a.npz", MD5, print)


def test_an_interrupted_download_leaves_its_part(
    site: layout.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    url = site.put("a.npz", CONTENT, faults=[1000])
    with monkeypatch.context() as patch:
        patch.setattr(module.time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _get(url, tmp_path / "a.npz")
    assert part_of(tmp_path / "a.npz").read_bytes() == CONTENT[:1000]
    assert not (tmp_path / "a.npz").exists()
    _get(url, tmp_path / "a.npz")
    assert site.ranges == [None, "bytes=1000-"]


def test_a_folder_that_cannot_be_written_is_named(site: layout.Site, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write \(No such file or directory\)"):
        part = tmp_path / "gone"
        part.mkdir()
        url = site.put("a.npz", CONTENT)
        module.shutil.disk_usage(part)
        part.rmdir()
        module._receive(_Stream(url), part / "a.npz", lambda *_: None)  # type: ignore[arg-type]


class _Stream:
    start = 0

    def __init__(self, url: str) -> None:
        self.origin = Origin(url)


def test_a_folder_has_one_process_at_a_time(tmp_path: Path) -> None:
    work = tmp_path / "set.download"
    with lock(work), pytest.raises(UserError, match="another process is fetching this"), lock(work):
        pass
    assert not work.exists()
    with lock(work):
        (work / "a.part").touch()
    assert (work / "a.part").is_file()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import time\nfrom pathlib import Path\nfrom medexp.data.fetching.download import lock\n"
        f"with lock(Path({str(tmp_path / 'w')!r})):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process"), lock(tmp_path / "w"):
            pass
        other.kill()
    with lock(tmp_path / "w"):
        pass


def test_a_checksum_names_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert mismatch(tmp_path / "a", {"md5": "900150983cd24fb0d6963f7d28e17f72"}) == ""  # RFC 1321, A.5
    assert (
        mismatch(tmp_path / "a", {"md5": "0" * 32})
        == f"has md5 900150983cd24fb0d6963f7d28e17f72, published is {'0' * 32}"
    )
    assert mismatch(tmp_path / "a", {}) == ""


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (812, "812 bytes"), (3_120_000, "3.1 MB"), (1.5e9, "1.5 GB")]
)
def test_sizes_are_for_people(count: float, text: str) -> None:
    assert size(count) == text


def test_the_bar_is_for_eyes_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with bar("downloading a.npz") as show:
        show(10, 100)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bar("downloading [a].npz") as show:
        show(10, 100)
        time.sleep(0.15)
    out, error = capsys.readouterr()
    assert out == ""
    assert "downloading [a].npz" in error
