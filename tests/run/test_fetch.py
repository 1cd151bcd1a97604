"""`medexp fetch`: what it says, what it exits with, and that the shipped leaves can be fetched or say how."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from layouts import web as layout

from medexp.config import paths
from medexp.data.fetching import download
from medexp.errors import UserError
from medexp.run.fetch import all_named, fetch, named
from medexp.run.suited import suited
from medexp.run.train import plan


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Data below the test's own folder, no proxy, no pauses."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("MEDEXP_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(download, "BACK_OFF", (0.0, 0.0))


@pytest.fixture
def site() -> Iterator[layout.Site]:
    with layout.serve() as running:
        yield running


def _leaf(name: str, about: str, root: str = "${data_root}/set", parent: str = "_base") -> None:
    """A leaf in the user's own conf/; about: YAML, one line."""
    path = Path(f"conf/dataset/{name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    given = f"\nabout: {about}" if about else ""
    path.write_text(f"# Our set, CC0; segmentation\ndefaults:\n  - {parent}\nroot: {root}{given}\n")


TERMS = "licence: CC0, cite: Somebody 2020, page: 'https://example.org/set'"
MD5 = hashlib.md5(b"arrays").hexdigest()


def _direct(site: layout.Site, name: str = "ours", **moods: object) -> None:
    url = site.put(f"{name}.npz", b"arrays", **moods)
    _leaf(name, f"{{{TERMS}, files: [{{url: '{url}', md5: '{MD5}'}}]}}", f"${{data_root}}/{name}.npz")


def test_a_data_set_is_downloaded_after_its_terms_are_said(
    site: layout.Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _direct(site)
    assert fetch(["ours"]) == 0
    path = tmp_path / "data/ours.npz"
    assert path.read_bytes() == b"arrays"
    assert capsys.readouterr().out.splitlines() == [
        "Our set, CC0; segmentation",
        "licence: CC0",
        "cite: Somebody 2020",
        "page: https://example.org/set",
        f"downloading ours.npz from {site.url.removeprefix('http://')}",
        "ours.npz: 6 bytes, its md5 is right",
        f"ours is in {path}",
        "next: medexp check dataset=ours",
    ]
    assert fetch(["ours"]) == 0
    assert capsys.readouterr().out.splitlines()[4:] == [
        f"{path}: is there already, its md5 is right",
        "next: medexp check dataset=ours",
    ]
    assert len(site.requests) == 1


def test_a_root_of_ones_own_is_part_of_the_next_command(
    site: layout.Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _direct(site)
    assert fetch(["ours"], root="elsewhere/ours.npz") == 0
    place = Path("elsewhere/ours.npz").absolute()
    assert place.read_bytes() == b"arrays"
    assert capsys.readouterr().out.splitlines()[-1] == f"next: medexp check dataset=ours dataset.root={place}"
    assert not (tmp_path / "data").exists()


def test_a_root_is_of_one_data_set(site: layout.Site) -> None:
    with pytest.raises(UserError, match="--root is of one data set, not of 2"):
        fetch(["msd_spleen", "mednist"], root="x")
    with pytest.raises(UserError, match="--root is of one data set; name it"):
        fetch([], root="x")


def test_what_has_to_be_got_by_hand_is_told_and_is_not_a_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _leaf("ours", f"{{{TERMS}, get: 'Join the challenge and unpack set.zip into dataset.root.'}}")
    root = tmp_path / "data/set"
    with pytest.raises(UserError) as fault:
        fetch(["ours"])
    assert str(fault.value) == (
        "fetch ours: its terms allow no direct download; get it from https://example.org/set, lay it out below "
        f"{root} as said above, then: medexp check dataset=ours"
    )
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == [
        "by hand: Join the challenge and unpack set.zip into dataset.root.",
        f"dataset.root: {root}",
    ]
    root.mkdir(parents=True)
    (root / "a.png").touch()
    assert fetch(["ours"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"{root}: holds data already",
        "next: medexp check dataset=ours",
    ]


def test_a_data_set_that_fails_does_not_keep_the_others(site: layout.Site, tmp_path: Path) -> None:
    _leaf("first", f"{{{TERMS}, get: Ask.}}")
    _direct(site, "second")
    _direct(site, "third", faults=[{"status": 404}])
    _direct(site, "fourth")
    with pytest.raises(UserError) as fault:
        fetch(["first", "second", "third", "fourth", "fourth"])
    lines = str(fault.value).splitlines()
    assert lines[0] == "2 of 4 data sets are not here yet"
    assert "fetch first: its terms" in lines[1]
    assert "answers 404 Not Found" in lines[2]
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"second.npz", "fourth.npz"}


def test_a_host_that_is_not_there_ends_in_what_to_do_by_hand(site: layout.Site, tmp_path: Path) -> None:
    _direct(site, faults=[0, 0, 0, 0])
    with pytest.raises(UserError) as fault:
        fetch(["ours"])
    part = f"or get ours.npz by hand (https://example.org/set), save it as {tmp_path}/data/ours.npz.download/ours.npz"
    assert str(fault.value).startswith("cannot reach 127.0.0.1")
    assert part in str(fault.value)
    assert "\n" not in str(fault.value)


def test_an_unknown_name_has_a_near_match_and_a_list() -> None:
    _leaf("liver_ours", f"{{{TERMS}, get: Ask.}}")
    _leaf("liver_variant", "", parent="liver_ours")
    with pytest.raises(UserError) as fault:
        fetch(["liver_our"])
    text = str(fault.value)
    assert text.startswith("fetch: no data set 'liver_our'; did you mean 'liver_ours'")
    listed = text.split("named data sets: ")[1].split(", ")
    assert {"liver_ours", "liver_variant", "mednist"} <= set(listed)
    assert not {"csv", "npz", "phantom"} & set(listed)


def test_a_kind_of_data_is_not_a_data_set() -> None:
    with pytest.raises(UserError, match="fetch: dataset=csv describes a kind of data, not a data set"):
        fetch(["csv"])


def test_nothing_is_downloaded_where_a_name_is_wrong(site: layout.Site) -> None:
    _direct(site)
    with pytest.raises(UserError, match="no data set 'nonsense'"):
        fetch(["ours", "nonsense"])
    assert site.requests == []


@pytest.mark.parametrize(
    ("about", "text"),
    [
        (
            f"{{{TERMS}, files: [{{url: 'file:///etc/passwd'}}]}}",
            r"dataset=ours: about.files\[0\].url: 'file:///etc/passwd'",
        ),
        (f"{{{TERMS}, got: Ask.}}", "about.got: no such key; did you mean 'get'"),
        ("free", "dataset=ours: about: is str 'free'"),
        (f"{{{TERMS}, get: '${{nowhere}}'}}", "dataset=ours: Interpolation key 'nowhere' not found"),
    ],
)
def test_a_leaf_that_says_nonsense_is_named(about: str, text: str) -> None:
    _leaf("ours", about)
    with pytest.raises(UserError, match=text):
        named("ours")


def test_a_leaf_without_a_root_asks_for_one() -> None:
    _leaf("ours", f"{{{TERMS}, get: Ask.}}", root="???")
    with pytest.raises(UserError, match=r"fetch ours: dataset.root has no value; give --root FOLDER"):
        fetch(["ours"])
    assert named("ours", "~/x").root == Path.home() / "x"


def test_a_leaf_that_extends_a_named_set_is_one() -> None:
    _leaf("ours", f"{{{TERMS}, get: Ask.}}")
    _leaf("slices", "", root="x", parent="ours")
    _leaf("deep/slices", "", root="x", parent="/dataset/ours@_here_")
    assert [named(name).about for name in ("slices", "deep/slices")] == [named("ours").about] * 2


def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the shipped data sets only two, so that a table is made in a moment."""
    options, names = paths.options, ("mednist", "csv")
    left = {
        name: leaf for name, leaf in options("dataset").items() if name in names or paths.shipped() not in leaf.parents
    }
    monkeypatch.setattr(paths, "options", lambda group: left if group == "dataset" else options(group))


def test_without_a_name_there_is_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _leaf("by_hand", f"{{{TERMS}, get: Ask.}}", root="x")
    file = "{url: 'https://example.org/set.tar', unpack: tar, size: 1500000000}"
    _leaf("direct", f"{{{TERMS}, files: [{file}]}}")
    (tmp_path / "data/set").mkdir(parents=True)
    (tmp_path / "data/set/a").touch()
    _few(monkeypatch)
    assert fetch([]) == 0
    rows = {words[0]: words for line in capsys.readouterr().out.splitlines() if (words := line.split())}
    assert rows["name"] == ["name", "what", "licence", "download", "how", "here"]
    assert rows["by_hand"][-3:] == ["CC0", "by", "hand"]
    assert rows["direct"][-5:] == ["CC0", "1.5", "GB", "direct", "yes"]
    assert "csv" not in rows


def test_a_leaf_that_cannot_be_read_is_named_beside_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _leaf("ours", f"{{{TERMS}}}")
    Path("conf/dataset/broken.yaml").write_text("# Broken; segmentation\na: [1\n")
    _few(monkeypatch)
    with pytest.raises(UserError) as fault:
        fetch([])
    assert "mednist" in capsys.readouterr().out
    assert "2 leaves of conf/dataset cannot be read" in str(fault.value)
    assert "ours.yaml: dataset=ours: about.get: is missing" in str(fault.value)
    assert "broken.yaml: " in str(fault.value)


def test_an_interrupted_download_is_gone_on_with(
    site: layout.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    _direct(site, faults=[3])
    with monkeypatch.context() as patch:
        patch.setattr(download.time, "sleep", interrupt)
        assert fetch(["ours"]) == 130
    assert "interrupted; the same command goes on with ours from here" in capsys.readouterr().out
    work = tmp_path / "data/ours.npz.download"
    assert {path.name for path in work.iterdir()} == {"ours.npz.part", "ours.npz.part.json"}
    assert fetch(["ours"]) == 0
    assert site.ranges == [None, "bytes=3-"]
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"ours.npz"}


def test_control_c_leaves_only_the_part(site: layout.Site, tmp_path: Path) -> None:
    _direct(site, faults=[{"status": 503, "Retry-After": "60"}])
    code = "import sys\nfrom medexp.run.fetch import fetch\nsys.exit(fetch(['ours']))"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "attempt 2 in 60 s" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert "interrupted; the same command goes on" in process.stdout.read()
    assert process.returncode == 130
    assert not (tmp_path / "data/ours.npz").exists()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("mednist", "medexp check experiment=classification/mednist"),
        ("medmnist/bloodmnist", "medexp check dataset=medmnist/bloodmnist"),
        ("medmnist/chestmnist", "medexp check dataset=medmnist/chestmnist"),
        ("dsb2018", "medexp check dataset=dsb2018"),
    ],
)
def test_the_next_command_composes(name: str, command: str) -> None:
    assert named(name).check == command
    assert plan(suited(command.split()[2:]))["dataset"]["about"]


def test_every_shipped_data_set_says_how_it_is_had() -> None:
    found, problems = all_named()
    assert problems == []
    assert {"mednist", "medmnist/pathmnist"} <= {data.name for data in found}
    for data in found:
        assert data.root is not None, data.name
        assert data.about.files or data.about.get, data.name
    assert {data.name for data in found} <= set(paths.options("dataset"))
