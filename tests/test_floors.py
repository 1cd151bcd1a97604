"""The floors of the house: imports point down only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import medexp

PACKAGE = Path(medexp.__file__).parent
FLOORS = {
    **{"verbs": 6, "cli": 7, "__main__": 8, "run": 5, "build": 4, "callbacks": 3, "data": 2, "tasks": 2},
    **{
        "models": 1,
        "losses": 1,
        "transforms": 1,
        "metrics": 1,
        "inferers": 1,
        "optim": 1,
        "learning": 1,
    },
    **{"errors": -1, "seeding": 0, "__init__": 0, "performance": 1, "trainer": 4, "targets": 0, "boxes": 0},
    **{"covariates": 0, "transfer": 0},  # transfer: tensors by name, of any network
}
HEAVY = {"torch", "monai", "pytorch_lightning", "torchmetrics", "torchvision"}
CONFIG_LIBRARIES = {"hydra", "omegaconf"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "conf" not in path.relative_to(PACKAGE).parts[:1])


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _imports(tree: ast.AST, module_top_only: bool = False) -> set[str]:
    """Dotted names that are imported; `module_top_only`: not those inside of functions."""
    found: set[str] = set()
    nodes = list(ast.iter_child_nodes(tree))
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        if not (module_top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            nodes += ast.iter_child_nodes(node)
    return found


def _tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def _rooms(names: set[str]) -> set[str]:
    """Rooms of medexp among imported names (`medexp.__version__` is of the package itself)."""
    rooms = {name.split(".")[1] for name in names if name.startswith("medexp.")}
    return {room for room in rooms if not room.startswith("__")}


def _packages(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_every_room_has_a_floor() -> None:
    assert {_room(path) for path in MODULES} - {"config"} == set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(path: Path) -> None:
    room, imported = _room(path), _rooms(_imports(_tree(path)))
    if path == PACKAGE / "run" / "job.py":
        imported -= {"cli"}  # a process of its own: it is a door like cli, and shares cli's exit codes
    if room == "config":  # beside the floors
        assert imported <= {"config", "errors", "targets"}
        return
    if FLOORS[room] < 4:
        assert "config" not in imported, "configs are not seen below build"
    upwards = {other for other in imported - {room, "config"} if FLOORS[other] >= FLOORS[room]}
    assert not upwards, f"{room} (floor {FLOORS[room]}) imports {sorted(upwards)}"


@pytest.mark.parametrize(
    "path", [p for p in MODULES if FLOORS.get(_room(p), 9) < 4], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_nothing_below_build_sees_a_config(path: Path) -> None:
    assert not _packages(_imports(_tree(path))) & CONFIG_LIBRARIES


@pytest.mark.parametrize("room", ["config", "cli", "verbs", "errors", "seeding", "__init__", "__main__"])
def test_what_stands_at_the_door_imports_nothing_heavy(room: str) -> None:
    for path in (path for path in MODULES if _room(path) == room):
        assert not _packages(_imports(_tree(path), module_top_only=True)) & HEAVY, path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    long = {node.name: lines for node in functions if (lines := _lines_of_code(node)) > 40}
    allowed = {"add_verbs"} if path.name == "verbs.py" else set()  # the table of verbs
    assert not set(long) - allowed, long


def _lines_of_code(function: ast.FunctionDef) -> int:
    """Lines of a body; arguments and docstring explain themselves."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
