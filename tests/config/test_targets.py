"""Which code a config may name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from monai.networks.nets import UNet

from medexp.config.targets import locate, signature
from medexp.errors import UserError


@pytest.fixture(autouse=True)
def _imports() -> Iterator[None]:
    """Modules and paths that a test brought along are gone after it."""
    before, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if name.startswith("mylab"):
            del sys.modules[name]


def test_classes_and_functions_of_listed_packages_are_found() -> None:
    assert locate("monai.networks.nets.UNet") is UNet
    assert locate("torch.optim.AdamW") is torch.optim.AdamW
    assert locate("pytorch_lightning.Trainer") is pl.Trainer
    assert locate("torch.nn.functional.relu") is torch.nn.functional.relu
    assert callable(locate("medexp.data.sources.msd.records"))


@pytest.mark.parametrize(
    "path",
    [
        *(
            "os.system",
            "subprocess.Popen",
            "builtins.eval",
            "builtins.exec",
            "torch.load",
            "torch.hub.load",
            "eval",
            "",
        ),
        *("monai.bundle.run", "monai.apps.download_and_extract", "hydra.utils.instantiate", "importlib.import_module"),
        *("pickle.loads", "torch.ops.load_library", "shutil.rmtree", "pytorch_lightning.core.saving.load_hparams"),
    ],
)
def test_what_is_not_listed_is_refused_before_it_is_imported(path: str) -> None:
    with pytest.raises(UserError, match=r"is outside of what a config may name .*MEDEXP_ALLOW"):
        locate(path)


@pytest.mark.parametrize(
    "path",
    [
        "torch.nn.functional.torch.load",
        "torch.nn.functional.torch.hub.load",
        "torch.nn.functional.importlib.import_module",
        "torch.nn.parallel.distributed.os.system",
        "torch.optim.optimizer.functools.partial",
        "monai.data.utils.os.system",
        "monai.data.utils.pickle.loads",
        "monai.data.dataset.torch.load",
        "medexp.config.paths.Path",
        "medexp.run.train.subprocess.run",
        "torchmetrics.metric.inspect.os.system",
        "torch.nn.Module.__init__.__globals__.get",
        "torch.nn.Module.__class__",
        "torch.nn.Module.__subclasses__",
    ],
)
def test_a_listed_package_is_no_way_to_another(path: str) -> None:
    with pytest.raises(UserError, match=r"passes through|no class or function that a config may name|has no '"):
        locate(path)


def test_a_module_or_a_constant_is_no_target() -> None:
    for path in ("torch.nn.functional", "medexp.config.targets.ALLOWED", "torch.nn"):
        with pytest.raises(UserError, match="no class or function"):
            locate(path)


def test_a_mistyped_class_is_named_with_a_near_match() -> None:
    with pytest.raises(UserError, match=r"monai.networks.nets has no 'UNett'; did you mean .*'UNet'"):
        locate("monai.networks.nets.UNett")


def _mylab(name: str, text: str) -> None:
    package = Path(name)
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(text)


def test_the_working_directory_is_importable() -> None:
    _mylab("mylab_a", "from torch import nn\n\n\nclass Mine(nn.Conv2d):\n    pass\n")
    assert issubclass(locate("mylab_a.nets.Mine"), torch.nn.Conv2d)


def test_own_code_is_no_way_to_other_packages() -> None:
    _mylab("mylab_b", "import os\nfrom os import system\n")
    for path in ("mylab_b.nets.os.system", "mylab_b.nets.system"):
        with pytest.raises(UserError):
            locate(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class Mine(\n", "importing mylab_.* fails: SyntaxError"),
        ("1 / 0\n", "importing mylab_.* fails: ZeroDivisionError: division by zero"),
        ("import nosuchpackage\n", "needs the package 'nosuchpackage', which is not installed"),
    ],
)
def test_own_code_that_cannot_be_imported_says_why(text: str, reason: str) -> None:
    name = f"mylab_{abs(hash(text))}"
    _mylab(name, text)
    with pytest.raises(UserError, match=reason):
        locate(f"{name}.nets.Mine")


def test_a_package_that_the_environment_names_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="MEDEXP_ALLOW"):
        locate("fractions.Fraction")
    monkeypatch.setenv("MEDEXP_ALLOW", "einops,fractions")
    assert locate("fractions.Fraction").__name__ == "Fraction"
    with pytest.raises(UserError, match="MEDEXP_ALLOW"):
        locate("decimal.Decimal")


class Base:
    def __init__(self, rate: float, depth: int = 2) -> None: ...


class Deeper(Base):
    def __init__(self, width: int, **shared: Any) -> None:
        super().__init__(**shared)


class Unannotated:
    def __init__(self, a, b: "NoSuchName" = 1):  # type: ignore[no-untyped-def, name-defined]  # noqa: F821, UP037
        pass


def test_keywords_that_a_class_hands_on_are_found_in_its_bases() -> None:
    known = signature(Deeper)
    assert known.hints == {"width": int, "rate": float, "depth": int}
    assert known.required == {"width"}
    assert not known.open


def test_a_function_that_takes_anything_is_open() -> None:
    def anything(first: int, **rest: Any) -> None: ...

    known = signature(anything)
    assert known.open
    assert known.required == {"first"}


def test_annotations_that_cannot_be_read_leave_the_names() -> None:
    assert signature(Unannotated).hints == {"a": Any, "b": Any}


def test_a_class_without_a_constructor_takes_nothing() -> None:
    class Bare:
        pass

    assert not signature(Bare).hints
