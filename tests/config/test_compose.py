"""Composition: names and overrides in, one resolved config out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from medexp.config import compose as composition
from medexp.config import paths
from medexp.config.compose import compose, load, parse, resolve
from medexp.errors import Faults, UserError


def _resolved(*overrides: str) -> dict[str, Any]:
    return resolve(compose([*overrides, "run_dir=run"]))


def _refusal(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        _resolved(*overrides)
    if not isinstance(caught.value, Faults):
        assert "\n" not in str(caught.value)
    return str(caught.value)


def _write(path: str, text: str) -> None:
    leaf = Path("conf") / path
    leaf.parent.mkdir(parents=True, exist_ok=True)
    leaf.write_text(text)


def test_the_default_composes_with_facts_stated_once() -> None:
    cfg = _resolved()
    assert set(cfg) == set(composition.root_keys())
    assert cfg["name"] == "default"
    assert cfg["run_dir"] == "run"
    assert cfg["model"]["_target_"] == "monai.networks.nets.UNet"
    assert cfg["model"]["out_channels"] == len(cfg["dataset"]["classes"]) == 4
    assert cfg["model"]["spatial_dims"] == cfg["dataset"]["spatial_dims"] == 3
    assert cfg["monitor"] == "val/dice"
    assert cfg["callbacks"]["checkpoint"]["dirpath"] == "run/checkpoints"


def test_the_metrics_follow_the_task() -> None:
    cfg = _resolved("task=classification_binary", "dataset=phantom_presence")
    assert set(cfg["metrics"]["validation"]) == {"accuracy", "auroc", "f1"}


def test_an_experiment_names_the_run_unless_the_user_does() -> None:
    cfg = _resolved("experiment=segmentation/hippocampus")
    assert cfg["name"] == "segmentation/hippocampus"
    assert cfg["dataset"]["classes"] == ["background", "anterior", "posterior"]
    assert _resolved("experiment=segmentation/hippocampus", "name=trial")["name"] == "trial"


def test_overrides_of_the_command_line_win_over_the_experiment() -> None:
    cfg = _resolved("experiment=segmentation/hippocampus", "model=segresnet", "optimizer.lr=0.5", "seed=3")
    assert cfg["model"]["_target_"] == "monai.networks.nets.SegResNet"
    assert cfg["optimizer"]["lr"] == 0.5
    assert cfg["seed"] == 3


def test_a_dotted_override_adds_what_the_leaf_does_not_list() -> None:
    assert _resolved("model.norm=batch", "dataset.split.seed=3")["model"]["norm"] == "batch"


@pytest.mark.parametrize("group", ["logger", "callbacks", "experiment", "debug"])
def test_null_leaves_a_group_out(group: str) -> None:
    assert not _resolved(f"{group}=null").get(group)


def test_own_conf_adds_options_and_experiments() -> None:
    _write("model/mine.yaml", "# Mine\n_target_: mylab.nets.Mine\nwidth: 3\n")
    _write(
        "experiment/trial.yaml",
        "# @package _global_\n# medexp train experiment=trial\ndefaults:\n  - override /model: mine\nseed: 7\n",
    )
    cfg = _resolved("experiment=trial")
    assert cfg["model"] == {"_target_": "mylab.nets.Mine", "width": 3}
    assert (cfg["name"], cfg["seed"]) == ("trial", 7)


def test_own_conf_shadows_the_shipped_leaf_and_may_stand_on_shipped_parts() -> None:
    _write("optimizer/adamw.yaml", "# Mine\n_target_: torch.optim.AdamW\n_partial_: true\nlr: 0.25\n")
    _write("dataset/mine.yaml", "# Mine\ndefaults:\n  - phantom\nbatch_size: 3\n")
    cfg = _resolved("dataset=mine")
    assert cfg["optimizer"] == {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.25}
    assert cfg["dataset"]["batch_size"] == 3
    assert cfg["dataset"]["classes"] == ["background", "liver", "kidney", "lesion"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model=dynunett", "model=dynunett: no such option; did you mean 'dynunet'"),
        ("experiment=segmentation/hipocampus", "did you mean 'segmentation/hippocampus'"),
        ("loss=zzzz", "loss=zzzz: no such option; options: barlow_twins, bce, "),
        ("modle=unet", "modle: no such key; did you mean 'mode' or 'model'?"),
        ("sed=3", "sed: no such key; did you mean 'seed'?"),
        ("+sed=3", "sed: no such key; did you mean 'seed'?"),
        ("++sed=3", "sed: no such key; did you mean 'seed'?"),
        ("optimiser.lr=3", "optimiser: no such key; did you mean 'optimizer'?"),
        ("zzzz=3", "zzzz: no such key; known: augmentation, cache_dir, callbacks"),
        ("seed=abc", "seed=abc: Value 'abc' of type 'str' could not be converted to Integer"),
        ("seed=null", "seed=null: field 'seed' is not Optional"),
        ("figures=many", "figures=many: Value 'many'"),
        ("model", "override 'model' cannot be read (missing EQUAL at '<EOF>'); write key=value"),
        (
            "dataset.source.images=[t1/{case}.nii.gz,flair/{case}.nii.gz]",
            """'dataset.source.images=["t1/{case}.nii.gz","flair/{case}.nii.gz"]'""",
        ),
        ("dataset.source.label=lab/{case}.nii.gz", "\"dataset.source.label='lab/{case}.nii.gz'\""),
        ("optimizer.lr=[1", "values with special characters need quotes of their own"),
        ("model=unet,dynunet", "model=unet,dynunet: several values; run them all with `medexp train -m`"),
        ("model={channels:3}", "name an option (`medexp list model`), or give its keys one by one: model.KEY=VALUE"),
        ("model=3", "model=3: name an option (`medexp list model`)"),
        ("model.in_channels=${dataset.nope}", "model.in_channels: Interpolation key 'dataset.nope' not found"),
        ("model.in_channels=${nope:3}", "model.in_channels: Unsupported interpolation type nope"),
        ("model.in_channels=${model.in_channels}", "model.in_channels: Recursive interpolation detected"),
        ("model.in_channels=${oc.env:NOPE}", "Environment variable 'NOPE' not found"),
        ("~dataset", "Interpolation key 'dataset.classes' not found"),
    ],
)
def test_what_cannot_be_composed_is_said_in_one_line(override: str, said: str) -> None:
    assert said in _refusal(override)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("dataset.source.images=[t1/{case}.nii.gz, flair/{case}.nii.gz]", ["t1/{case}.nii.gz", "flair/{case}.nii.gz"]),
        ("dataset.source.images=['t1/{case}.nii.gz',flair/{case}.nii.gz]", ["t1/{case}.nii.gz", "flair/{case}.nii.gz"]),
        ("dataset.source.label=lab/{case}.nii.gz", "lab/{case}.nii.gz"),
    ],
)
def test_the_quotes_that_are_advised_mend_it(override: str, value: object) -> None:
    (word,) = shlex.split(_refusal(override).split("quotes of their own: ")[1])
    assert parse([word])[0].value() == value


@pytest.mark.parametrize(
    "override", ["hydra.run.dir=x", "hydra/launcher=basic", "+hydra.job.num=1", "~hydra", "hydra=x"]
)
def test_hydras_own_keys_are_refused_with_the_reason(override: str) -> None:
    assert "medexp keeps its own run folders; use run_dir=PATH (one run) or name=NAME" in _refusal(override)


def test_all_missing_values_are_asked_for_at_once() -> None:
    said = _refusal("dataset=csv", "task=classification")
    assert said.splitlines()[0] == "3 values are missing"
    for key in ("dataset.root", "dataset.classes", "dataset.image_size"):
        assert f"  {key}: has no value yet; give {key}=..." in said.splitlines()


def test_one_missing_value_is_one_line() -> None:
    said = _refusal("dataset=image_folder", "dataset.root=x", "dataset.image_size=[8,8]")
    assert said == "dataset.classes: has no value yet; give dataset.classes=..."


@pytest.mark.parametrize("task", ["translation", "autoencoder", "diffusion", "gan", "pretrain_contrastive"])
def test_what_learns_from_images_alone_needs_no_classes(task: str) -> None:
    cfg = _resolved(f"task={task}", "dataset=nifti_folder", "dataset.root=x")
    assert cfg["dataset"]["classes"] == []
    assert _resolved(f"task={task}", "dataset=nifti_folder", "dataset.root=x", "dataset.classes=[a]")["dataset"][
        "classes"
    ] == ["a"]


@pytest.mark.parametrize(
    ("leaf", "text", "said"),
    [
        ("experiment/mine.yaml", "# @package _global_\ntraner:\n  max_epochs: 3\n", "'trainer'"),
        ("experiment/mine.yaml", "# @package _global_\ndefaults:\n  - override /modle: unet\n", "modle"),
        ("experiment/mine.yaml", "# @package _global_\ndefaults:\n  - override /model: unett\n", "'unet'"),
        ("experiment/mine.yaml", "# @package _global_\nseed: abc\n", "Value 'abc'"),
        ("experiment/mine.yaml", "# @package _global_\nmodel: [1\n", "mine.yaml"),
        ("experiment/mine.yaml", "# @package _global_\n- 1\n", "experiment/mine"),
    ],
)
def test_a_fault_in_a_users_yaml_fails_at_composition(leaf: str, text: str, said: str) -> None:
    _write(leaf, text)
    assert said in _refusal("experiment=mine")


def test_an_override_that_cannot_be_read_is_named() -> None:
    with pytest.raises(UserError, match=r"override 'a b=\[' cannot be read"):
        parse(["seed=1", "a b=["])


def test_a_written_config_is_read_back() -> None:
    cfg = _resolved()
    Path("config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(cfg)))
    assert load(Path("config.yaml")) == cfg


@pytest.mark.parametrize(
    ("text", "said"), [("a: 1\n", "not a resolved medexp config"), ("a: [1\n", "not a medexp config")]
)
def test_a_foreign_config_is_refused(text: str, said: str) -> None:
    Path("config.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        load(Path("config.yaml"))


def test_a_folder_without_a_config_is_no_run() -> None:
    with pytest.raises(UserError, match="not a run folder"):
        load(Path("nothing/config.yaml"))


def test_composition_leaves_no_state_behind() -> None:
    assert _resolved("model=dynunet") != _resolved()
    assert _resolved() == _resolved()
    assert paths.own() is None


@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("val/dice", "max"), ("train/loss", "min")])
def test_the_mode_follows_what_is_monitored(monitor: str, mode: str) -> None:
    assert resolve(compose([f"monitor={monitor}", "run_dir=run"]))["mode"] == mode
