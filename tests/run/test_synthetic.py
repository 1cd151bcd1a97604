"""A classifier with made-up cases among those of training, from the command to a resumed run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from compared import same
from layouts import samples

from medexp.config import compose
from medexp.errors import UserError
from medexp.run.train import start


@pytest.fixture(scope="module")
def words(phantom_2d: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    made = samples.write(tmp_path_factory.mktemp("made") / "made", 6, (64, 64))
    table = made / "samples.csv"
    table.write_text(table.read_text().replace(",a,", ",healthy,").replace(",b,", ",lesion,"))
    root = [
        f"dataset.root={phantom_2d}",
        "dataset.source.patients=12",
        f"dataset.synthetic={{root: {made}, share: 0.4}}",
    ]
    net = ["model=simple_cnn", "model.channels=[4,8]", "dataset.batch_size=5", "dataset.draws=2", "figures=0"]
    return ["experiment=classification/phantom_presence_2d", *root, *net]


def test_a_resumed_run_with_made_up_cases_is_the_unbroken_one(words: list[str], tmp_path: Path) -> None:
    start([*words, "trainer.max_epochs=2", f"run_dir={tmp_path / 'unbroken'}"])
    start([*words, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"])
    start([f"resume={tmp_path / 'run'}", "trainer.max_epochs=2"])
    same(tmp_path / "run", tmp_path / "unbroken")
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert not any(case.startswith("synthetic_") for ids in split.values() for case in ids)


def test_what_does_not_fit_ends_the_command_in_one_line_and_leaves_no_run(words: list[str], tmp_path: Path) -> None:
    assert compose.compose(words).dataset.synthetic.share == 0.4
    other = samples.write(tmp_path / "other", 3, (64, 64))
    with pytest.raises(UserError, match=r"samples\.csv: case synthetic_s0: class 'a' is not in dataset") as raised:
        start([*words, f"dataset.synthetic.root={other}", f"run_dir={tmp_path / 'run'}"])
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_few_and_small_samples_are_said_and_a_generator_that_knows_the_test_patients(
    words: list[str], tmp_path: Path
) -> None:
    """A generator of another seed has learnt from patients that this run is tested on."""
    few = ["trainer.max_epochs=1", "dataset.image_size=[80,80]"]
    source = [*(word for word in words if "synthetic" not in word), "seed=3", *few, f"run_dir={tmp_path / 'source'}"]
    start(source)
    made = samples.write(tmp_path / "made", 2, (64, 64))
    table = made / "samples.csv"
    table.write_text(table.read_text().replace(",a,", ",healthy,").replace(",b,", ",lesion,"))
    (made / "generate.json").write_text(json.dumps({"run": str(tmp_path / "source")}))
    start([*words, f"dataset.synthetic.root={made}", *few, f"run_dir={tmp_path / 'run'}"])
    said = (tmp_path / "run/train.log").read_text()
    assert "times as often as a real case; make more" in said
    assert "images of 64x64 are enlarged to 80x80" in said
    assert re.search(r"dataset.synthetic: \d of \d test patients \(e.g. .* were in training or validation of", said)
