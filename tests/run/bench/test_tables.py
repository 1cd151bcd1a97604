"""What `medexp bench` takes, prints and keeps."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medexp import cli
from medexp.run import bench
from medexp.run.bench import arguments, tables
from medexp.run.completion import candidates

FOUND = {"ours": 2.0, "theirs": 6.0}


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Parts that measure nothing; what each was asked for, by name."""
    asked: dict[str, dict[str, Any]] = {}

    def load(module: str) -> SimpleNamespace:
        name = module.rsplit(".", 1)[-1]

        def run(**options: Any) -> dict[str, float]:
            asked[name] = options
            return FOUND

        def rows(result: dict[str, float]) -> list[tables.Row]:
            ratio = result["theirs"] / result["ours"]
            return [(f"work of {name}", f"{result['ours']} s", f"{result['theirs']} s", f"{ratio:.1f}x")]

        part = SimpleNamespace(run=run, rows=rows)
        if name == "start":
            part.details = lambda result: ("imports", [("torch", "1.1 s")], ("package", "seconds"))
        return part

    monkeypatch.setattr(bench, "import_module", load)
    return asked


def test_a_part_prints_its_table_and_keeps_its_numbers(
    stubs: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["bench", "start", "--rounds", "2", "--json", str(tmp_path / "numbers.json")]) == 0
    assert stubs == {"start": {"rounds": 2}}
    shown = capsys.readouterr().out
    assert shown.startswith("start: ")
    assert all(text in shown for text in ("work of start", "2.0 s", "6.0 s", "3.0x", "imports", "torch", "1.1 s"))
    kept = json.loads((tmp_path / "numbers.json").read_text())
    assert (kept["what"], kept["start"]) == ("start", FOUND)
    assert {"date", "cpu", "gpu", "threads", "load", "torch", "monai", "medexp", "git"} <= set(kept["machine"])


def test_all_runs_every_part_in_fewer_rounds(stubs: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "all"]) == 0
    assert stubs == {name: {"rounds": 3} for name in bench.PARTS}
    shown = capsys.readouterr().out
    places = [shown.index(f"work of {name}") for name in bench.PARTS]
    assert places == sorted(places)


def test_options_reach_the_part_and_what_is_not_given_is_left_to_it(stubs: dict[str, Any]) -> None:
    assert cli.main(["bench", "step", "--model", "unet", "--workers", "2"]) == 0
    assert cli.main(["bench", "data", "--size", "90", "90", "80"]) == 0
    assert stubs == {"step": {"rounds": 5, "model": "unet", "workers": 2}, "data": {"rounds": 5, "size": [90, 90, 80]}}


def test_every_run_adds_a_line_to_a_jsonl_file(stubs: dict[str, Any], tmp_path: Path) -> None:
    trend = tmp_path / "trend.jsonl"
    for _ in range(2):
        assert cli.main(["bench", "ddp", "--json", str(trend)]) == 0
    assert [json.loads(line)["ddp"] for line in trend.read_text().splitlines()] == [FOUND, FOUND]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data", "--cases", "1"], "--cases: 1 is less than 2"),
        (["ddp", "--rounds", "0"], "--rounds: 0 is less than 1"),
        (["ddp", "--steps", "4"], "--steps: 4 is less than 5"),
        (["step", "--patch", "40"], "--patch: 40 is no multiple of 16"),
        (["step", "--workers", "-1"], "--workers: -1 is less than 0"),
        (["data", "--size", "200", "200", "64"], "--size: (200, 200, 64) is less than 80 voxels"),
        (["all", "--json", "nowhere/numbers.json"], "--json: nowhere is no folder"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_a_wrong_option_is_one_line_before_anything_runs(
    words: list[str], said: str, stubs: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *words]) == 2
    assert capsys.readouterr().err.startswith(f"medexp: {said}")
    assert stubs == {}


def test_an_unknown_part_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "steps"])
    assert "no choice 'steps'; did you mean 'step'?" in capsys.readouterr().err


def test_parts_are_offered_on_the_command_line_and_complete() -> None:
    assert tuple(arguments.TABLE) == (*bench.PARTS, "all")
    assert candidates(["bench", ""]) == [*bench.PARTS, "all"]
    assert candidates(["bench", "st"]) == ["step", "start"]


def test_the_headline_names_the_machine() -> None:
    where = {"gpu": ["Big GPU"], "cpu": {"name": "Small CPU"}, "threads": 1, "load": 0.25, "date": "2026-01-02"}
    assert tables.headline("step", where) == "step: Big GPU, Small CPU, 1 thread, load 0.2, 2026-01-02"
