"""Checkpoint files: whole or not there, proven against damage, and nothing in them but tensors and plain containers."""

from __future__ import annotations

import errno
import io
import os
import threading
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import disks
import numpy as np
import pytest
import torch

from medexp.callbacks import checkpoint_file
from medexp.callbacks.checkpoint_file import CheckpointFault, Damaged, mend, read, verify, write
from medexp.callbacks.checkpoint_writer import CheckpointWriter, snapshot


def content(step: int = 1) -> dict[str, Any]:
    return {"step": step, "state_dict": {"weight": torch.full((1000, 50), float(step)), "bias": torch.zeros(3)}}


class FullDisk(io.FileIO):
    """A file on a disk that has room for `room` more bytes."""

    room = 50_000

    def write(self, data: Any) -> int:
        self.room -= memoryview(data).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.open

    def opened(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        return FullDisk(path, mode) if "w" in mode else original(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", opened)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_read_with_its_digest_in_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.ckpt"
    write(content(), path)
    verify(path)
    assert torch.equal(read(path)["state_dict"]["weight"], content()["state_dict"]["weight"])
    assert torch.load(path, weights_only=True, mmap=True)["step"] == 1
    assert zipfile.ZipFile(path).comment.startswith(b"sha256:")
    assert names(path.parent) == ["a.ckpt"]


@pytest.mark.parametrize("cut", [1, 30, 1000, 190_000])
def test_a_truncated_file_is_noticed(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write(content(), path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(Damaged, match="cut off"):
        read(path)


@pytest.mark.parametrize("place", [100, 5000, 150_000])
def test_a_flipped_bit_is_noticed_though_torch_would_read_it(place: int, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write(content(), path)
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Damaged, match="SHA-256"):
        read(path)


def test_a_checkpoint_of_an_older_run_has_no_digest_and_is_held_to_its_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(content(), path)
    assert read(path)["step"] == 1
    raw = bytearray(path.read_bytes())
    raw[100_000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Damaged, match="checksum"):
        verify(path)
    for bad in (b"", b"PK", bytes(raw[:-7])):
        path.write_bytes(bad)
        with pytest.raises(Damaged, match="cut off, or no checkpoint"):
            verify(path)
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "nothing.ckpt")


@pytest.mark.parametrize("links", [True, False])
def test_the_one_before_is_kept_and_takes_the_place_of_a_damaged_one(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for step in (1, 2, 3):
        write(content(step), last, previous)
    assert (read(last)["step"], read(previous)["step"]) == (3, 2)
    assert mend(tmp_path) is None
    last.write_bytes(last.read_bytes()[:-5])
    assert "cut off" in str(mend(tmp_path))
    assert read(last)["step"] == 2
    assert names(tmp_path) == ["last.ckpt", "last.ckpt.damaged"]
    write(content(4), last, previous)
    last.unlink()
    assert mend(tmp_path) == "it is missing"
    assert read(last)["step"] == 2
    last.write_bytes(b"")
    with pytest.raises(Damaged, match=r"no whole previous.ckpt"):
        mend(tmp_path)
    last.unlink()
    with pytest.raises(FileNotFoundError):
        mend(tmp_path)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_the_reason_given_and_the_last_good_one_is_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    monkeypatch.setattr(FullDisk, "room", 10**9)
    write(content(1), last, previous)
    write(content(2), last, previous)
    monkeypatch.setattr(FullDisk, "room", 50_000)
    with pytest.raises(CheckpointFault, match=r"last.ckpt: was not written \(No space left on device\).*then resume"):
        write(content(3), last, previous)
    assert (read(last)["step"], read(previous)["step"]) == (2, 1)
    assert names(tmp_path) == ["last.ckpt", "previous.ckpt"]


def test_a_full_file_system_of_its_own(tmp_path: Path) -> None:
    with disks.small(tmp_path / "small", "300k") as mount:
        write(content(1), mount / "last.ckpt", mount / "previous.ckpt")
        with pytest.raises(CheckpointFault, match="No space left on device"):
            write(content(2), mount / "last.ckpt", mount / "previous.ckpt")
        assert read(mount / "last.ckpt")["step"] == 1
        assert names(mount) == ["last.ckpt"]


def test_a_file_system_or_folder_that_refuses(tmp_path: Path) -> None:
    write(content(1), tmp_path / "last.ckpt")
    with disks.refusing(tmp_path), pytest.raises(CheckpointFault, match=r"Read-only file system|Permission denied"):
        write(content(2), tmp_path / "last.ckpt")
    assert read(tmp_path / "last.ckpt")["step"] == 1
    assert names(tmp_path) == ["last.ckpt"]


def test_a_folder_that_may_not_be_written_is_the_reason_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    write(content(1), tmp_path / "last.ckpt")
    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(CheckpointFault, match="Permission denied"):
        write(content(2), tmp_path / "last.ckpt")
    assert read(tmp_path / "last.ckpt")["step"] == 1
    assert names(tmp_path) == ["last.ckpt"]


def test_a_snapshot_is_plain_and_does_not_change_with_what_it_is_of(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    state = {
        "state_dict": net.state_dict(),
        "numbers": [np.float32(0.5), np.int64(3), True, None],
        "milestones": Counter({2: 1}),
        "pair": (1, {"a"}),
    }
    taken = snapshot(state)
    before = net[0].weight.detach().clone()
    with torch.no_grad():
        net[0].weight.add_(1)
    write(taken, tmp_path / "a.ckpt")
    found = read(tmp_path / "a.ckpt")
    assert torch.equal(found["state_dict"]["0.weight"], before)
    assert found["numbers"] == [0.5, 3, True, None]
    assert found["milestones"] == Counter({2: 1})
    assert found["pair"] == (1, {"a"})
    assert isinstance(found["state_dict"], OrderedDict)
    assert found["state_dict"]._metadata["1"] == {"version": 2}


def test_what_is_not_plain_is_named_before_anything_is_written(tmp_path: Path) -> None:
    writer = CheckpointWriter()
    with pytest.raises(TypeError, match=r"checkpoint\['callbacks'\]\['Mine'\]\[...\] is a pathlib\.\w+; state must be"):
        writer.save_checkpoint({"callbacks": {"Mine": [tmp_path]}}, tmp_path / "a.ckpt")
    writer.teardown()
    assert names(tmp_path) == []


def test_training_does_not_wait_for_the_disk_and_hears_of_its_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, original, at_once = threading.Event(), checkpoint_file.write, []

    def slow(*arguments: Any) -> None:
        at_once.append(arguments[1].name)
        assert free.wait(10)
        original(*arguments)

    monkeypatch.setattr(checkpoint_file, "write", slow)
    writer = CheckpointWriter()
    writer.save_checkpoint(content(1), tmp_path / "best.ckpt")
    writer.save_checkpoint(content(2), tmp_path / "last.ckpt")  # both come back while nothing has been written
    assert names(tmp_path) == []
    assert at_once == ["best.ckpt"]  # one write at a time
    writer.check()
    free.set()
    writer.join()
    assert (read(tmp_path / "best.ckpt")["step"], read(tmp_path / "last.ckpt")["step"]) == (1, 2)

    def broken(*_: Any) -> None:
        raise CheckpointFault("the disk is full")

    monkeypatch.setattr(checkpoint_file, "write", broken)
    writer.save_checkpoint(content(3), tmp_path / "last.ckpt")
    with pytest.raises(CheckpointFault, match="the disk is full"):
        writer.teardown()
    writer.teardown()  # said once
    assert read(tmp_path / "last.ckpt")["step"] == 2
