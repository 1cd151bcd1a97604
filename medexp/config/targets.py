"""Which code a config may name, and what its signature says. A config is untrusted input: only listed packages are imported."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medexp.errors import UserError, nearest

ALLOWED = (
    "medexp",
    "monai.data",
    "monai.inferers",
    "monai.losses",
    "monai.metrics",
    "monai.networks",
    "monai.optimizers",
    "monai.transforms",
    "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers",
    "pytorch_lightning.plugins",
    "pytorch_lightning.profilers",
    "pytorch_lightning.strategies",
    "pytorch_lightning.trainer",
    "torch.nn",
    "torch.optim",
    "torchmetrics",
)
REEXPORTED = {"pytorch_lightning.Trainer"}
# Where the code behind an allowed name may live, beside ALLOWED itself: a name that leads elsewhere (torch.load) is refused.
HOMES = ("lightning_fabric.plugins", "torch._C._nn")


def _within(name: str, prefixes: typing.Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _own_packages() -> list[str]:
    """Modules and packages in the working directory: the user's own code, plus what MEDEXP_ALLOW names (comma-separated)."""
    here = Path.cwd()
    names = [p.stem for p in here.glob("*.py")] + [
        p.name for p in here.iterdir() if p.is_dir() and p.name.isidentifier()
    ]
    return [*names, *filter(None, os.environ.get("MEDEXP_ALLOW", "").split(","))]


def locate(path: str) -> Callable[..., Any]:
    """The class or function at a dotted path. Raises UserError where it is not allowed, not there, or not callable."""
    own = _own_packages()
    if path not in REEXPORTED and not _within(path, [*ALLOWED, *own]):
        raise UserError(
            f"'{path}' is outside of what a config may name ({', '.join(sorted({a.split('.')[0] for a in ALLOWED}))}, "
            f"and modules in the working directory); name further packages in MEDEXP_ALLOW"
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    found = _import(path)
    home = getattr(found, "__module__", "") or ""
    if not callable(found) or not _within(home, [*ALLOWED, *HOMES, *own]):
        raise UserError(f"'{path}' is no class or function that a config may name")
    return found


def allowed(node: Any, where: str) -> None:
    """Raises UserError where a config that came from elsewhere (a run folder) names code that it may not."""
    if isinstance(node, dict):
        if "_target_" in node:
            try:
                locate(str(node["_target_"]))
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            allowed(child, where)


@cache
def _import(path: str) -> Any:
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and not _within(module_name, [error.name]):
                raise UserError(f"'{path}' needs the package '{error.name}', which is not installed") from None
            continue
        except Exception as error:  # the module's own fault: a SyntaxError in the user's file
            raise UserError(f"'{path}': importing {module_name} fails: {type(error).__name__}: {error}") from None
        for done, name in enumerate(parts[cut:], start=cut):
            if not hasattr(found, name):
                hint = nearest(name, [entry for entry in dir(found) if not entry.startswith("_")])
                raise UserError(f"'{path}': {'.'.join(parts[:done])} has no '{name}'{hint}")
            found = getattr(found, name)
            if name.startswith("__") or (
                inspect.ismodule(found) and done < len(parts) - 1
            ):  # `torch.nn.functional.torch.load` is no way around
                raise UserError(f"'{path}' passes through '{name}'; name the class or function where it is defined")
        return found
    raise UserError(f"'{path}': no module '{parts[0]}'")


@dataclass(frozen=True)
class Signature:
    """Arguments by name with their annotations; `open` where further keywords are swallowed unseen (**kwargs)."""

    hints: dict[str, Any]
    required: frozenset[str]
    open: bool


@cache
def signature(target: Callable[..., Any]) -> Signature:
    """The keyword arguments that a class or function takes; a class's **kwargs are followed into its bases."""
    hints: dict[str, Any] = {}
    required: set[str] = set()
    functions = [target]
    if inspect.isclass(target):
        own = [vars(cls)["__init__"] for cls in target.__mro__ if "__init__" in vars(cls) and cls is not object]
        functions = own or [target]
    for function in functions:
        annotations = _annotations(function)
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            return Signature(hints, frozenset(required), True)
        for parameter in parameters:
            if parameter.name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            hints.setdefault(parameter.name, annotations.get(parameter.name, Any))
            if parameter.default is parameter.empty and function is functions[0]:
                required.add(parameter.name)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return Signature(hints, frozenset(required), False)
    return Signature(hints, frozenset(required), not inspect.isclass(target))


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # an annotation that only a type checker can read: fall back to no type check of values
        return {}
