from __future__ import annotations

from pathlib import Path

import pytest

from medexp.cli import main


def test_a_sound_data_set_is_said_to_be_so_and_nothing_is_written(
    tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *tiny]) == 0
    out = capsys.readouterr().out
    assert "config: sound" in out
    assert "10 train, 2 val, 2 test cases of 12 patients" in out
    assert not Path("outputs").exists()


def test_every_problem_of_a_config_is_listed(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *tiny, "model.chanels=[4]", "optimizer.lrr=1"]) == 2
    error = capsys.readouterr().err
    assert "2 problems in experiment=segmentation/phantom_2d" in error
    assert "did you mean 'channels'" in error
    assert "optimizer.lrr" in error
