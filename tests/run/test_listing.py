"""`medexp list`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medexp.config import paths
from medexp.errors import UserError
from medexp.run.listing import options, show


def test_every_option_has_its_line() -> None:
    for group, leaves in options([]).items():
        for name, line in leaves.items():
            assert line, f"{group}/{name}"


@pytest.mark.parametrize("word", ["model", "models", "modeles"])
def test_a_plural_is_understood(word: str) -> None:
    assert list(options([word])) == ["model"]
    assert options([word])["model"]["dynunet"] == "nnU-Net's network with deep supervision (Isensee 2021); segmentation"


def test_text_holds_groups_and_aligned_lines() -> None:
    blocks = show(["loss", "optimizer"], as_json=False).split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == ["loss", "optimizer"]
    lines = [line for block in blocks for line in block.splitlines()[1:]]
    width = max(len(name) for group in ("loss", "optimizer") for name in paths.options(group))
    assert all(line[width + 2 : width + 4] == "  " and line[width + 4] != " " for line in lines)


def test_json_is_the_same_for_machines() -> None:
    assert json.loads(show(["model"], as_json=True)) == options(["model"])


def test_own_leaves_are_listed() -> None:
    leaf = Path("conf/model/mine.yaml")
    leaf.parent.mkdir(parents=True)
    leaf.write_text("# My net\n_target_: mylab.nets.Mine\n")
    assert options(["model"])["model"]["mine"] == "My net"


def test_an_unknown_group_names_the_near_match_and_all_groups() -> None:
    with pytest.raises(
        UserError, match=r"no config group 'modle'; did you mean 'model'\? groups: augmentation, callbacks"
    ):
        options(["modle"])
    with pytest.raises(UserError, match="no config group 'zzz'; groups: "):
        options(["zzz"])
