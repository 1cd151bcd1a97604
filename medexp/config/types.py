"""Whether a plain config value fits a type annotation."""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def fits(value: Any, hint: Any) -> bool:
    """True where `value` (bool, int, float, str, None, list, dict) may be passed to `hint`; unknown hints accept all."""
    if hint is Any or isinstance(hint, typing.TypeVar | str):
        return True
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin is typing.Annotated:
        return fits(value, typing.get_args(hint)[0])
    if hint in (None, type(None)):
        return value is None
    if isinstance(value, Mapping) and "_target_" in value:
        return True  # becomes an object of its own
    if collections.abc.Callable in (origin, hint):
        return False  # only a node makes one
    if origin in _SEQUENCES or hint in _SEQUENCES:
        return _sequence(value, typing.get_args(hint))
    if origin in _MAPPINGS or hint in _MAPPINGS:
        return isinstance(value, Mapping)
    return _plain(value, hint)


def _sequence(value: Any, inner: tuple[Any, ...]) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False  # Python calls a text a sequence of letters; `dataset.classes=liver` is a mistake
    hints = [hint for hint in inner if hint is not Ellipsis]
    # MONAI annotates "tuple[int]" where it means any number of ints: the length is not held against the value.
    return not hints or all(any(fits(item, hint) for hint in hints) for item in value)


def _plain(value: Any, hint: Any) -> bool:
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is str:
        return isinstance(value, str)
    if hint is Path:
        return isinstance(value, str)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return isinstance(value, str)
    if isinstance(hint, type) and not getattr(hint, "_is_protocol", False) and isinstance(value, hint):
        return True  # object, Hashable, numbers.Number
    # Any other class: a bare number, text, list or mapping is none; objects come from nodes with a _target_.
    return not (isinstance(hint, type) and isinstance(value, bool | int | float | str | list | dict))


def spell(hint: Any) -> str:
    """An annotation as a user would say it: `int | None`, `list of float`."""
    text = str(hint) if not isinstance(hint, type) else hint.__name__
    return text.replace("typing.", "").replace("collections.abc.", "").replace("NoneType", "None")
