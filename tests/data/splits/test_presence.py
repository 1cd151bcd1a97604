"""Labels of cases are read once, and again where the file or the code that reads it is another."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.splits import presence
from medexp.data.splits.presence import labels_of, read_by
from medexp.data.store.content import Contents


def write(path: Path, *values: int) -> Record:
    voxels = np.zeros((4, 5, 6), np.uint8)
    voxels.flat[: len(values)] = values
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return Record("a", (), path)


def test_labels_are_read_once_and_again_by_another_version_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, contents, preparation = write(tmp_path / "a.nii", 1, 3), Contents(tmp_path / "cache"), Preparation(3, 1)
    assert labels_of(record, preparation, contents) == [1, 3]
    contents.save()
    reads: list[str] = []
    read_label = Preparation.read_label

    def counted(self: Preparation, record: Record) -> object:
        reads.append(record.case_id)
        return read_label(self, record)

    monkeypatch.setattr(Preparation, "read_label", counted)
    assert labels_of(record, preparation, Contents(tmp_path / "cache")) == [1, 3]
    assert reads == []
    monkeypatch.setattr(presence, "read_by", lambda: "another version")
    assert labels_of(record, preparation, Contents(tmp_path / "cache")) == [1, 3]
    assert reads == ["a"]


def test_the_version_is_of_every_module_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(presence, "code_version", lambda *modules: asked.extend(modules) or "v")
    read_by.cache_clear()
    try:
        assert read_by() == "v"
    finally:
        read_by.cache_clear()
    assert {"medexp.data.images", "medexp.data.formats", "medexp.data.preparation.prepare"} <= set(asked)
