"""Made-up cases in training alone, in the share asked for; what does not fit is refused in one line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import samples
from PIL import Image

from medexp.data.cases import SEED
from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.data.splits.make import make_split
from medexp.errors import UserError


def pictures(root: Path, count: int) -> list[Record]:
    """Cases with a grey value of their own, every other one of class b."""
    found = []
    for index in range(count):
        pixels = np.full((8, 10), 9 * index, np.uint8)
        pixels[0, 0] = 255
        Image.fromarray(pixels).save(root / f"{index:02d}.png")
        found.append(Record(f"{index:02d}", (root / f"{index:02d}.png",), target="ab"[index % 2]))
    return found


def data(tmp_path: Path, share: float = 0.3, **options: Any) -> DataModule:
    if not (tmp_path / "real").is_dir():
        (tmp_path / "real").mkdir()
        samples.write(tmp_path / "made")
    synthetic = {"root": str(tmp_path / "made"), "share": share}
    records = pictures(tmp_path / "real", 20)
    fixed = {"spatial_dims": 2, "in_channels": 1, "classes": ["a", "b"], "provides": "class", "target": "index"}
    given = {"synthetic": synthetic, "batch_size": 4, "split": make_split, "source": lambda _: records, **options}
    found = DataModule(**{"root": str(tmp_path / "real"), **fixed, **given})
    found.setup()
    return found


def drawn(data: DataModule, epoch: int = 0) -> list[str]:
    loader: Any = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [case for batch in loader for case in batch["case_id"]]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
def test_the_share_is_held_in_every_epoch_and_in_every_batch(tmp_path: Path, share: float) -> None:
    module = data(tmp_path, share, draws=3)
    for epoch in range(4):
        cases = drawn(module, epoch)
        count = sum(case.startswith("synthetic_") for case in cases)
        assert abs(count - share * len(cases)) <= 1
        for start in range(0, len(cases), 4):
            assert abs(sum(case.startswith("synthetic_") for case in cases[start : start + 4]) - share * 4) <= 1


def test_every_real_case_is_drawn_as_often_as_without_and_every_made_up_one_as_often_as_the_others(
    tmp_path: Path,
) -> None:
    module = data(tmp_path, 0.2, batch_size=1)
    real = set(drawn(data(tmp_path, synthetic=None, batch_size=1)))
    epochs = [Counter(drawn(module, epoch)) for epoch in range(20)]
    for epoch in epochs:
        assert {case: count for case, count in epoch.items() if not case.startswith("synthetic_")} == dict.fromkeys(
            real, 1
        )
    total = sum(epochs, Counter[str]())
    counts = [total[f"synthetic_s{index}"] for index in range(5)]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == 20 * round(len(real) * 0.2 / 0.8)


def test_nothing_but_training_has_them_and_an_epoch_is_what_it_was(tmp_path: Path) -> None:
    module = data(tmp_path)
    assert not any(
        case.startswith("synthetic_") for part in module.parts().values() for case in (r.case_id for r in part)
    )
    assert not any(case.startswith("synthetic_") for batch in module.val_dataloader() for case in batch["case_id"])
    assert module.class_counts().sum() == len(module.parts()["train"])
    assert drawn(module, 2) == drawn(data(tmp_path), 2)
    assert drawn(module, 2) != drawn(module, 3)


def test_their_classes_are_those_of_the_table_and_their_images_are_prepared_alike(tmp_path: Path) -> None:
    module = data(tmp_path, augmentation=lambda item, seed: {**item, SEED: seed})
    for batch in module.train_dataloader():
        for case, target, image in zip(batch["case_id"], batch["target"], batch["image"], strict=True):
            if case.startswith("synthetic_"):
                assert int(target.item()) == int(case[-1]) % 2
                assert float(image.max()) == 200 + int(case[-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "samples.csv").unlink(), "dataset.synthetic.root: .*samples.csv does not exist"),
        (lambda root: (root / "samples.csv").write_text("case_id,file,seed\ns0,0.png,1\n"), "has no column 'class'"),
        (lambda root: (root / "samples.csv").write_text("case_id,file,class,seed\n"), "a header and no rows"),
        (lambda root: _rename(root, "1.png,b,1", "1.png"), "1 rows of .* do not fit its header, e.g. row 3"),
        (lambda root: (root / "2.png").unlink(), "case s2: .*2.png does not exist"),
        (lambda root: (root / "3.png").write_text("no image"), "1 of 5 cases cannot be used, e.g. case synthetic_s3"),
        (lambda root: _rename(root, "s1", "s0"), "names case s0 twice"),
        (lambda root: _rename(root, "1.png,b", "1.png,c"), "class 'c' is not in dataset.classes"),
        (lambda root: _rename(root, "1.png", "../1.png"), "does not lie below"),
        (
            lambda root: Image.fromarray(np.ones((8, 9), np.uint8)).save(root / "4.png"),
            "has 8 x 9 voxels, the data set 8 x 10",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, change: Any, message: str) -> None:
    data(tmp_path)
    change(tmp_path / "made")
    with pytest.raises(UserError, match=message) as raised:
        data(tmp_path)
    assert "\n" not in str(raised.value)


def _rename(root: Path, old: str, new: str) -> None:
    path = root / "samples.csv"
    path.write_text(path.read_text().replace(old, new, 1))


def test_an_image_of_the_test_split_is_refused_however_it_is_called(tmp_path: Path) -> None:
    module = data(tmp_path)
    (tmp_path / "made" / "0.png").write_bytes(module.parts()["test"][0].files[0].read_bytes())
    with pytest.raises(UserError, match=r"0\.png is case .* of validation or test"):
        data(tmp_path)


@pytest.mark.parametrize(
    ("synthetic", "message"),
    [
        ({"root": "x"}, "give {root: FOLDER, share: 0.3}"),
        ({"root": "x", "share": 1.0}, "share between 0 and 1"),
        ({"root": "x", "shares": 0.3}, "dataset.synthetic.shares: no such key; did you mean 'share'"),
    ],
)
def test_a_bad_value_is_named_with_its_key(tmp_path: Path, synthetic: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        data(tmp_path, synthetic=synthetic)


def test_a_task_that_learns_from_masks_cannot_use_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.synthetic: has no target of the kind 'mask'"):
        data(tmp_path, target="mask", provides="mask")
