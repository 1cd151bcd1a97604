"""The identity of a thing is the same in every process, and another as soon as anything about it is."""

from __future__ import annotations

import collections
import copy
import enum
import functools
import importlib
import math
import operator
import os
import pathlib
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import monai.transforms as mt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import medexp.data.formats
from medexp.data.preparation.identity import code_version, identity
from medexp.errors import UserError

MINE = """
import collections, enum, functools
import numpy as np
import torch

class Colour(enum.Enum):
    RED = 1

class Scale:
    def __init__(self, factor=2.0, **options):
        self.factor, self.options, self.names = factor, options, {"b", "a", "c", "d"}
    def __call__(self, image):
        return image * self.factor
    def half(self, image):
        return image / 2

class Slotted:
    __slots__ = ("one", "two")
    def __init__(self):
        self.one, self.two = 1, frozenset("xyzw")

def double(image, by=2):
    return image * by

def scaled(by):
    return lambda image: image * by

one, other = lambda image: image + 1, lambda image: image + 1
"""
ALL = """
import mine
things = [
    mine.Scale(3.0, b=1, a=[1, (2, None)]), mine.Slotted(), mine.double, mine.Scale, mine.Scale().half, mine.Colour.RED,
    mine.scaled(3), mine.one, functools.partial(mine.double, by=3), {"b": 0.1, "a": {"x", "y", "z"}},
    collections.OrderedDict(b=1, a=2), np.arange(6.0).reshape(2, 3), np.float32(1.5), torch.arange(3), torch.ones(2).bfloat16(),
    torch.float32, np.dtype("f4"), np.log1p, torch.relu, len, range(3), re.compile("a+"), float("nan"), -0.0, b"\\0",
]
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the user's own."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return importlib.import_module("mine")


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_finds_the_same_identity_whatever_its_hash_seed(mine: ModuleType, seed: str) -> None:
    imports = "import collections, functools, re\nimport numpy as np\nimport torch\n"
    code = (
        imports
        + ALL
        + "from medexp.data.preparation.identity import identity\nprint('\\n'.join(map(identity, things)))"
    )
    folder = str(pathlib.Path(str(mine.__file__)).parent)
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": folder}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    here: dict[str, Any] = {}
    exec(imports + ALL, here)
    mine_here = [identity(thing) for thing in here["things"]]
    assert done.stdout.splitlines() == mine_here
    assert len(set(mine_here)) == len(mine_here)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(JSON)
def test_values_are_the_same_where_they_are_spelled_the_same(value: Any) -> None:
    assert identity(value) == identity(copy.deepcopy(value))


@given(st.dictionaries(st.text(), st.integers(), min_size=2), st.randoms())
def test_the_order_of_a_dictionary_does_not_matter(value: dict[str, int], random: Any) -> None:
    pairs = list(value.items())
    random.shuffle(pairs)
    assert identity(dict(pairs)) == identity(value)


@given(JSON, JSON)
def test_values_that_differ_have_another_identity(one: Any, other: Any) -> None:
    if repr(one) != repr(other) and not _same_but_order(one, other):
        assert identity(one) != identity(other)


def _same_but_order(one: Any, other: Any) -> bool:
    return bool(one == other) and type(one) is type(other) and "{" in repr(one)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_told_apart_to_the_last_bit(value: float) -> None:
    assert identity(value) != identity(math.nextafter(value, math.inf))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [2, 1]),
        ([1, 2], (1, 2)),
        (1, 1.0),
        (True, 1),
        ("1", 1),
        (None, "None"),
        ([], [[]]),
        (["a, b"], ["a", "b"]),
        (np.zeros(4), np.zeros((2, 2))),
        (np.zeros(4), np.zeros(4, np.float32)),
        (np.zeros(4), np.array([0, 0, 0, 1e-300])),
        (np.float32(1), np.float64(1)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2), torch.nn.Parameter(torch.zeros(2))),
        (functools.partial(operator.mul, 2), functools.partial(operator.mul, 3)),
        (mt.NormalizeIntensity(), mt.NormalizeIntensity(nonzero=True)),
        (mt.NormalizeIntensity(subtrahend=[1.0]), mt.NormalizeIntensity(subtrahend=np.array([1.0]))),
        (mt.NormalizeIntensity(), mt.ScaleIntensity()),
        (mt.Compose([mt.NormalizeIntensity()]), mt.Compose([mt.ScaleIntensity()])),
        (np.add, np.subtract),
        (math.sqrt, math.cbrt),
        (torch.nn.Dropout(0.1), torch.nn.Dropout(0.2)),
    ],
)
def test_one_difference_makes_another_identity(one: Any, other: Any) -> None:
    assert identity(one) != identity(other)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.asfortranarray(np.arange(6).reshape(2, 3)),
        lambda: torch.arange(6).reshape(3, 2).T,
        lambda: mt.NormalizeIntensity(channel_wise=True),
        lambda: mt.Compose([mt.NormalizeIntensity(), mt.Lambda(func=np.negative)]),
        lambda: collections.Counter("aab"),
        lambda: np.array([{"b": 1}, None], dtype=object),
        lambda: torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Dropout(0.1)),
    ],
)
def test_what_is_made_twice_alike_has_one_identity(make: Callable[[], Any]) -> None:
    assert identity(make()) == identity(make())


def test_arrays_of_one_content_are_one_however_they_lie_in_memory() -> None:
    plain = np.arange(6.0).reshape(2, 3)
    assert identity(plain) == identity(np.asfortranarray(plain)) == identity(plain[:, ::-1][:, ::-1])
    assert identity(torch.from_numpy(plain)) == identity(torch.from_numpy(plain).T.contiguous().T)


def test_an_edit_of_a_users_module_changes_what_comes_from_it(mine: ModuleType) -> None:
    def all_of() -> list[str]:
        return [identity(thing) for thing in (mine.Scale(), mine.double, mine.Scale, mine.scaled(2), mine.Colour.RED)]

    before = all_of()
    path = Path(str(mine.__file__))
    path.write_text(path.read_text().replace("image / 2", "image / 3"))
    assert not set(before) & set(all_of())
    path.write_text(MINE)
    assert all_of() == before


def test_an_edit_of_a_base_class_changes_what_derives_from_it(tmp_path: Path, mine: ModuleType) -> None:
    (tmp_path / "derived.py").write_text("import mine\nclass Derived(mine.Scale):\n    pass\n")
    derived = importlib.import_module("derived")
    before = identity(derived.Derived())
    Path(str(mine.__file__)).write_text(MINE + "\n# edited\n")
    assert identity(derived.Derived()) != before
    del sys.modules["derived"]


def test_functions_without_a_name_of_their_own_are_told_apart(mine: ModuleType) -> None:
    assert identity(mine.one) != identity(mine.other)
    assert identity(mine.scaled(2)) == identity(mine.scaled(2))
    assert identity(mine.scaled(2)) != identity(mine.scaled(3))
    assert identity(mine.Scale(2.0).half) != identity(mine.Scale(3.0).half)


def test_packages_are_known_by_their_version_and_not_by_their_source() -> None:
    assert f"@{mt.__name__ and __import__('monai').__version__}" in identity(mt.NormalizeIntensity())
    assert f"@{np.__version__}" in identity(np.add)
    assert f"@python {sys.version_info.major}.{sys.version_info.minor}" in identity(math.sqrt)


def test_a_thing_within_itself_ends() -> None:
    inner: list[Any] = [1]
    inner.append(inner)
    assert identity(inner) == "[1, <the object 1 above>]"


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    before = identity(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("two")
    assert identity(tmp_path / "a.txt") != before


class Generating:
    def __init__(self) -> None:
        self.values = (value for value in range(3))


@dataclass
class Holding:
    inner: dict[str, Any]


class Kind(enum.Enum):
    ONE = 1


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (Generating(), r"dataset\.normalize\.values: builtins\.generator cannot be identified"),
        (
            Holding({"a": [0, threading.Lock()]}),
            r"dataset\.normalize\.inner\.a\[1\]: _thread\.lock cannot be identified",
        ),
        (math, r"dataset\.normalize: builtins\.module cannot be identified"),
        (Path("/nowhere/at/all"), r"dataset\.normalize: /nowhere/at/all is no file"),
        (np.random.default_rng(0), r"dataset\.normalize: numpy.*Generator draws at random"),
        (mt.OneOf([mt.NormalizeIntensity()]), r"dataset\.normalize: .*OneOf draws at random"),
        (mt.RandGaussianNoise(), r"dataset\.normalize: .*RandGaussianNoise draws at random"),
        (
            mt.Compose([mt.RandGaussianNoise()]),
            r"dataset\.normalize\.transforms\[0\]: .*RandGaussianNoise draws at random",
        ),
        (
            FunctionType((lambda image: image).__code__, {"__name__": "__nowhere__"}),
            r"dataset\.normalize: .*<lambda> has no source file",
        ),
    ],
)
def test_what_cannot_be_identified_is_refused_by_its_key(thing: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        identity(thing, "dataset.normalize")
    assert "\n" not in str(error.value)


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("w") as file, pytest.raises(UserError, match="TextIOWrapper cannot be identified"):
        identity({"log": file})


def test_the_version_of_code_is_a_hash_of_its_source(tmp_path: Path, mine: ModuleType) -> None:
    before = code_version(mine), code_version("mine")
    assert before[0] == before[1]
    assert all(re.fullmatch("[0-9a-f]{32}", text) for text in before)
    Path(str(mine.__file__)).write_text(MINE + "\n# edited\n")
    assert code_version("mine") != before[0]


def test_the_version_of_a_package_is_that_of_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle" / "inner").mkdir(parents=True)
    for name in ("__init__.py", "one.py", "inner/__init__.py", "inner/two.py"):
        (tmp_path / "bundle" / name).write_text(f"# {name}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_version("bundle")
    (tmp_path / "bundle" / "inner" / "two.py").write_text("# edited\n")
    edited = code_version("bundle")
    (tmp_path / "bundle" / "three.py").write_text("")
    assert len({before, edited, code_version("bundle")}) == 3
    assert code_version(medexp.data.formats) == code_version("medexp.data.formats")


def test_a_module_without_source_is_refused() -> None:
    with pytest.raises(UserError, match="its source cannot be found"):
        code_version("sys")
