from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medexp.errors import UserError
from medexp.run import folder


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    folder.write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError):
        folder.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_run_started_in_the_same_second_gets_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "stamp", lambda: "now")
    first = folder.fresh("name", None)
    first.mkdir(parents=True)
    assert folder.fresh("name", None).name == "now_2"
    assert first == Path.cwd() / "outputs/name/now"


def test_a_moved_run_is_at_home_where_it_is(trained: dict[str, Any], tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "config.yaml").write_text((Path(trained["run_dir"]) / "config.yaml").read_text())
    cfg = folder.load(moved)
    assert cfg["run_dir"] == str(moved)
    assert cfg["callbacks"]["checkpoint"]["dirpath"] == str(moved / "checkpoints")


@pytest.mark.parametrize(
    ("content", "seen"), [(None, "not a run folder"), ("a: [", "not a"), ("a: 1", "not a resolved")]
)
def test_what_is_no_run_folder_is_said(content: str | None, seen: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=seen):
        folder.load(tmp_path)


def test_a_run_that_has_learnt_something_is_never_discarded(tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run" / folder.LAST).write_bytes(b"weights")
    folder.discard(tmp_path / "run")
    assert (tmp_path / "run" / folder.LAST).is_file()
    (tmp_path / "run" / folder.LAST).unlink()
    folder.discard(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_outside_of_git_there_is_no_commit() -> None:
    assert folder.git_state() is None
