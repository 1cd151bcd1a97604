"""metrics.csv is whole at every moment, and a run that goes on keeps its rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from medexp.callbacks.metrics_file import MetricsFile


class Killed(BaseException):
    """In the place of SIGKILL."""


def logger(folder: Path) -> MetricsFile:
    return MetricsFile(str(folder), name="", version="")


def lines(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()


def test_rows_and_columns_are_those_of_lightning(tmp_path: Path) -> None:
    from pytorch_lightning.loggers import CSVLogger

    for kind, name in ((MetricsFile, "ours"), (CSVLogger, "lightnings")):
        (tmp_path / name).mkdir()
        written: Any = kind(str(tmp_path / name), name="", version="")
        for step, values in enumerate(({"a": 1.0}, {"a": 2.0}, {"b": 0.5, "a": 3.0}, {"b": 0.25})):
            written.log_metrics(values, step)
            written.save()
    assert lines(tmp_path / "ours") == lines(tmp_path / "lightnings")


def test_a_kill_while_a_new_column_is_added_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = logger(tmp_path)
    written.log_metrics({"a": 1.0}, 0)
    written.save()
    before = lines(tmp_path)

    def killed(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(os, "replace", killed)
    written.log_metrics({"b": 2.0}, 1)
    with pytest.raises(Killed):
        written.save()
    assert lines(tmp_path) == before


def test_a_run_that_goes_on_keeps_the_rows_that_it_is_given_and_adds_to_them(tmp_path: Path) -> None:
    first = logger(tmp_path)
    for step in range(3):
        first.log_metrics({"a": float(step), "b": 0.5}, step)
    first.save()
    second = logger(tmp_path)
    assert second.experiment is not None
    assert len(lines(tmp_path)) == 4  # Lightning's own deletes them here
    second.experiment.put([{"a": "0.0", "b": "0.5", "step": "0"}])
    assert lines(tmp_path) == ["a,b,step", "0.0,0.5,0"]
    second.log_metrics({"a": 9.0}, 1)
    second.save()
    assert lines(tmp_path) == ["a,b,step", "0.0,0.5,0", "9.0,,1"]
    new = logger(tmp_path)
    new.log_metrics({"c": 1.0}, 0)
    new.save()
    assert lines(tmp_path) == ["c,step", "1.0,0"]  # a new run starts anew
