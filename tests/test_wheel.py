"""The wheel: what `pip install medexp` brings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from medexp import __version__
from medexp.config import paths

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout and unpacked as an installer would."""
    build = pytest.importorskip("hatchling.build", reason="hatchling builds the wheel: pip install medexp[dev]")
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    before = Path.cwd()
    os.chdir(REPOSITORY)
    try:
        name = build.build_wheel(str(wheels))
    finally:
        os.chdir(before)
    with zipfile.ZipFile(wheels / name) as archive:
        archive.extractall(target)
    return target


def _run(installed: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_package_conf_license_and_command_only(installed: Path) -> None:
    info = installed / f"medexp-{__version__}.dist-info"
    assert {entry.name for entry in installed.iterdir()} == {"medexp", info.name}
    assert (info / "licenses" / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()
    assert "medexp = medexp.cli:main" in (info / "entry_points.txt").read_text()
    assert not [path for path in installed.rglob("*") if path.name.startswith("test_") or path.name == "conftest.py"]


def test_every_module_and_leaf_is_packed(installed: Path) -> None:
    for folder, pattern, packed in (
        (REPOSITORY / "medexp", "*.py", "medexp"),
        (paths.shipped(), "*.yaml", "medexp/conf"),
    ):
        here = {path.relative_to(folder) for path in folder.rglob(pattern)}
        there = {path.relative_to(installed / packed) for path in (installed / packed).rglob(pattern)}
        assert here == there


def test_the_command_finds_the_packed_conf_from_anywhere(installed: Path) -> None:
    where = _run(
        installed,
        "-c",
        "import medexp; from medexp.config import paths; print(medexp.__file__); print(paths.shipped())",
    )
    assert where.splitlines() == [str(installed / "medexp/__init__.py"), str(installed / "medexp/conf")]
    found = json.loads(_run(installed, "-m", "medexp", "list", "--json"))
    assert sorted(found) == paths.groups()
    assert found["model"].keys() == paths.options("model").keys()


def test_the_packed_conf_composes(installed: Path) -> None:
    code = "from medexp.config.compose import compose; print(compose(['experiment=segmentation/hippocampus']).name)"
    assert _run(installed, "-c", code).strip() == "segmentation/hippocampus"
