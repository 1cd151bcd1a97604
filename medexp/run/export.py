"""`medexp export RUN`: a run's weights as a folder to give away, from which `medexp predict` works."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import save_file

from medexp import __version__, build
from medexp.callbacks.checkpoint_file import read
from medexp.config.targets import locate, signature
from medexp.errors import UserError
from medexp.run import folder, release
from medexp.run.card import card
from medexp.run.channels import channels
from medexp.run.given import inputs_alone

log = logging.getLogger(__name__)
Config = dict[str, Any]
TRAINING = (  # of a data set: where it is, who was in it, how it was drawn from
    *("root", "split", "store", "exclude", "limit", "balance", "foreground", "patch_size", "about"),
    *("labelled", "unlabelled", "draws", "slabs", "synthetic", "annotation"),
    *("num_workers", "timeout", "augment_on_device"),
)
LAYOUTS = tuple(  # that predict looks for: patterns and names of columns
    f"medexp.data.sources.{name}."
    for name in ("nifti_folder", "bids", "nnunet", "dicom", "object_masks", "studies", "visits", "table")
)
CITED = ("licence", "cite", "page")
PATH = re.compile(r"(~|/|[A-Za-z]:[\\/]).*", re.DOTALL)


def export(run: Path, output: Path, checkpoint: str = "best") -> Path:
    """Writes weights.safetensors, model.yaml and a README.md into `output`; returns it. Raises UserError.

    No path, case id or optimizer state is in them: a data set's place, split and exclusions are left out, and so is its
    source where it lists cases; other paths in the config are left out with a word.
    """
    if release.is_one(run):
        raise UserError(f"{run}: is a release already; give a run folder")
    cfg = folder.load(run)
    kept = [output / name for name in (release.MODEL, release.WEIGHTS, release.CARD) if (output / name).exists()]
    if kept:
        raise UserError(f"--output: {kept[0]} is there already; give another folder")
    task, source = build.task(cfg), folder.weights(run, checkpoint)
    build.load_weights(task, source)
    if task.learning is not None:  # of what was learnt, that which predicts
        task.net, task.learning = task.learning.predictor(task.net), None
    entries = task.state_dict().items()
    state = {k: v.detach().clone().contiguous() for k, v in entries if not k.startswith(task.learnt_with)}
    said = described(cfg, run, checkpoint)
    try:
        output.mkdir(parents=True, exist_ok=True)
        said["weights"] = {"checkpoint": checkpoint, "epoch": int(read(source)["epoch"]), **_save(state, output)}
        folder.write(output / release.CARD, card(said))
        folder.write(output / release.MODEL, OmegaConf.to_yaml(OmegaConf.create(said)))  # last: it makes the release
    except (OSError, SafetensorError) as error:
        raise UserError(f"--output: cannot write to {output} ({error}); give another folder") from None
    _verify(output, state)
    return output


def described(cfg: Config, run: Path, checkpoint: str) -> Config:
    """model.yaml, less the facts of the weights file."""
    about, made = cfg["dataset"].get("about") or {}, channels(cfg)  # with the names of what is left out below
    cfg = inputs_alone(cfg)
    dataset = {key: value for key, value in cfg["dataset"].items() if key not in TRAINING}
    if not str(dataset["source"].get("_target_")).startswith(LAYOUTS):
        del dataset["source"]
    model = {**cfg["model"], **({"pretrained": False} if cfg["model"].get("pretrained") else {})}
    trainer = {
        key: cfg["trainer"][key] for key in ("accelerator", "precision", "matmul_precision") if key in cfg["trainer"]
    }
    nodes = {"task": cfg["task"], "model": model, "inferer": cfg["inferer"], "dataset": dataset}
    if cfg.get("degradation"):  # says which channels the network takes and gives
        nodes["degradation"] = cfg["degradation"]
    test = {"test": cfg["metrics"]["test"]} if "test" in cfg["metrics"] else {}
    nodes = {key: _without_paths(node, key) for key, node in {**nodes, "metrics": test}.items()}
    return {
        "format": release.FORMAT,
        "name": cfg["name"],
        "versions": {"medexp": __version__, "torch": torch.__version__.partition("+")[0]},
        "seed": cfg["seed"],
        **nodes,
        "trainer": trainer,
        "channels": made,
        "data": {key: about[key] for key in CITED if about.get(key)},
        "results": _results(run, checkpoint),
    }


def _results(run: Path, checkpoint: str) -> Config:
    """Of summary.json where it is of these weights: how many cases, and numbers."""
    if not (run / folder.SUMMARY).is_file():
        return {}
    summary = folder.read_json(run / folder.SUMMARY)
    if summary.get("checkpoint") != checkpoint:
        log.warning(
            "%s is of another checkpoint (%s): the release holds no results", folder.SUMMARY, summary["checkpoint"]
        )
        return {}
    return {"part": summary["part"], "cases": summary["cases"], "metrics": _numbers(summary["metrics"])}


def _numbers(node: Any) -> Any:
    """Numbers by name; anything else might name a case."""
    if isinstance(node, dict):
        return {key: _numbers(child) for key, child in node.items() if isinstance(child, dict | int | float)}
    return node


def _without_paths(node: Any, place: str) -> Any:
    """Less arguments that are paths of this machine. Raises UserError where one cannot be left out."""
    if isinstance(node, list):
        return [_without_paths(child, f"{place}[{index}]") for index, child in enumerate(node)]
    if not isinstance(node, dict):
        if isinstance(node, str) and PATH.fullmatch(node):
            raise UserError(f"{place}: '{node}' is a path of this machine, which a release cannot hold")
        return node
    kept = {}
    needed = signature(locate(str(node["_target_"]))).required if "_target_" in node else frozenset(node)
    for key, child in node.items():
        if isinstance(child, str) and PATH.fullmatch(child) and key not in needed:
            log.info("%s.%s is a path and is left out", place, key)
        else:
            kept[key] = _without_paths(child, f"{place}.{key}")
    return kept


def _save(state: dict[str, torch.Tensor], output: Path) -> Config:
    path, part = output / release.WEIGHTS, output / f".{release.WEIGHTS}.part"
    save_file(state, part, metadata={"format": "pt"})
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    part.replace(path)
    return {"file": release.WEIGHTS, "sha256": digest, "values": sum(value.numel() for value in state.values())}


def _verify(output: Path, state: dict[str, torch.Tensor]) -> None:
    """What was written gives the same weights. Raises UserError where the config cannot be built without what was left out."""
    task = build.task(folder.load(output))
    build.load_weights(task, folder.weights(output, "best"))
    found = task.state_dict()
    if any(not torch.equal(found[key], value) for key, value in state.items()):
        raise UserError(f"{output}: does not give back the weights that went in; the disk is at fault, write it anew")
