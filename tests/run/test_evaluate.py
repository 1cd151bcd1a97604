from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medexp.cli import main
from medexp.errors import UserError
from medexp.run.consensus import evaluate as together
from medexp.run.evaluate import evaluate


@pytest.fixture
def run(trained: dict[str, Any], tmp_path: Path) -> Path:
    """A copy of the run, elsewhere than it was trained."""
    return Path(shutil.copytree(trained["run_dir"], tmp_path / "moved"))


def test_evaluation_writes_what_training_wrote(run: Path) -> None:
    before = {name: (run / name).read_bytes() for name in ("per_case.csv", "summary.json")}
    for name in before:
        (run / name).unlink()
    evaluate(run)
    assert {name: (run / name).read_bytes() for name in before} == before


def test_another_folder_is_evaluated_whole_and_the_run_keeps_its_own(
    run: Path, phantom_2d: Path, tmp_path: Path
) -> None:
    before = (run / "per_case.csv").read_bytes()
    other = shutil.copytree(phantom_2d, tmp_path / "other hospital")
    summary = evaluate(run, str(other), tmp_path / "results")
    rows = pd.read_csv(tmp_path / "results/per_case.csv")
    cases = pd.read_csv(phantom_2d / "cases.csv")["case_id"]
    assert sorted(rows["case_id"]) == sorted(cases)
    assert json.loads((tmp_path / "results/summary.json").read_text()) == summary
    assert (summary["cases"], summary["part"]) == (len(cases), "all labelled")
    assert (run / "per_case.csv").read_bytes() == before
    mine = pd.read_csv(run / "per_case.csv").set_index("case_id")
    pd.testing.assert_frame_equal(rows.set_index("case_id").loc[mine.index], mine)


def test_without_an_output_another_folder_has_its_own_below_the_run(run: Path, phantom_2d: Path) -> None:
    evaluate(run, str(phantom_2d))
    assert (run / "evaluations/phantom_2d/per_case.csv").is_file()


def test_results_do_not_replace_those_of_a_run(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    before = (run / "per_case.csv").read_text()
    with pytest.raises(UserError, match=r"--output: .* is a run folder, whose results are of its own test split"):
        evaluate(run, str(phantom_2d), run)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(run / "config.yaml", other)
    for work in (lambda: evaluate(run, None, other), lambda: together([run, run], None, other)):
        with pytest.raises(UserError, match="other is a run folder"):
            work()
    assert (run / "per_case.csv").read_text() == before
    assert [path.name for path in other.iterdir()] == ["config.yaml"]


def test_the_last_checkpoint_can_be_evaluated(run: Path, tmp_path: Path) -> None:
    assert evaluate(run, output=tmp_path / "last", checkpoint="last")["checkpoint"] == "last"
    (run / "checkpoints/last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        evaluate(run, output=tmp_path / "last", checkpoint="last")


def test_mistakes_are_answered_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], phantom_2d: Path
) -> None:
    (tmp_path / "file").write_text("")
    for words, seen in (
        ([str(tmp_path / "nothing")], "no such run folder"),
        ([str(tmp_path)], "not a run folder"),
        ([str(run), "--data", str(phantom_2d), "--output", str(tmp_path / "file/below")], "cannot write"),
    ):
        assert main(["evaluate", *words]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert seen in line


def test_cases_of_the_split_that_are_gone_are_named(run: Path) -> None:
    split = json.loads((run / "split.json").read_text())
    split["test"].append("p9999_s0")
    (run / "split.json").write_text(json.dumps(split))
    with pytest.raises(UserError, match="p9999_s0"):
        evaluate(run)


def test_cases_that_the_run_was_trained_on_are_counted_by_content(
    run: Path, phantom_2d: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    split = json.loads((run / "split.json").read_text())
    with caplog.at_level("INFO"):
        summary = evaluate(run, str(shutil.copytree(phantom_2d, tmp_path / "copy")), tmp_path / "out")
    assert summary["n_seen_in_training"] == len(split["train"]) + len(split["val"])
    assert sorted(summary["seen_in_training"]) == sorted(split["train"] + split["val"])
    assert summary["seen_by"] == "content"
    assert json.loads((tmp_path / "out/summary.json").read_text()) == summary
    assert f"{summary['n_seen_in_training']} cases were seen in training or validation" in caplog.text
    assert f"summary.json in {tmp_path / 'out'}" in caplog.text


def test_the_same_names_on_other_images_are_new_cases(run: Path, phantom_2d: Path, tmp_path: Path) -> None:
    other = shutil.copytree(phantom_2d, tmp_path / "other")
    for path in (other / "imagesTr").iterdir():
        image: Any = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine), path)
    summary = evaluate(run, str(other), tmp_path / "out")
    assert (summary["n_seen_in_training"], summary["seen_in_training"]) == (0, [])


def test_case_ids_are_compared_where_the_data_of_the_run_are_gone(
    run: Path, phantom_2d: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace(str(phantom_2d), str(tmp_path / "gone")))
    split = json.loads((run / "split.json").read_text())
    summary = evaluate(run, str(phantom_2d), tmp_path / "out")
    assert (summary["n_seen_in_training"], summary["seen_by"]) == (len(split["train"] + split["val"]), "case id")
    assert "known by case id only" in caplog.text
    assert not (tmp_path / "gone").exists()


def test_without_a_split_it_is_said_that_nothing_is_known(
    run: Path, phantom_2d: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (run / "split.json").unlink()
    assert evaluate(run, str(phantom_2d), tmp_path / "out")["n_seen_in_training"] is None
    assert "trained on these cases is not known" in caplog.text
