"""What a thing is, as text: the same in every process, another as soon as one argument or the code behind it changes.

A key of prepared cases must tell two preparations apart exactly where they could make different cases. So values are
spelled out in full, objects by their class and state, and code by the version of its package or, where somebody edits
it, by its source.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import importlib.util
import io
import random
import sys
import sysconfig
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medexp.errors import UserError

# modules of medexp.data that make a prepared case
COMPOSE = "monai.transforms.compose.Compose"
INSTALLED = ("site-packages", "dist-packages")
PLAIN = (type(None), bool, int, float, complex, str, bytes)
NAMED = (type, types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, np.ufunc)
RANDOM = (np.random.RandomState, np.random.Generator, random.Random, torch.Generator)


def identity(thing: object, key: str = "preparation") -> str:
    """Everything that makes `thing` what it is, in one line.

    Numbers (floats exactly), texts, collections, arrays and tensors (a hash of their bytes), classes, functions and
    objects with all their state; dictionaries and sets in no particular order. key: where the thing stands in the
    config. Raises UserError naming the key for what cannot be identified (open files, generators) or draws at random.
    """
    return _Spelling().of(thing, key)


def code_version(*modules: str | types.ModuleType) -> str:
    """Hash of the source of modules and whole packages. Raises UserError where one has none."""
    hasher = hashlib.blake2b(digest_size=16)
    for path in (path for module in modules for path in _sources(module)):
        content = path.read_bytes()
        hasher.update(f"{path.name} {len(content)}\n".encode() + content)
    return hasher.hexdigest()


def _sources(module: str | types.ModuleType) -> list[Path]:
    spec = importlib.util.find_spec(module) if isinstance(module, str) else module.__spec__
    if spec is not None and spec.submodule_search_locations:
        return sorted(path for folder in spec.submodule_search_locations for path in Path(folder).rglob("*.py"))
    origin = getattr(module, "__file__", None) or (spec and spec.origin)
    if not origin or not Path(origin).is_file():
        raise UserError(f"{module}: its source cannot be found; install the package unpacked")
    return [Path(origin)]


@dataclass
class _Spelling:
    """One walk through a thing. open: ids of the objects that it is within, so that a cycle ends."""

    open: list[int] = field(default_factory=list)

    def of(self, thing: Any, key: str) -> str:
        if type(thing) in PLAIN:
            return repr(thing)
        if id(thing) in self.open:
            return f"<the object {len(self.open) - self.open.index(id(thing))} above>"
        self.open.append(id(thing))
        try:
            return self._compound(thing, key)
        finally:
            self.open.pop()

    def _compound(self, thing: Any, key: str) -> str:
        if type(thing) in (list, tuple):
            opening, closing = "[]" if type(thing) is list else "()"
            return opening + ", ".join(self.of(value, f"{key}[{i}]") for i, value in enumerate(thing)) + closing
        if type(thing) is dict:
            return "{" + self._pairs(thing.items(), key) + "}"
        if isinstance(thing, set | frozenset):
            return f"{type(thing).__name__}{{{', '.join(sorted(self.of(value, key) for value in thing))}}}"
        if isinstance(thing, enum.Enum):
            return f"{_code(type(thing), key)}.{thing.name}"
        if isinstance(thing, np.ndarray | np.generic | Tensor):
            return self._array(thing, key)
        if isinstance(thing, Path):
            return self._file(thing, key)
        if isinstance(thing, functools.partial):
            return f"partial({self.of((thing.func, thing.args, thing.keywords), key)})"
        if isinstance(thing, types.FunctionType):
            return self._function(thing, key)
        if isinstance(thing, types.MethodType | types.BuiltinMethodType) and not isinstance(
            thing.__self__, type | types.ModuleType | None
        ):
            return f"{self.of(thing.__self__, key)}.{thing.__name__}"
        if isinstance(thing, NAMED):
            return _code(thing, key)
        return self._object(thing, key)

    def _pairs(self, items: Iterable[tuple[Any, Any]], key: str) -> str:
        spelled = ((self.of(name, key), self.of(value, f"{key}.{name}")) for name, value in items)
        return ", ".join(f"{name}: {value}" for name, value in sorted(spelled))

    def _array(self, thing: Any, key: str) -> str:
        if isinstance(thing, Tensor):
            plain = thing.detach().cpu().as_subclass(Tensor).contiguous()
            state = self._pairs(vars(thing).items(), key) if type(thing) is not Tensor else ""
            content = plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b""
            return f"{_code(type(thing), key)}({plain.dtype}, {tuple(plain.shape)}, {_hash(content)}{state and ', ' + state})"
        array = np.asarray(thing)
        content = (
            self.of(array.tolist(), key).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()
        )
        return f"{type(thing).__name__}({array.dtype.descr}, {array.shape}, {_hash(content)})"

    def _file(self, path: Path, key: str) -> str:
        if not path.is_file():
            raise UserError(f"{key}: {path} is no file; name one that is there")
        return f"file({path.name!r}, {_hash(path.read_bytes())})"

    def _function(self, thing: types.FunctionType, key: str) -> str:
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        held = self.of((thing.__defaults__, thing.__kwdefaults__, cells), key)
        place = ""
        if "<" in thing.__qualname__:  # a lambda or an inner function: others of the module may have the same name
            where = repr(list(thing.__code__.co_positions())).encode()
            place = f" at line {thing.__code__.co_firstlineno} {_hash(where + thing.__code__.co_code)}"
        return f"{_code(thing, key)}{place}{held}"

    def _object(self, thing: Any, key: str) -> str:
        """By what pickle would keep of it: that is how types written in C say what their state is."""
        if isinstance(thing, RANDOM) or _draws(thing):
            raise UserError(
                f"{key}: {_name(type(thing))} draws at random, but cases are prepared once; augment with it"
            )
        if isinstance(thing, io.IOBase | types.ModuleType):
            raise _unknown(key, f"{_name(type(thing))} cannot be identified")
        try:
            reducer = copyreg.dispatch_table.get(type(thing))
            reduced = reducer(thing) if reducer else thing.__reduce_ex__(4)
        except Exception:  # what cannot be pickled says so with whatever error its author chose
            raise _unknown(key, f"{_name(type(thing))} cannot be identified") from None
        if isinstance(reduced, str):  # a name in its module
            return f"{thing.__module__}.{reduced}@{_version_of(thing.__module__, reduced, key)}"
        make, args, state, items, pairs = (*reduced, None, None, None)[:5]
        if COMPOSE in _bases(thing) and isinstance(state, dict):  # it holds what seeds the random ones of its members
            state = {name: value for name, value in state.items() if not isinstance(value, RANDOM)}
        usual = make is copyreg.__newobj__  # type: ignore[attr-defined]
        made = [] if usual else [self.of(make, key)]
        made += [self.of(part, key) for part in (args[1:] if usual else args, list(items or ())) if part]
        for part in (state, None if pairs is None else dict(pairs)):
            if part is not None:
                made.append(self._pairs(part.items(), key) if isinstance(part, dict) else self.of(part, key))
        return f"{_code(type(thing), key)}({', '.join(made)})"


def _bases(thing: object) -> set[str]:
    return {f"{cls.__module__}.{cls.__name__}" for cls in type(thing).__mro__}


def _draws(thing: object) -> bool:
    """Whether it is a random transform of MONAI. A Compose only hands random numbers on, unless it picks its members."""
    bases = _bases(thing)
    picks = any(f"monai.transforms.compose.{name}" in bases for name in ("OneOf", "SomeOf", "RandomOrder"))
    return "monai.transforms.transform.Randomizable" in bases and (COMPOSE not in bases or picks)


def _module(thing: Any) -> str:
    """Where a class or function is from. Some of those written in C do not say; their class does."""
    owner = getattr(thing, "__objclass__", None) or type(getattr(thing, "__self__", thing))
    return str(getattr(thing, "__module__", None) or owner.__module__)


def _name(thing: Any) -> str:
    return f"{_module(thing)}.{getattr(thing, '__qualname__', None) or thing.__name__}"


def _code(thing: Any, key: str) -> str:
    """A class or function by name, and which version of its code that is; of a class also that of its bases."""
    parts = thing.__mro__[:-1] if isinstance(thing, type) and thing is not object else (thing,)
    versions = dict.fromkeys(_version_of(_module(part), _name(part), key) for part in parts)
    return f"{_name(thing)}@{'+'.join(versions)}"


def _version_of(module: str, name: str, key: str) -> str:
    """Version of an installed package or of Python; a hash of the module's source where somebody may edit it."""
    top = module.split(".")[0]
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        if top in sys.builtin_module_names or top in ("torch", "numpy"):  # torch names modules that there are not
            return _package(top)
        raise _unknown(key, f"{name} has no source file")
    path = Path(file)
    if any(part in INSTALLED for part in path.parts) or path.is_relative_to(sysconfig.get_path("stdlib")):
        return _package(top)
    return _hash(path.read_bytes())


@functools.cache
def _package(top: str) -> str:
    if top in sys.stdlib_module_names:
        return f"python {sys.version_info.major}.{sys.version_info.minor}"
    try:
        return version(top)
    except PackageNotFoundError:  # a package may be named otherwise than its distribution
        stated = getattr(sys.modules.get(top), "__version__", None)
        return str(stated) if stated else code_version(top)


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _unknown(key: str, what: str) -> UserError:
    return UserError(
        f"{key}: {what}, so prepared cases could not be told apart by it; give a class or function of a module"
    )
