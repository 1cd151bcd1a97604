"""The bar is for eyes only."""

from __future__ import annotations

import sys

import pytest

from medexp.data import progress
from medexp.data.progress import track


def test_nothing_is_written_where_nobody_is_looking(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter([1, 2, 3]), 3, "reading")) == [1, 2, 3]
    assert capfd.readouterr() == ("", "")


def test_a_log_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = iter([0.0, 0.0, 20.0, 40.0, 60.0, 100.0])  # the start, then before each item
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level("INFO"):
        assert list(track(iter("abcde"), 5, "reading")) == list("abcde")
    assert [record.message for record in caplog.records] == ["reading: 2 of 5, left 1:00", "reading: 4 of 5, left 0:25"]


def test_a_terminal_shows_the_text_on_stderr_and_is_left_clean(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(track(iter([1, 2, 3]), 3, "reading")) == [1, 2, 3]
    out, error = capsys.readouterr()
    assert out == ""
    assert "reading" in error
