"""Where weights are read from: run folders, files of torch and safetensors, MONAI bundles, ImageNet weights of packages."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medexp.errors import UserError, nearest

Tensors = dict[str, Tensor]
PACKAGES = ("torchvision", "timm")  # named as torchvision:resnet18; needed by nobody who does not name them
BUNDLE = (
    "models/model.pt",
    "models/model.safetensors",
)  # of a MONAI bundle (docs.monai.io, "MONAI Bundle Specification")
# What checkpoints of common trainers call the network among optimizer, epoch and the like.
ENTRIES = ("state_dict", "model_state_dict", "model", "net", "network", "network_weights", "weights")
TEACHER = "learning.teacher."
UNTRAINED = "untrained"  # entry of our checkpoints: names of tensors that had no part in the training
KINDS = "a run folder, a .pt, .pth, .ckpt or .safetensors file, a MONAI bundle, torchvision:NAME or timm:NAME"


def read(source: str, checkpoint: str, entry: str | None) -> tuple[Tensors, str, frozenset[str]]:
    """All tensors of a source by their names there, on the CPU, the file or package that they are from, and the names of
    those that its training left as they were drawn (of a pretraining that learns an encoder: what comes after it).

    checkpoint: of a run folder, "best" or "last". entry: of a file with several networks, the one to take.
    Nothing but tensors and plain containers is unpickled. Raises UserError.
    """
    package, colon, name = source.partition(":")
    if colon and package in PACKAGES:
        return _of_package(package, name), source, frozenset()
    path = _file(Path(source).expanduser(), checkpoint)
    content = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    untrained = content.get(UNTRAINED, ()) if isinstance(content, Mapping) else ()
    return _predicting(_network(content, path, entry)), str(path), frozenset(map(str, untrained))


def _predicting(tensors: Tensors) -> Tensors:
    """Of a run with a teacher, which predicts there (medexp/learning), its weights in the place of the network's."""
    taught = {f"net.{key.removeprefix(TEACHER)}": value for key, value in tensors.items() if key.startswith(TEACHER)}
    return {key: value for key, value in (tensors | taught).items() if not key.startswith(TEACHER)}


def _file(path: Path, checkpoint: str) -> Path:
    """The file of weights that a path stands for."""
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"init.weights: {path} does not exist; allowed: {KINDS}")
    run = path / "checkpoints" / f"{checkpoint}.ckpt"
    candidates = [run, *(path / place for place in BUNDLE)]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is not None:
        return found
    if (path / "config.yaml").is_file():
        raise UserError(
            f"init.weights: {path} has no checkpoints/{checkpoint}.ckpt; choose init.checkpoint=best or last, or train it"
        )
    raise UserError(f"init.weights: {path} is neither a run folder nor a bundle with {BUNDLE[0]}; allowed: {KINDS}")


def _torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and zipfile raise many kinds for a broken or unsafe file
        said = (str(error) or type(error).__name__).splitlines()[0]
        hint = "save its state_dict alone" if "weights_only" in str(error) or "TorchScript" in str(error) else KINDS
        raise UserError(f"init.weights: {path} holds no weights that can be read safely: {said}; {hint}") from None


def _safetensors(path: Path) -> Tensors:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise UserError(f"init.weights: {path} needs the package safetensors: pip install safetensors") from None
    try:
        return dict(load_file(path))
    except Exception as error:  # of its own kind, where a header is broken
        raise UserError(f"init.weights: {path} is no safetensors file: {error}; allowed: {KINDS}") from None


def _network(content: Any, path: Path, entry: str | None) -> Tensors:
    """The tensors of one network out of whatever was saved with it."""
    if not isinstance(content, Mapping):
        raise UserError(f"init.weights: {path} holds a {type(content).__name__}, no tensors by name; allowed: {KINDS}")
    inside = {str(key): value for key, value in content.items() if _holds_tensors(value)}
    if entry is not None:
        if entry not in inside:
            known = f"{nearest(entry, list(inside)) or ';'} there are: {', '.join(inside) or 'none'}"
            raise UserError(f"init.entry: {path} has no weights '{entry}'{known}")
        return _tensors(inside[entry])
    if _holds_tensors(content):
        return _tensors(content)
    named = next((inside[key] for key in ENTRIES if key in inside), None)
    if named is None and len(inside) == 1:
        (named,) = inside.values()
    if named is None:
        seen = (
            f"holds several networks: {', '.join(inside)}; give init.entry=" if inside else f"holds no tensors; {KINDS}"
        )
        raise UserError(f"init.weights: {path} {seen}")
    return _tensors(named)


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(child, Tensor) for child in value.values())


def _tensors(named: Mapping[Any, Any]) -> Tensors:
    return {str(key): value for key, value in named.items() if isinstance(value, Tensor)}


def _of_package(package: str, name: str) -> Tensors:
    """Pretrained weights of a model of torchvision or timm, which these download and keep."""
    try:
        module = import_module("torchvision.models" if package == "torchvision" else "timm")
    except ModuleNotFoundError:
        raise UserError(
            f"init.weights: {package}:{name} needs the package {package}, which is not installed: "
            f"pip install {package}, or give a file of the weights"
        ) from None
    try:
        if package == "timm":
            return dict(module.create_model(name, pretrained=True).state_dict())
        return dict(module.get_model_weights(name).DEFAULT.get_state_dict(progress=False))
    except Exception as error:  # an unknown name, no network, no weights: in the package's own words
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"init.weights: {package} gives no weights for '{name}': {said}") from None
