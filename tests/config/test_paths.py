"""Where config groups are."""

from __future__ import annotations

from pathlib import Path

import pytest

import medexp
from medexp.config import paths


def _leaf(path: str, text: str = "# mine\n") -> Path:
    leaf = Path("conf") / path
    leaf.parent.mkdir(parents=True, exist_ok=True)
    leaf.write_text(text)
    return leaf.absolute()


def test_a_checkouts_live_folder_wins_over_the_copy_in_the_package() -> None:
    assert paths.shipped() == Path(medexp.__file__).resolve().parents[1] / "conf"


def test_a_package_without_a_folder_beside_it_holds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "medexp").mkdir()
    monkeypatch.setattr(medexp, "__file__", str(tmp_path / "medexp" / "__init__.py"))
    assert paths.shipped() == tmp_path / "medexp" / "conf"


def test_no_conf_in_the_working_directory_or_the_shipped_one_is_nobodys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.own() is None
    monkeypatch.chdir(paths.shipped().parent)
    assert paths.own() is None
    assert paths.roots() == [paths.shipped()]


def test_own_leaves_add_to_and_shadow_the_shipped_ones() -> None:
    mine, unet = _leaf("model/mine.yaml"), _leaf("model/unet.yaml")
    _leaf("sampler/grid.yaml")
    found = paths.options("model")
    assert found["mine"] == mine
    assert found["unet"] == unet
    assert found["dynunet"] == paths.shipped() / "model" / "dynunet.yaml"
    assert {"sampler", "model", "experiment"} <= set(paths.groups())


def test_parts_and_hidden_folders_are_no_options() -> None:
    _leaf("model/_mine.yaml")
    _leaf(".ipynb_checkpoints/model.yaml")
    assert "_mine" not in paths.options("model")
    assert "_base" not in paths.options("dataset")
    assert ".ipynb_checkpoints" not in paths.groups()


def test_nested_options_carry_their_folder() -> None:
    assert "segmentation/hippocampus" in paths.options("experiment")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# A net (Me 2026)\n_target_: x\n", "A net (Me 2026)"),
        ("# @package _global_\n# medexp train experiment=x\n", "medexp train experiment=x"),
        ("_target_: x  # no headline\n", ""),
        ("", ""),
    ],
)
def test_the_summary_is_the_first_comment(text: str, line: str) -> None:
    assert paths.summary(_leaf("model/mine.yaml", text)) == line
