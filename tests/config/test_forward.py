"""Whether networks take whole images of the sizes that the data have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medexp.config import forward
from medexp.config.compose import compose, resolve
from medexp.errors import UserError
from medexp.run.train import start

WHOLE = ["experiment=segmentation/phantom", "dataset.patch_size=null", "model.channels=[4,8,8]", "model.strides=[2,2]"]


def config(*overrides: str) -> dict[str, Any]:
    return resolve(compose([*WHOLE, *overrides, "run_dir=run"]))


def test_a_size_that_strides_do_not_divide_is_answered_with_one_that_they_do() -> None:
    (problem,) = forward.of_whole_images(config(), [(24, 24, 16), (24, 26, 18)])
    assert problem.startswith(
        "dataset.patch_size: null, but whole images of 24x26x18 do not go through monai.networks.nets.UNet ("
    )
    assert problem.endswith("; set dataset.patch_size=[24,24,16]")
    assert not list(forward.of_whole_images(config("dataset.patch_size=[24,24,16]"), [(24, 24, 16)]))


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        ([], (24, 28, 16)),
        (["dataset.patch_size=[16,16,16]"], (24, 26, 18)),
        (["dataset.image_size=[16,16,16]"], (24, 26, 18)),
    ],
)
def test_sizes_that_fit_and_sizes_that_are_told_are_not_remarked_on(
    overrides: list[str], size: tuple[int, ...]
) -> None:
    assert not list(forward.of_whole_images(config(*overrides), [size]))


def test_what_no_size_mends_is_not_put_down_to_the_size() -> None:
    cfg = config()
    cfg["model"]["in_channels"] = 7
    assert not list(forward.of_whole_images(cfg, [(24, 24, 16)]))


def test_it_is_said_before_training_and_leaves_no_run(layouts: SimpleNamespace, tmp_path: Path) -> None:
    root, run = layouts.msd(tmp_path / "msd", classes=2), tmp_path / "run"
    where = ["dataset=msd", f"dataset.root={root}", "dataset.classes=[background,organ]", f"run_dir={run}"]
    with pytest.raises(UserError, match=r"whole images of 24x28x20 do not go .*; set dataset\.patch_size=\[24,24,16\]"):
        start([*WHOLE, *where, "model.channels=[4,8,8,8]", "model.strides=[2,2,2]"])
    assert not run.exists()
