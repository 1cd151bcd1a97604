"""Shell completion."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medexp.config import paths
from medexp.run.completion import SCRIPTS, VERBS, candidates, script


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([""], list(VERBS)),
        (["tr", "tr"], ["train"]),
        (["list", "opt"], ["optimizer"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["train", "mod"], ["mode=", "model="]),
        (["train", "se"], ["seed="]),
        (["check", "model=resnet"], ["model=resnet18", "model=resnet18_narrow", "model=resnet50"]),
        (
            ["train", "experiment=segmentation/hip"],
            ["experiment=segmentation/hippocampus", "experiment=segmentation/hippocampus_long"],
        ),
        (["train", "model=unet,seg"], ["model=unet,segresnet"]),
        (["train", "model=zzz"], []),
        (["train", "nosuchgroup="], []),
        (["evaluate", "out"], []),
    ],
)
def test_candidates_complete_the_last_word(words: list[str], found: list[str]) -> None:
    assert candidates(words) == found


def test_own_leaves_complete_too() -> None:
    leaf = Path("conf/model/mine.yaml")
    leaf.parent.mkdir(parents=True)
    leaf.write_text("# mine\n")
    assert candidates(["train", "model=min"]) == ["model=mine"]


def test_every_verb_of_the_command_completes() -> None:
    from medexp.cli import parser

    (verbs,) = [action.choices for action in parser()._actions if isinstance(action.choices, dict)]
    assert tuple(verbs) == VERBS


@pytest.mark.parametrize("shell", SCRIPTS)
def test_each_shell_can_read_its_script(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script(shell))
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("medexp tra", ["train"]),
        ("medexp train optimizer=ada", ["adagrad", "adam", "adam_adversarial", "adamw"]),
        ("medexp train seed=1 model=unet,seg", ["unet,segresnet"]),
        ("medexp train -m experiment=segmentation/sp", ["segmentation/spleen"]),
        ("medexp list los", ["loss"]),
    ],
)
def test_bash_completes_a_line(line: str, replies: list[str]) -> None:
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    # Bash breaks words at "=": what it replaces is the part behind it.
    words = line.replace("=", " = ").split(" ")
    program = (
        f'medexp() {{ {sys.executable} -m medexp "$@"; }}\n{script("bash")}\n'
        f"COMP_LINE='{line}' COMP_POINT={len(line)} COMP_CWORD={len(words) - 1}\nCOMP_WORDS=({' '.join(words)})\n"
        '_medexp\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == replies
    assert done.stderr == ""


def test_bash_knows_the_command() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{script('bash')}\ncomplete -p medexp"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "complete -F _medexp medexp"


def test_all_groups_are_offered() -> None:
    assert {f"{group}=" for group in paths.groups()} <= set(candidates(["train", ""]))
