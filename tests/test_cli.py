"""The command itself: verbs, help, exit codes; nothing heavy until a verb is chosen."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from medexp import __version__, cli
from medexp.config import paths
from medexp.errors import Faults, UserError
from medexp.run.completion import VERBS
from medexp.run.train import RunFault

HEAVY = (
    "torch",
    "monai",
    "pytorch_lightning",
    "numpy",
    "hydra",
    "omegaconf",
    "pandas",
    "scipy",
    "rich",
    "wandb",
    "yaml",
)


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "words",
    [["--help"], ["train", "--help"], ["list", "--json"], ["completion", "bash"], ["_complete", "train", "model="]],
)
def test_what_a_shell_asks_for_imports_nothing_heavy(words: list[str]) -> None:
    done = _python(
        f"import sys\nfrom medexp.cli import main\ntry:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    assert done.stderr.strip() == "[]"
    assert done.stdout


@pytest.mark.parametrize(
    "words",
    [
        *([verb, "model=unett"] for verb in ("train", "check", "plan")),
        ["train", "resume=nowhere"],
        ["evaluate", "nowhere"],
        ["predict", "nowhere", "--input", "scan.nii.gz", "--output", "mask.nii.gz"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_said_before_libraries_are_loaded(words: list[str]) -> None:
    heavy = ("torch", "monai", "pytorch_lightning")
    done = _python(
        f"import sys\nfrom medexp.cli import main\ncode = main({words!r})\n"
        f"print(code, [name for name in {heavy!r} if name in sys.modules])"
    )
    assert done.stdout.strip() == "2 []", done.stderr
    assert "no such" in done.stderr


@pytest.mark.parametrize(("words", "said"), [(["train", "model=unett"], 1), (["list", "modle"], 0)])
def test_who_sits_at_a_terminal_is_told_at_once_that_libraries_are_loaded(
    words: list[str], said: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(words) == 2
    shown = capsys.readouterr().err.splitlines()
    assert [line for line in shown if line == f"medexp {words[0]}: loading libraries"] == shown[:said]
    assert shown[said].startswith("medexp: ")


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "medexp", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"medexp {__version__}"


def test_no_verb_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_examples_that_its_parser_takes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([verb, "--help"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.split("examples:\n")[1].splitlines()
    commands = [
        line.split("medexp ", 1)[1].split(" > ")[0].split(" | ")[0].rstrip(')"') for line in lines if "medexp " in line
    ]
    assert commands
    for command in commands:
        assert cli.parser().parse_args(command.split()).verb == verb


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "no verb 'trian'; did you mean 'train'?"),
        (["zzz"], f"no verb 'zzz'; choices: {', '.join(VERBS)}"),
        (["completion", "fsh"], "no choice 'fsh'; did you mean 'fish' or 'zsh'?"),
        (["evaluate"], "the following arguments are required: RUN (medexp evaluate --help)"),
        (["predict", "run"], "the following arguments are required: --input, --output"),
        (["train", "--lr", "3"], "unrecognized arguments: --lr"),
        (["evaluate", "run", "--other"], "unrecognized arguments: --other"),
    ],
)
def test_a_mistyped_command_is_said_in_one_line_and_exits_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    shown = capsys.readouterr().err
    assert caught.value.code == 2
    assert said in shown
    assert len(shown.splitlines()) == 1


def test_overrides_may_stand_on_both_sides_of_an_option() -> None:
    args = cli.parser().parse_args(["train", "seed=1", "-m", "model=unet,dynunet", "optimizer=sgd"])
    assert args.multirun
    assert args.overrides == ["seed=1", "model=unet,dynunet", "optimizer=sgd"]
    assert cli.parser().parse_args(["list", "model", "--json", "loss"]).groups == ["model", "loss"]


def _raising(error: BaseException) -> int:
    def action() -> None:
        raise error

    return cli.guarded(action)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("seed: wrong"), 2, "medexp: seed: wrong\n"),
        (Faults("2 problems", ["a: x", "b: y"]), 2, "medexp: 2 problems\n  a: x\n  b: y\n"),
        (RunFault("the loss became nan"), 1, "medexp: the loss became nan\n"),
        (KeyboardInterrupt(), 130, "medexp: interrupted; go on with `medexp train resume=RUN`\n"),
    ],
)
def test_faults_have_their_exit_code_and_no_traceback(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _raising(error) == code
    assert capsys.readouterr().err == said


def test_a_bug_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert _raising(ValueError("a bug")) == 1
    assert capsys.readouterr().err.startswith("Traceback")


def test_outcomes_pass() -> None:
    assert cli.guarded(lambda: 1) == 1
    assert cli.guarded(lambda: {"value": 3}) == 0


def test_a_reader_that_has_had_enough_is_no_fault() -> None:
    code = "import sys; from medexp.cli import main; sys.exit(main(['list']))"
    command = f'{sys.executable} -c "{code}" | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "0"
    assert done.stderr == ""


def test_list_prints_all_groups_for_machines_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(found) == paths.groups()
    assert found["experiment"]["segmentation/hippocampus"] == "medexp train experiment=segmentation/hippocampus"


def test_a_mistake_in_a_verb_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "model=unett"]) == 2
    assert capsys.readouterr().err.startswith("medexp: model=unett: no such option; did you mean 'unet'")
    assert cli.main(["list", "modle"]) == 2
    assert "list: no config group 'modle'; did you mean 'model'?" in capsys.readouterr().err
