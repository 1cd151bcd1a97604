from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from medexp.run.sweep import sweep
from medexp.run.train import start
from medexp.run.wandb_results import pseudonym

BLOCK = 32768  # a LevelDB log (github.com/google/leveldb, doc/log_format.md) after 7 bytes of wandb's own


def records(path: Path) -> list[Any]:
    """What an offline run would send."""
    content, place, part, found = path.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        part += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            found.append(Record.FromString(part))
            part = b""
    return found


def finished(path: Path) -> list[Any]:
    """The records once the last is there: wandb's own process writes the file, and may do so after `finish` returns."""
    for _ in range(100):
        found = records(path)
        if any(record.HasField("exit") for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} was never finished")


def items(found: list[Any], kind: str, field: str) -> dict[str, Any]:
    """The last value of every key."""
    entries = [item for record in found if record.HasField(kind) for item in getattr(getattr(record, kind), field)]
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in entries}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture
def logged(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    start([*tiny, "figures=2", "logger=wandb", "logger.wandb.tags=[phantom]", f"run_dir={tmp_path / 'run'}"])
    return tmp_path / "run"


def test_an_offline_run_holds_values_pictures_and_a_table_but_no_patients(logged: Path, phantom_2d: Path) -> None:
    (path,) = logged.glob("wandb/offline-run-*/*.wandb")
    found = finished(path)
    (run,) = [record.run for record in found if record.HasField("run")]
    assert (run.project, run.display_name, list(run.tags), run.host) == (
        "medexp",
        "segmentation/phantom_2d",
        ["phantom"],
        "",
    )
    config = items(found, "config", "update")
    assert config["model"]["channels"] == [4, 8]
    assert config["seed"] == 0
    history = items(found, "history", "item")
    assert {"train/loss", "val/loss", "val/dice", "lr"} <= history.keys()
    summary = items(found, "summary", "update")
    assert summary["test/dice"] == pytest.approx(
        json.loads((logged / "summary.json").read_text())["metrics"]["dice"]["mean"]
    )
    assert any(record.HasField("exit") and record.exit.exit_code == 0 for record in found)
    for number in (1, 2):
        assert history[f"test/case_{number}/_type"] == "image-file"
        for mask in ("ground truth", "prediction"):
            assert any(key.startswith(f"test/case_{number}/masks/{mask}") for key in history)
    assert wandb.run is None  # finished: the next run of this process gets one of its own

    (table,) = path.parent.rglob("*.table.json")
    shown = json.loads(table.read_text())
    real = pd.read_csv(logged / "per_case.csv")
    assert [row[0] for row in shown["data"]] == [pseudonym(case, logged) for case in real["case_id"]]
    assert [row[1] for row in shown["data"]] == pytest.approx(real["dice"].tolist())
    files = [path, *(file for file in (path.parent / "files").rglob("*") if file.is_file())]
    sent = b"".join(file.read_bytes() for file in files)
    secrets = [*pd.read_csv(phantom_2d / "cases.csv")["case_id"], str(phantom_2d), str(logged)]
    assert [text for text in secrets if text.encode() in sent] == []


def test_a_table_of_cases_is_a_pseudonym_a_run(tmp_path: Path) -> None:
    assert pseudonym("p1", tmp_path / "a") == pseudonym("p1", tmp_path / "a")
    assert pseudonym("p1", tmp_path / "a") != pseudonym("p1", tmp_path / "b")
    assert pseudonym("p1", tmp_path / "a") != pseudonym("p2", tmp_path / "a")


@pytest.mark.slow
def test_each_job_of_a_sweep_is_a_finished_run_of_one_group(tiny: list[str], tmp_path: Path) -> None:
    options = ["logger=wandb", "seed=0,1", "trainer.max_epochs=1", f"run_dir={tmp_path / 'sweep'}"]
    assert sweep([*tiny, *options]) == 0
    runs = [finished(path) for path in sorted((tmp_path / "sweep").glob("*/wandb/offline-run-*/*.wandb"))]
    assert len(runs) == 2
    told = [next(record.run for record in run if record.HasField("run")) for run in runs]
    assert len({run.run_id for run in told}) == 2
    assert {run.run_group for run in told} == {f"{tmp_path.name}/sweep"}
    assert [run.display_name for run in told] == ["000_seed=0", "001_seed=1"]
    assert all(any(record.HasField("exit") for record in run) for run in runs)
