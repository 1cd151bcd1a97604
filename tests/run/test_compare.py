"""Runs side by side: what they differ in, repetitions over seeds, paired differences, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image

from medexp.config.compose import root_keys
from medexp.errors import UserError
from medexp.metrics.intervals import mean_interval
from medexp.run import folder
from medexp.run.compare import compare


def run(root: Path, name: str, seed: int, dice: float, *overrides: str, share: float | None = None) -> Path:
    path = root / name
    path.mkdir(parents=True)
    config: dict[str, Any] = {**dict.fromkeys(root_keys()), "run_dir": str(path), "seed": seed}
    config["dataset"] = {"split": {"limit_train": share}}
    folder.write(path / folder.CONFIG, OmegaConf.to_yaml(config))
    folder.write(path / folder.OVERRIDES, OmegaConf.to_yaml([f"seed={seed}", f"run_dir={path}", *overrides]))
    result = {"run_dir": str(path), "value": 0.5, "monitor": "val/dice", "metrics": {"dice": dice, "hd95": 9 - dice}}
    folder.write_json(path / "result.json", result)
    return path


@pytest.fixture
def curve(tmp_path: Path) -> Path:
    """Three seeds, two shares and all cases, from scratch and from weights; epochs follow the share."""
    for seed in range(3):
        for place, share in enumerate((0.05, 0.5, None)):
            own = [] if share is None else [f"dataset.split.limit_train={share}"]
            own += [f"trainer.max_epochs={100 - 40 * place}"]
            for kind, gain in (("null", 0.0), (f"outputs/source_{seed}", 0.1 + 0.01 * seed)):
                name = f"{share}_{seed}_{'scratch' if kind == 'null' else 'a_pre'}"
                run(tmp_path, name, seed, 0.5 + 0.1 * place + gain, f"init.weights={kind}", *own, share=share)
    return tmp_path


def test_lines_places_and_repetitions_are_found_and_differences_are_paired_by_seed(curve: Path, capsys: Any) -> None:
    compare([curve], None, None, None)
    table = pd.read_csv(curve / "compare.csv", keep_default_na=False)
    assert list(table["value"]) == ["0.05", "0.5", "null"] * 2
    assert list(table["choices"]) == ["init.weights=null"] * 3 + ["init.weights=outputs/source_${seed}"] * 3
    assert set(table["key"]) == {"dataset.split.limit_train"}  # epochs follow it
    assert (table["seeds"] == 3).all()
    assert list(table["difference"][:3]) == [""] * 3
    gains = mean_interval([0.1, 0.11, 0.12])
    for _, row in table[3:].iterrows():
        assert row["beside"] == "init.weights=null"
        assert float(row["pairs"]) == 3
        found = [float(row[name]) for name in ("difference", "difference_low", "difference_high")]
        np.testing.assert_allclose(found, gains)  # type: ignore[arg-type]
    assert "0.1100" in capsys.readouterr().out
    picture = np.asarray(Image.open(curve / "compare.png").convert("L"))
    assert picture.std() > 5


def test_another_metric_and_another_key_can_be_asked_for(curve: Path, tmp_path: Path) -> None:
    rows = compare([curve], "init.weights", "hd95", tmp_path / "out")
    assert {row["key"] for row in rows} == {"init.weights"}
    assert [row["value"] for row in rows[:2]] == ["null", "outputs/source_${seed}"]
    assert rows[0]["choices"].startswith("dataset.split.limit_train=null")
    assert rows[0]["mean"] == pytest.approx(8.3)
    assert (tmp_path / "out" / "compare.png").is_file()


def test_runs_that_differ_in_names_alone_are_set_beside_the_first(tmp_path: Path) -> None:
    paths = [
        run(tmp_path, f"{name}{seed}", seed, dice + seed / 100, f"model={name}")
        for name, dice in (("unet", 0.5), ("dynunet", 0.7))
        for seed in (0, 1)
    ]
    rows = compare(paths, None, None, None)
    assert [row["choices"] for row in rows] == ["model=unet", "model=dynunet"]
    assert rows[1]["difference"] == pytest.approx(0.2)
    assert rows[1]["beside"] == "model=unet"
    assert rows[1]["key"] is None


def test_what_a_sweep_has_escaped_is_shown_as_it_was_given(tmp_path: Path) -> None:
    given = r"init.weights=outputs/source_$\{seed\}"
    rows = compare([run(tmp_path, "a", 0, 0.5), run(tmp_path, "b", 0, 0.6, given)], None, None, None)
    assert rows[1]["choices"] == "init.weights=outputs/source_${seed}"


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    rows = compare([run(tmp_path, name, 0, 0.5, f"optimizer.lr={name}") for name in ("0.1", "0.01")], None, None, None)
    assert [row["value"] for row in rows] == ["0.01", "0.1"]
    assert rows[1]["beside"] == "optimizer.lr=0.01"
    assert rows[1]["low"] is rows[1]["difference_low"] is None


def test_an_unfinished_run_is_left_out_and_named(curve: Path, caplog: Any) -> None:
    (curve / "0.05_1_scratch" / "result.json").unlink()
    rows = compare([curve], None, None, None)
    assert rows[0]["seeds"] == 2
    assert rows[3]["pairs"] == 2
    assert "0.05_1_scratch has no result.json and is left out; finish it with: medexp train resume=" in caplog.text


def test_the_interval_of_a_mean_is_students() -> None:
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert mean_interval([4.0]) == (4.0, None, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"by": "dataset.split.limit"},
            r"--by: the runs do not differ in 'dataset.split.limit'; did you mean 'dataset.s",
        ),
        (
            {"metric": "dise"},
            r"--metric: 'dise' is not a test score of every run; did you mean 'dice'\? all have: dice, hd95",
        ),
    ],
)
def test_keys_and_metrics_that_are_not_there_are_refused(options: Any, said: str, curve: Path) -> None:
    with pytest.raises(UserError, match=said):
        compare([curve], options.get("by"), options.get("metric"), None)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("result.json", "[]", r"result.json: is damaged \(no metrics\); leave this run out"),
        ("result.json", "{", r"result.json: is damaged"),
        ("overrides.yaml", "- a: [", r"overrides.yaml: is damaged"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(name: str, text: str, said: str, curve: Path) -> None:
    (curve / "0.05_1_scratch" / name).write_text(text)
    with pytest.raises(UserError, match=said):
        compare([curve], None, None, None)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one = run(tmp_path / "a", "one", 0, 0.5)
    with pytest.raises(UserError, match=r"RUN: 1 finished of 1 found in .*two runs are needed"):
        compare([one, one], None, None, None)
    with pytest.raises(UserError, match="is no folder; give run folders"):
        compare([tmp_path / "none"], None, None, None)
    twin = run(tmp_path / "b", "twin", 0, 0.6)
    with pytest.raises(UserError, match=r"one and .*twin have the same choices \(all\) and seed"):
        compare([one, twin], None, None, tmp_path)
    other = run(tmp_path / "b", "other", 1, 0.6)
    with pytest.raises(UserError, match="--output: the runs are in several folders"):
        compare([one, other], None, None, None)
