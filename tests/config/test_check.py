"""Every key of every node held against the signature that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from layouts.configs import problems

from medexp.config.check import check
from medexp.config.compose import compose, resolve
from medexp.errors import Faults


def _one(*overrides: str) -> str:
    (problem,) = problems(*overrides)
    return problem


def test_the_default_is_sound() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    "override", ["model.dropout=0.1", "model.norm=batch", "optimizer.amsgrad=true", "trainer.deterministic=warn"]
)
def test_any_argument_of_the_signature_may_be_given(override: str) -> None:
    assert problems(override) == []


def test_an_argument_that_is_taken_from_another_key_names_that() -> None:
    found = _one("inferer=sliding_window", "dataset.patch_size=null")
    assert found.startswith("inferer.roi_size: None is not ")
    assert found.endswith("; it is taken from dataset.patch_size, which is null: set that")


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("model.chanels=[1]", "model.chanels: monai.networks.nets.UNet has no such argument; did you mean 'channels'"),
        (
            "trainer.max_epoch=3",
            "trainer.max_epoch: medexp.trainer.Trainer has no such argument; did you mean 'max_epochs'",
        ),
        (
            "dataset.split.vall=0.1",
            "dataset.split.vall: medexp.data.splits.make_split has no such argument; did you mean 'val'?",
        ),
        (
            "dataset.source.spatial_dim=2",
            "dataset.source.spatial_dim: medexp.data.sources.phantom.records has no such argument",
        ),
        (
            "scheduler.schedule.etamin=1",
            "scheduler.schedule.etamin: torch.optim.lr_scheduler.CosineAnnealingLR has no such",
        ),
        (
            "metrics.validation.dice.classes=4",
            "metrics.validation.dice.classes: medexp.metrics.dice.CaseDice has no such argument",
        ),
        ("metrics.tests.x=4", "metrics.tests: no such key; did you mean 'test'? allowed: validation, test"),
        ("metrics.validation=3", "metrics.validation: 3 is no mapping of names to metrics"),
        ("optimizer.lr=abc", "optimizer.lr: 'abc' is not float | torch.Tensor"),
        ("model.channels=abc", "model.channels: 'abc' is not Sequence[int]"),
        ("model.channels=[16,wide]", "model.channels: [16, 'wide'] is not Sequence[int]"),
        ("trainer.max_epochs=abc", "trainer.max_epochs: 'abc' is not Optional[int]"),
        ("dataset.batch_size=2.5", "dataset.batch_size: 2.5 is not int"),
        ("dataset.classes=liver", "dataset.classes: 'liver' is not Sequence[str]"),
        ("dataset.spatial_dims=4", "dataset.spatial_dims: 4 is not Literal[2, 3]"),
        ("dataset.split=3", "dataset.split: 3 is not Callable"),
        ("scheduler.schedule=null", "scheduler.schedule: None is not Callable"),
        ("task.net=3", "task.net: is set by medexp itself; leave it out"),
        ("trainer.default_root_dir=x", "trainer.default_root_dir: is set by medexp itself; leave it out"),
        ("~model.channels", "model.channels: missing; monai.networks.nets.UNet needs it"),
        ("~dataset.root", "dataset.root: missing; medexp.data.module.DataModule needs it"),
        ("optimizer._partial_=false", "optimizer.params: missing; torch.optim.AdamW needs it"),
        ("~model", "model: names no class (_target_) for the model; choose an option of the group (`medexp list`)"),
        ("callbacks.mine=3", "callbacks.mine: names no class (_target_) for the callback"),
        ("mode=best", "mode: 'best' is not one of max, min"),
    ],
)
def test_a_fault_is_named_with_its_key_at_any_depth(override: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in problems(override)), problems(override)


PHANTOM, PRETRAINING = "experiment=segmentation/phantom_2d", "experiment=pretraining/phantom_presence_2d"
PIX2PIX, CYCLE = "experiment=translation/phantom_pix2pix", "experiment=translation/phantom_cyclegan"


@pytest.mark.parametrize(
    ("experiment", "override", "found"),
    [
        (PIX2PIX, "task.weight=nan", "task.weight: nan"),
        (PIX2PIX, "task.weight=inf", "task.weight: inf"),
        (CYCLE, "task.cycle=nan", "task.cycle: nan"),
        ("experiment=diffusion/mednist", "task.guidance=nan", "task.guidance: nan"),
        (PRETRAINING, "loss.temperature=nan", "loss.temperature: nan"),
        ("experiment=anomaly/phantom_2d", "task.kl=nan", "task.kl: nan"),
        ("experiment=semi_supervised/phantom_2d", "learning.weight=nan", "learning.weight: nan"),
        ("experiment=semi_supervised/phantom_2d", "learning.weight=-inf", "learning.weight: -inf"),
        ("experiment=semi_supervised/phantom_2d", "dataset.labelled=nan", "dataset.labelled: nan"),
        (PHANTOM, "optimizer.lr=inf", "optimizer.lr: inf"),
        (PHANTOM, "++optimizer.betas=[0.9,nan]", "optimizer.betas[1]: nan"),
        (
            "experiment=segmentation/phantom",
            "++dataset.slabs={_target_: medexp.data.slabs.Slabs, shares: [nan, 0.2, 0.2]}",
            "dataset.slabs.shares[0]: nan",
        ),
    ],
)
def test_a_number_that_is_none_is_named(experiment: str, override: str, found: str) -> None:
    assert f"{found} is no finite number; give one" in problems(experiment, override)


def test_classes_of_ones_own_may_know_what_infinity_is() -> None:
    Path("mylab_norms").mkdir()
    Path("mylab_norms/losses.py").write_text(
        "from torch import nn\n\n\nclass Norm(nn.L1Loss):\n    def __init__(self, order: float) -> None:\n"
        "        super().__init__()\n"
    )
    own = ["loss=mae", "loss._target_=mylab_norms.losses.Norm", "+loss.order=inf"]
    assert problems(PHANTOM, *own) == []


def test_all_problems_are_reported_at_once_under_a_headline() -> None:
    cfg = resolve(
        compose(["model.chanels=3", "optimizer.lr=abc", "callbacks.checkpoint.monitor=val/dise", "run_dir=run"])
    )
    with pytest.raises(Faults) as caught:
        check(cfg, "experiment=mine")
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 problems in experiment=mine"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  model.chanels",
        "  optimizer.lr",
        "  callbacks.checkpoint.monitor",
    ]
    assert "'val/dise' is not logged; did you mean 'val/dice'" in lines[3]


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("model._target_=os.system", "model._target_"),
        ("model.act={_target_:os.system}", "model.act._target_"),
        ("model._args_=[{_target_:os.system}]", "model._args_[0]._target_"),
        ("callbacks.mine._target_=os.system", "callbacks.mine._target_"),
        (
            "+logger.mine={_target_:pytorch_lightning.loggers.CSVLogger,save_dir:{_target_:os.system}}",
            "logger.mine.save_dir._target_",
        ),
        ("metrics.validation.x._target_=os.system", "metrics.validation.x._target_"),
        ("dataset.normalize._target_=os.system", "dataset.normalize._target_"),
        ("optimizer.betas=[{_target_:os.system},0.9]", "optimizer.betas[0]._target_"),
        ("trainer.plugins=[{_target_:os.system}]", "trainer.plugins[0]._target_"),
    ],
)
def test_code_that_is_not_allowed_is_found_wherever_it_hides(override: str, path: str) -> None:
    assert f"{path}: 'os.system' is outside of what a config may name" in _one(override)


def test_a_mistyped_key_in_a_users_yaml_is_found() -> None:
    leaf = Path("conf/experiment/mine.yaml")
    leaf.parent.mkdir(parents=True)
    leaf.write_text("# @package _global_\n# mine\ndataset:\n  split:\n    tset: 0.1\n")
    problem = _one("experiment=mine")
    assert problem == "dataset.split.tset: medexp.data.splits.make_split has no such argument; did you mean 'test'?"


def test_own_classes_are_held_against_their_signature_too() -> None:
    Path("mylab_check").mkdir()
    Path("mylab_check/nets.py").write_text(
        "from torch import nn\n\n\nclass Mine(nn.Conv3d):\n    def __init__(self, width: int, out_channels: int) -> None:\n"
        "        super().__init__(1, out_channels, 2 * width + 1, padding=width)\n"
    )
    leaf = Path("conf/model/mine.yaml")
    leaf.parent.mkdir(parents=True)
    leaf.write_text("# Mine\n_target_: mylab_check.nets.Mine\nwidth: 1\nout_channels: ${task.out_channels}\n")
    assert problems("model=mine") == []
    assert (
        _one("model=mine", "model.witdh=3")
        == "model.witdh: mylab_check.nets.Mine has no such argument; did you mean 'width'?"
    )


def test_a_check_changes_nothing() -> None:
    first: dict[str, Any] = resolve(compose(["run_dir=run"]))
    check(first, "x")
    assert first == resolve(compose(["run_dir=run"]))
