"""Config to objects: class weights from the training split, weights from checkpoints, and what is said of wrong values."""

from __future__ import annotations

import logging
import zipfile
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR

from medexp import build
from medexp.data.module import DataModule
from medexp.data.preparation.prepare import Grid, Prepared
from medexp.data.store.entries import InMemory
from medexp.data.store.pack import pack
from medexp.errors import UserError
from medexp.losses.cross_entropy import CrossEntropy
from medexp.optim.schedule import Schedule
from medexp.tasks.classification import Classification


def data(target: str, classes: list[str], truths: list[Any]) -> DataModule:
    """A module whose training cases have these targets, or label maps."""
    module = DataModule(
        "data", lambda _: [], spatial_dims=2, in_channels=1, classes=classes, split=lambda *_, **__: {},
        provides="mask" if target == "mask" else "class", target=target,  # type: ignore[arg-type]
    )  # fmt: skip
    grid, image = Grid((2, 2), np.eye(4), (1.0, 1.0)), torch.zeros(1, 2, 2)
    for number, truth in enumerate(truths):
        label = torch.tensor(truth, dtype=torch.uint8)[None] if target == "mask" else None
        facts = {"case_id": str(number)} | ({} if target == "mask" else {"target": torch.tensor(truth)})
        module._cases.setdefault("train", []).append((facts, InMemory(*pack(Prepared(image, label, np.eye(4), grid)))))
    return module


ABC = ["a", "b", "c"]
LOSSES = {
    "index": (data("index", ABC, [[0]] * 6 + [[1]] * 3 + [[2]]), "weight", [10 / 18, 10 / 9, 10 / 3]),
    "mask": (data("mask", ABC, [[[0, 0], [0, 1]], [[0, 0], [2, 2]]]), "weight", [8 / 15, 8 / 3, 8 / 6]),
    "an absent class": (data("index", ABC, [[0], [0], [1]]), "weight", [0.5, 1.0, 1.0]),
    "binary": (data("binary", ["no", "yes"], [[0.0]] * 6 + [[1.0]] * 2), "pos_weight", [3.0]),
    "multilabel": (data("multilabel", ABC, [[1.0, 1.0, 0.0]] * 3 + [[1.0, 0.0, 0.0]]), "pos_weight", [0.0, 1 / 3, 4.0]),
}


@pytest.mark.parametrize(("module", "key", "wanted"), LOSSES.values(), ids=LOSSES)
def test_auto_weights_are_those_of_the_training_split(
    module: DataModule, key: str, wanted: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="medexp")
    node = {"_target_": "x", key: "auto", "other": 1}
    filled = build._with_weights(node, module)
    assert filled[key] == pytest.approx(wanted, abs=1e-6)
    assert filled["other"] == 1
    assert node[key] == "auto"  # the config says what the user said
    assert f"loss.{key}=auto, from the training split: {module.classes[-len(wanted)]} " in caplog.text


def test_weights_balance_the_classes() -> None:
    weights = build._with_weights({"weight": "auto"}, LOSSES["index"][0])["weight"]
    assert len({Fraction(w * n).limit_denominator(1000) for w, n in zip(weights, (6, 3, 1), strict=True)}) == 1


def test_inference_needs_no_training_split_for_auto_and_given_weights_stay() -> None:
    assert build._with_weights({"weight": "auto", "a": 1}, None) == {"weight": None, "a": 1}
    assert build._with_weights({"weight": [1, 2]}, None) == {"weight": [1, 2]}


def task(hidden: int = 3) -> Classification:
    return Classification(
        target="index", net=nn.Sequential(nn.Linear(2, hidden), nn.Linear(hidden, 2)), loss=CrossEntropy(),
        optimizer=partial(torch.optim.SGD, lr=0.1), scheduler=Schedule(partial(ConstantLR, factor=1.0), epochs=1),
        inferer=lambda image, net: net(image), metrics={}, out_channels=2, monitor="val/loss", mode="min",
    )  # fmt: skip


class Opens:
    """A pickle that would run code."""

    def __reduce__(self) -> Any:
        return (open, (str(Path("opened").absolute()), "w"))


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_weights_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    source, into = task(), task()
    build.load_weights(into, saved(tmp_path / "a.ckpt", {"state_dict": source.state_dict()}))
    assert all(map(torch.equal, source.state_dict().values(), into.state_dict().values()))


def refused(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build.load_weights(task(), path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_checkpoint_is_named_with_the_next_move(tmp_path: Path) -> None:
    refused(tmp_path / "gone.ckpt", "no such checkpoint; the run has not finished an epoch")


@pytest.mark.parametrize("hidden", [4, None], ids=["other widths", "other layers"])
def test_a_checkpoint_of_another_network_is_named(tmp_path: Path, hidden: int | None) -> None:
    other = task(hidden) if hidden else nn.Conv2d(1, 1, 1)
    refused(saved(tmp_path / "a.ckpt", {"state_dict": other.state_dict()}), "holds another network than the config")


def damaged(path: Path, size: int) -> Path:
    saved(path, {"state_dict": task().state_dict()})
    path.write_bytes(path.read_bytes()[:size])
    return path


@pytest.mark.parametrize("size", [0, 1, 100, 1000])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, size: int) -> None:
    refused(damaged(tmp_path / "a.ckpt", size), "not a readable checkpoint")


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "page.ckpt").write_text("<html>Sign in</html>")
    refused(tmp_path / "page.ckpt", "not a readable checkpoint")
    with zipfile.ZipFile(tmp_path / "zip.ckpt", "w") as archive:
        archive.writestr("a.txt", "a")
    refused(tmp_path / "zip.ckpt", "not a readable checkpoint")
    refused(tmp_path, "not a readable checkpoint")


def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    refused(
        saved(tmp_path / "a.ckpt", {"state_dict": task().state_dict(), "more": Opens()}), "not a readable checkpoint"
    )
    assert not Path("opened").exists()


@pytest.mark.parametrize(
    "content", [{"weights": {}}, [1, 2], torch.zeros(2), {"state_dict": [1, 2]}, {"state_dict": None}]
)
def test_a_file_without_weights_is_refused(tmp_path: Path, content: Any) -> None:
    refused(saved(tmp_path / "a.ckpt", content), "not a readable checkpoint|holds another network")


def test_what_a_constructor_says_of_a_value_is_one_line_with_its_target() -> None:
    with pytest.raises(UserError) as caught:
        build._make({"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 4, "kernel_size": 1, "groups": 2})
    assert str(caught.value).startswith("torch.nn.Conv2d: ValueError: in_channels must be divisible by groups")
    with pytest.raises(UserError, match=r"^torch\.nn\.Linear: TypeError: .*missing .*'out_features'"):
        build._make({"_target_": "torch.nn.Linear", "in_features": 3})


def test_a_users_mistake_found_by_a_constructor_is_said_as_it_is() -> None:
    with pytest.raises(UserError) as caught:
        build._make({"_target_": "medexp.inferers.whole.WholeImage", "divisible_by": 0})
    assert str(caught.value).startswith("inferer.divisible_by: got 0; allowed")


def test_a_node_inside_a_node_names_its_own_mistake() -> None:
    inner = {"_target_": "torch.nn.Linear", "in_features": 3}
    with pytest.raises(UserError, match="out_features"):
        build._make({"_target_": "torch.nn.Sequential", "_args_": [inner]})
