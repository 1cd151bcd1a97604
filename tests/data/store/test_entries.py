"""Entries are whole or not there, made once, read a part at a time, and damage is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medexp.data.parallel import Stop
from medexp.data.store.entries import Damaged, InMemory, Store, open_entry, verify_entry, write_entry

KEY = "ab" * 16


def arrays(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.normal(size=(2, 9, 7, 5)).astype(np.float16),
        "label": rng.integers(0, 3, (1, 9, 7, 5), dtype=np.uint8),
        "places": np.empty((0, 3), np.int32),
    }


def test_an_entry_gives_back_what_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find(KEY) is None
    entry = store.ensure(KEY, lambda: (arrays(), {"name": "é", "n": [1, 2]}))
    found = store.find(KEY)
    assert found is not None
    assert found.facts == entry.facts == {"name": "é", "n": [1, 2]}
    for name, array in arrays().items():
        assert name in found
        assert found.shape(name) == array.shape
        np.testing.assert_array_equal(found.read(name), array)
        assert found.read(name).dtype == array.dtype
    assert "mask" not in found


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), min_size=3, max_size=3))
def test_a_part_is_that_part_of_the_whole(ends: list[tuple[int, int]]) -> None:
    cut = (slice(None), *(slice(start, start + size) for start, size in ends))
    whole = arrays()["image"]
    kept = InMemory({"image": whole}, {})
    np.testing.assert_array_equal(kept.read("image", cut), whole[cut])
    with tempfile.TemporaryDirectory() as folder:
        write_entry(Path(folder) / "x.case", {"image": whole}, {})
        np.testing.assert_array_equal(open_entry(Path(folder) / "x.case").read("image", cut), whole[cut])


def test_what_was_read_can_be_written_to_without_changing_the_store(tmp_path: Path) -> None:
    entry = Store(tmp_path).ensure(KEY, lambda: (arrays(), {}))
    entry.read("image")[:] = 0
    np.testing.assert_array_equal(entry.read("image"), arrays()["image"])


def test_an_entry_is_made_once_however_many_ask(tmp_path: Path) -> None:
    made = []

    def make() -> tuple[dict[str, Any], dict[str, Any]]:
        made.append(1)
        time.sleep(0.05)
        return arrays(), {}

    with ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(lambda _: Store(tmp_path).ensure(KEY, make), range(8)))
    assert len(made) == 1
    assert len({entry.path for entry in entries}) == 1


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> Any:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Store(tmp_path).ensure(KEY, fails)
    assert Store(tmp_path).files() == []
    assert Store(tmp_path).ensure(KEY, lambda: (arrays(), {})).facts == {}  # the lock is free again


def test_a_full_disk_is_one_line_and_leaves_no_half_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    store = Store(tmp_path)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(Stop, match="No space left on device"):
        store.ensure(KEY, lambda: (arrays(), {}))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "locks"] == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Stop, match=r"dataset\.store: cannot write to .*MEDEXP_CACHE"):
        Store(tmp_path / "file" / "store")


@pytest.mark.parametrize("keep", [0, 5, 20, 100, -1])
def test_a_file_cut_short_counts_as_absent_and_is_made_again(tmp_path: Path, keep: int) -> None:
    store = Store(tmp_path)
    path = store.ensure(KEY, lambda: (arrays(), {})).path
    path.write_bytes(path.read_bytes()[:keep])
    assert store.find(KEY) is None
    assert verify_entry(path)
    again = store.ensure(KEY, lambda: (arrays(), {}))
    np.testing.assert_array_equal(again.read("label"), arrays()["label"])
    assert not verify_entry(path)


def test_a_flipped_bit_is_found_by_verifying(tmp_path: Path) -> None:
    entry = Store(tmp_path).ensure(KEY, lambda: (arrays(), {}))
    content = bytearray(entry.path.read_bytes())
    content[entry.arrays["label"][2] + 3] ^= 4
    entry.path.write_bytes(content)
    assert verify_entry(entry.path) == "its arrays are not those that were written"


def test_another_kind_of_file_is_no_entry(tmp_path: Path) -> None:
    (tmp_path / "x.case").write_bytes(b"hello" * 100)
    with pytest.raises(Damaged):
        open_entry(tmp_path / "x.case")


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from medexp.data.store.entries import Store
def make():
    print("making", flush=True)
    time.sleep(60)
Store(Path(sys.argv[1])).ensure(sys.argv[2], make)
"""


def test_a_killed_process_leaves_no_lock_and_no_half_entry(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), KEY], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "making\n"
        other.send_signal(signal.SIGKILL)
    store = Store(tmp_path)
    assert store.files() == []
    assert store.ensure(KEY, lambda: (arrays(), {"next": 1})).facts == {"next": 1}


def test_leftovers_of_killed_processes_are_found_once_they_are_old(tmp_path: Path) -> None:
    store = Store(tmp_path)
    part = tmp_path / "ab" / ".abc.case.1.2.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    assert store.leftovers() == []
    os.utime(part, (time.time() - 7200,) * 2)
    assert store.leftovers() == [part]
    assert store.files() == []


@pytest.mark.parametrize("place", [9, 30, 40, 60])
def test_a_changed_header_counts_as_absent(tmp_path: Path, place: int) -> None:
    store = Store(tmp_path)
    path = store.ensure(KEY, lambda: (arrays(), {"name": "a"})).path
    content = bytearray(path.read_bytes())
    content[place] ^= 8
    path.write_bytes(content)
    assert store.find(KEY) is None
    assert verify_entry(path)
    assert store.ensure(KEY, lambda: (arrays(), {"name": "b"})).facts == {"name": "b"}


def test_an_entry_that_was_removed_meanwhile_is_said(tmp_path: Path) -> None:
    entry = Store(tmp_path).ensure(KEY, lambda: (arrays(), {}))
    entry.path.unlink()
    with pytest.raises(Stop, match="was removed from the store while in use"):
        entry.read("image")
