"""`medexp plan` writes a leaf that a person can read and that `medexp train plan=...` uses; the test split stays unseen."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medexp import build
from medexp.cli import main
from medexp.config import compose
from medexp.data.records import Record
from medexp.errors import Faults, UserError
from medexp.run import train
from medexp.run.plan import plan, proposed

QUICK = ["debug=fast", "trainer=cpu", "trainer.precision=32-true", "trainer.check_val_every_n_epoch=1", "figures=0"]


@pytest.fixture
def root(layouts: SimpleNamespace, tmp_path: Path) -> Path:
    """Ten cases of 24 x 28 x 20 voxels of 1 x 1.5 x 2 mm."""
    path: Path = layouts.msd(tmp_path / "msd")
    return path


@pytest.fixture
def words(root: Path) -> list[str]:
    return ["dataset=msd", f"dataset.root={root}", "dataset.classes=[background,one,two]"]


def train_split(words: list[str]) -> list[Record]:
    return build.datamodule(resolved(words)).parts()["train"]


def resolved(words: list[str]) -> dict[str, Any]:
    return compose.resolve(compose.compose(words))


def test_a_plan_is_written_and_its_use_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(words) == 0
    lines = Path("conf/plan/msd.yaml").read_text().splitlines()
    count = len(train_split(words))
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(
        f"# Plan from {count} training cases for 8 GiB: medexp train experiment=segmentation/msd "
    )
    assert lines[1].endswith(" plan=msd")
    assert lines[2].startswith("# Made by: medexp plan dataset=msd ")
    assert len(lines) <= 60
    out = capsys.readouterr().out
    assert f"{count} training cases" in out
    assert "patch_size: [24, 28, 20]" in out
    assert out.splitlines()[-1].startswith("medexp train experiment=segmentation/msd ")
    numbers = json.loads(next(Path(resolved(words)["cache_dir"]).glob("fingerprints/msd.json")).read_text())
    assert numbers["median_shape"] == [24, 28, 20]
    assert numbers["spacing_percentiles"]["50"] == [1, 1.5, 2]


def test_the_plan_is_used_and_the_command_line_wins_over_it(words: list[str]) -> None:
    plan(words)
    cfg = train.plan([*words, "plan=msd"])
    assert cfg["dataset"]["spacing"] == [1.0, 1.5, 2.0]
    assert cfg["dataset"]["patch_size"] == [24, 28, 20]
    assert cfg["model"]["_target_"] == "monai.networks.nets.DynUNet"
    assert cfg["model"]["filters"] == [32, 64, 128]
    assert cfg["inferer"]["roi_size"] == [24, 28, 20]
    changed = train.plan([*words, "plan=msd", "dataset.batch_size=5", "model.filters=[4,8,16]", "inferer=whole_by_8"])
    assert changed["dataset"]["batch_size"] == 5
    assert changed["model"]["filters"] == [4, 8, 16]
    assert changed["inferer"]["divisible_by"] == 8


def test_the_plan_wins_over_the_experiment(words: list[str]) -> None:
    plan(words)
    experiment = ["experiment=segmentation/msd", *words[1:]]
    assert train.plan(experiment)["dataset"]["patch_size"] == [96, 96, 96]
    cfg = train.plan([*experiment, "plan=msd"])
    assert cfg["dataset"]["patch_size"] == [24, 28, 20]
    assert cfg["trainer"]["max_epochs"] == 500  # of the experiment
    assert cfg["name"] == "segmentation/msd"


def test_another_normalisation_is_replaced_and_not_mixed(words: list[str]) -> None:
    plan(words)
    spleen = ["dataset=msd_spleen", *words[1:]]  # its leaf scales a CT window
    cfg = train.plan([*spleen, "plan=msd"])
    assert cfg["dataset"]["normalize"] == {
        "_target_": "monai.transforms.NormalizeIntensity",
        "nonzero": False,
        "channel_wise": True,
    }


def test_a_plan_trains(words: list[str], tmp_path: Path) -> None:
    plan(words)
    run = tmp_path / "run"
    train.start([*words, "plan=msd", *QUICK, "model.filters=[4,8,16]", f"run_dir={run}"])
    assert json.loads((run / "summary.json").read_text())["metrics"]["dice"]["n"] >= 0


def test_auto_plans_within_the_run_and_leaves_no_file(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().rglob("*"))
    cfg = train.plan([*words, "plan=auto", "dataset.batch_size=4"])
    assert sorted(Path().rglob("*")) == before
    assert f"plan=auto, from {len(train_split(words))} training cases: " in capsys.readouterr().err
    plan(words)
    by_hand = train.plan([*words, "plan=msd", "dataset.batch_size=4"])
    assert cfg["dataset"] == by_hand["dataset"]
    assert cfg["model"] == by_hand["model"]
    assert train.plan(words)["dataset"]["patch_size"] is None  # nothing of it is left behind


def test_auto_leaves_another_network_alone(words: list[str]) -> None:
    cfg = train.plan([*words, "plan=auto", "model=basic_unet", "dataset.patch_size=[32,32,32]"])
    assert "strides" not in cfg["model"]
    assert cfg["dataset"]["spacing"] == [1.0, 1.5, 2.0]


def test_nothing_of_the_test_split_is_known_to_the_plan(words: list[str], root: Path) -> None:
    """The images of validation and test cases may even be unreadable."""
    plan(words)
    split = build.datamodule(resolved(words)).parts()
    for record in [*split["test"], *split["val"]]:
        assert record.images[0] is not None
        record.images[0].write_bytes(b"not an image")
    plan(words, output=Path("again.yaml"))
    one, two = (Path(name).read_text().splitlines()[3:] for name in ("conf/plan/msd.yaml", "again.yaml"))
    assert one == two


def test_a_training_case_that_cannot_be_read_is_named_and_nothing_is_written(words: list[str], root: Path) -> None:
    broken = train_split(words)[0]
    assert broken.images[0] is not None
    broken.images[0].write_bytes(b"not an image")
    with pytest.raises(Faults, match=r"1 faults in \d training cases") as error:
        plan(words)
    assert broken.case_id in error.value.problems[0]
    assert not Path("conf").exists()


def test_an_edited_plan_is_not_overwritten(words: list[str]) -> None:
    path = Path("conf/plan/msd.yaml")
    path.parent.mkdir(parents=True)
    path.write_text("# mine\n")
    with pytest.raises(UserError, match=r"conf/plan/msd\.yaml: is there already.*--force"):
        plan(words)
    assert path.read_text() == "# mine\n"
    plan(words, force=True)
    assert "dataset:" in path.read_text()


def test_output_names_the_file(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(words, output=tmp_path / "deep" / "small.yaml")
    assert (tmp_path / "deep" / "small.yaml").is_file()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("put it into conf/plan/, then: medexp train ")
    assert last.endswith(" plan=small")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--output: cannot write to"):
        plan(words, output=tmp_path / "file" / "small.yaml")


def test_memory_bounds_the_patch(words: list[str]) -> None:
    large = proposed(resolved(words), 8.0)[1]
    assert large.memory is not None
    small = proposed(resolved(words), large.memory)[1]  # some of which is kept for the GPU itself
    assert small.memory is not None
    assert small.memory < large.memory
    assert prod(small.dataset["patch_size"]) < prod(large.dataset["patch_size"])
    with pytest.raises(UserError, match="--memory: 0 is no positive number"):
        plan(words, memory=0)


def test_a_plan_is_not_made_from_a_plan(words: list[str]) -> None:
    with pytest.raises(UserError, match="plan=: `medexp plan` makes a plan; leave it out"):
        plan([*words, "plan=msd"])


def test_images_of_classes_get_size_and_batch(layouts: SimpleNamespace, tmp_path: Path) -> None:
    pictures = layouts.pictures(tmp_path / "pictures", ["benign", "malignant"], size=40)
    data = [f"dataset.root={pictures}", "dataset.classes=[benign,malignant]"]
    plan(["dataset=csv", *data])  # image_size, which the leaf asks for, is what the plan gives
    text = Path("conf/plan/csv.yaml").read_text()
    assert "image_size: [40, 40]" in text
    assert "model:" not in text
    cfg = train.plan(["experiment=classification/csv", *data, "plan=csv"])
    assert cfg["dataset"]["image_size"] == [40, 40]
    assert cfg["dataset"]["batch_size"] == 8
    auto = train.plan(["experiment=classification/csv", *data, "plan=auto"])
    assert auto["dataset"] == cfg["dataset"]


def test_the_command_that_a_plan_names_can_be_run(layouts: SimpleNamespace, tmp_path: Path) -> None:
    npz = layouts.npz(tmp_path / "small.npz")
    leaf = Path("conf/dataset/mine.yaml")
    leaf.parent.mkdir(parents=True)
    leaf.write_text(f"# Mine; classification\ndefaults:\n  - npz\nroot: {npz}\nclasses: [a, b, c]\n")
    plan(["dataset=mine"])
    line = Path("conf/plan/mine.yaml").read_text().splitlines()[1]
    words = line.partition(": ")[2].split()
    assert words[:3] == ["medexp", "train", "dataset=mine"]
    assert train.plan(words[2:])["dataset"]["image_size"] == [28, 28]


def test_many_classes_stay_within_sixty_lines(root: Path) -> None:
    names = ",".join(f"class{index}" for index in range(100))
    plan(["dataset=msd", f"dataset.root={root}", f"dataset.classes=[{names}]"])
    text = Path("conf/plan/msd.yaml").read_text()
    assert len(text.splitlines()) <= 60
    assert "lines more" in text


def test_scans_in_other_orientations_are_planned_on_the_same_axes(phantom: Path) -> None:
    words = ["dataset=phantom", f"dataset.root={phantom}", "dataset.source.patients=10"]
    files = ["dataset.orientation=null"]  # a plan always names an order of axes
    found, proposal = proposed(resolved([*words, *files]), 8.0)
    again, _ = proposed(resolved(words), 8.0)
    assert found == again
    assert proposal.dataset["orientation"] == "RAS"


def test_the_verb_answers_in_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *words, "--memory", "4"]) == 0
    assert "for 4 GiB" in Path("conf/plan/msd.yaml").read_text()
    assert main(["plan", *words]) == 2
    assert "--force overwrites it" in capsys.readouterr().err
    assert main(["plan", *words, "--force"]) == 0


@pytest.mark.real_data
@pytest.mark.slow
def test_the_hippocampus_is_planned_as_published(real_data: Any) -> None:
    root = real_data("msd_task04_hippocampus")
    found, proposal = proposed(resolved(["dataset=msd_hippocampus", f"dataset.root={root}"]), 8.0)
    assert proposal.dataset["spacing"] == [1.0, 1.0, 1.0]
    assert proposal.dataset["patch_size"] == [40, 56, 40]
    assert 2 <= proposal.dataset["batch_size"] <= 4  # 5 % of fewer cases than the 260 of the published batch of 9
    assert found.channels[0].modality == "other"
