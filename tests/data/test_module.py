"""The data module reads each case once, lists all that is wrong together, and serves what the task wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import NormalizeIntensity
from PIL import Image

from medexp.data.module import DataModule
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.sources.phantom import records as phantom_records
from medexp.data.splits.make import make_split
from medexp.errors import Faults, UserError

Target = Any


def pictures(root: Path, count: int = 12, target: Callable[[int], Target] = lambda i: "ab"[i % 2]) -> list[Record]:
    """Cases with a grey value of their own; label maps hold a square of class 1; two cases a patient."""
    found = []
    for index in range(count):
        pixels = np.full((8, 10), 10 * index, np.uint8)
        mask = np.zeros((8, 10), np.uint8)
        mask[:2, : 1 + index % 3] = 1
        pixels[0, 0] = 255
        for kind, array in (("image", pixels), ("mask", mask)):
            Image.fromarray(array).save(root / f"{kind}{index:02d}.png")
        name = f"{index:02d}"
        image, label = root / f"image{name}.png", root / f"mask{name}.png"
        found.append(Record(name, (image,), label, target(index), patient_id=f"patient{index // 2}"))
    return found


def module(records: list[Record], root: Path = Path("data"), **options: Any) -> DataModule:
    return DataModule(
        **{
            "root": str(root),
            "source": lambda _: records,
            "spatial_dims": 2,
            "in_channels": 1,
            "classes": ["a", "b"],
            "provides": "class",
            "target": "index",
            "split": make_split,
            "batch_size": 2,
            **options,
        }
    )


def test_no_patient_is_in_two_parts_and_every_case_in_one(tmp_path: Path) -> None:
    records = pictures(tmp_path)
    parts = module(records).parts()
    assert sorted(record.case_id for part in parts.values() for record in part) == [r.case_id for r in records]
    patients = [{record.patient_id for record in part} for part in parts.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 6


def test_limit_shortens_every_part(tmp_path: Path) -> None:
    parts = module(pictures(tmp_path), limit=1).parts()
    assert [len(part) for part in parts.values()] == [1, 1, 1]


@pytest.mark.parametrize(("said", "words"), [(["x"], "1 warning on"), (["x", "y"], "2 warnings on")])
def test_warnings_are_counted(
    said: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("medexp.data.module.small_parts", lambda parts: said)
    monkeypatch.setattr("medexp.data.module.judge", lambda *facts: [])
    with caplog.at_level("INFO"):
        module(pictures(tmp_path)).setup("fit")
    assert f"{words} the data, e.g. x" in caplog.text


def test_a_split_that_was_set_is_kept(tmp_path: Path) -> None:
    data = module(pictures(tmp_path), limit=1)
    data.split = {"train": ["04", "05"], "val": ["00"], "test": []}
    parts = data.parts()
    assert [[record.case_id for record in part] for part in parts.values()] == [["04", "05"], ["00"], []]


def test_a_kept_split_that_does_not_fit_the_data_is_refused(tmp_path: Path) -> None:
    records = pictures(tmp_path)
    data = module(records)
    data.split = {"train": ["04", "x1"], "val": ["x2"], "test": ["00"]}
    with pytest.raises(Faults, match="2 cases of the split are not in data") as caught:
        data.parts()
    assert caught.value.problems == ["x1", "x2"]
    data.split = {"train": ["00"], "val": ["01"], "test": ["04"]}
    with pytest.raises(Faults, match=r"one patient is in train \(case 00\) and in val \(case 01\)"):
        data.parts()


def test_a_source_without_cases_or_with_one_id_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root: no cases in data"):
        module([]).parts()
    records = pictures(tmp_path, count=4)
    with pytest.raises(Faults, match="1 case ids stand twice"):
        module([*records, records[2]]).parts()


def test_setup_reads_every_case_of_the_split_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, reads = Preparation.read, Counter[str]()

    def counted(self: Preparation, record: Record, with_label: bool) -> Any:
        reads[record.case_id] += 1
        return read(self, record, with_label)

    monkeypatch.setattr(Preparation, "read", counted)
    data = module(pictures(tmp_path))
    for stage in ("fit", "validate", "fit"):
        data.setup(stage)
    assert data.split is not None
    assert reads == Counter(data.split["train"] + data.split["val"] + data.split["test"])


def test_all_faulty_cases_are_listed_together(tmp_path: Path) -> None:
    records = pictures(tmp_path)
    data = module(records)
    data.split = {"train": ["00", "02", "04"], "val": ["06", "08"], "test": ["10"]}
    (tmp_path / "image02.png").write_bytes(b"")
    (tmp_path / "image08.png").unlink()
    (tmp_path / "image10.png").unlink()
    with pytest.raises(Faults, match="3 of 6 cases cannot be used") as caught:
        data.setup()
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["case 02", "case 08", "case 10"]
    assert "is empty (0 bytes)" in caught.value.problems[0]


def test_a_label_map_that_does_not_fit_is_a_fault(tmp_path: Path) -> None:
    records = pictures(tmp_path)
    Image.fromarray(np.full((8, 10), 9, np.uint8)).save(tmp_path / "mask00.png")
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "mask01.png")
    data = module(records, provides="mask", target="mask")
    data.split = {"train": ["00", "01"], "val": ["04"], "test": []}
    with pytest.raises(Faults) as caught:
        data.setup()
    assert "label values 9 (80 voxels) are outside of 0..1" in caught.value.problems[0]
    assert "label shape (8, 9) differs from image shape (8, 10)" in caught.value.problems[1]


@pytest.mark.parametrize(
    ("target", "truth", "counts"),
    [
        ("index", lambda i: "ab"[i % 4 == 0], [4, 2]),
        ("binary", lambda i: "ab"[i % 4 == 0], [4, 2]),
        ("multilabel", lambda i: [1, int(i == 0)], [6, 1]),
    ],
)
def test_classes_are_counted_in_the_training_cases(
    tmp_path: Path, target: str, truth: Callable[[int], Target], counts: list[int]
) -> None:
    data = module(pictures(tmp_path, target=truth), target=target)
    data.split = {"train": ["00", "01", "02", "03", "04", "05"], "val": ["06"], "test": ["08"]}
    data.setup()
    assert data.class_counts().tolist() == counts


def test_voxels_are_counted_of_label_maps(tmp_path: Path) -> None:
    data = module(pictures(tmp_path), classes=["none", "square", "absent"], provides="mask", target="mask")
    data.split = {"train": ["00", "01", "02"], "val": ["06"], "test": ["08"]}
    data.setup()
    assert data.class_counts().tolist() == [3 * 80 - 12, 2 + 4 + 6, 0]


@pytest.mark.parametrize(
    ("target", "truth", "shape", "kind"),
    [
        ("index", lambda i: "ab"[i % 2], (2, 1), torch.int64),
        ("binary", lambda i: i % 2, (2, 1), torch.float32),
        ("multilabel", lambda i: ["a", "b"][: i % 3], (2, 2), torch.float32),
        ("mask", lambda i: None, None, None),
    ],
)
def test_batches_hold_what_the_task_wants(tmp_path: Path, target: str, truth: Any, shape: Any, kind: Any) -> None:
    data = module(pictures(tmp_path, target=truth), target=target)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 1, 8, 10)
    assert batch["image"].dtype == torch.float16  # through the workers
    assert data.on_after_batch_transfer(batch, 0)["image"].dtype == torch.float32
    assert len(batch["case_id"]) == 2
    if target == "mask":
        assert batch["label"].shape == (2, 1, 8, 10)
        assert "target" not in batch
    else:
        assert batch["target"].shape == shape
        assert batch["target"].dtype == kind
        assert "label" not in batch


def test_training_loaders_draw_every_case_and_validation_goes_in_order(tmp_path: Path) -> None:
    data = module(pictures(tmp_path), batch_size=1)
    data.setup()
    assert data.split is not None
    drawn = [batch["case_id"][0] for batch in data.train_dataloader()]
    assert sorted(drawn) == data.split["train"] != drawn
    assert [batch["case_id"][0] for batch in data.val_dataloader()] == data.split["val"]


def test_a_batch_larger_than_the_training_split_is_the_training_split(tmp_path: Path) -> None:
    data = module(pictures(tmp_path), batch_size=100, image_size=(8, 8))
    data.setup()
    assert [len(batch["case_id"]) for batch in data.train_dataloader()] == [len(data._cases["train"])]
    assert [len(batch["case_id"]) for batch in data.val_dataloader()] == [len(data._cases["val"])]


def test_images_of_several_sizes_are_evaluated_one_at_a_time(tmp_path: Path) -> None:
    assert module(pictures(tmp_path), batch_size=4).eval_batch_size == 1
    assert module(pictures(tmp_path), batch_size=4, image_size=(8, 8)).eval_batch_size == 4


def test_a_case_may_be_loaded_without_what_is_to_be_predicted(tmp_path: Path) -> None:
    given = pictures(tmp_path)[0]
    record = Record(given.case_id, given.images)
    for target in ("mask", "index"):
        facts, prepared = module([], target=target).load(record, labelled=False)
        assert facts == {"case_id": "00"}
        assert prepared.label is None


def test_one_line_describes_the_split(tmp_path: Path) -> None:
    data = module(pictures(tmp_path), root=tmp_path / "mine")
    data.split = {"train": ["00", "01", "02"], "val": ["06", "07"], "test": ["08"]}
    assert data.describe() == "mine: 3 train, 2 val, 1 test cases of 4 patients; training classes a 2, b 1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": [8]}, r"dataset\.patch_size: \[8\] is not a positive number for each of 2 axes"),
        ({"patch_size": [8, 0]}, r"dataset\.patch_size: \[8, 0\] is not a positive number"),
        ({"foreground": 1.5}, r"dataset\.foreground: 1\.5 is not between 0 and 1"),
        ({"spacing": [1.0, 1.0, 1.0]}, r"dataset\.spacing: .* for each of 2 axes"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        module([], **options)


def test_an_array_of_floats_is_read_unchanged_a_second_time(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(50, 9, (4, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "a.npz", train_images=values)
    records = [Record(str(i), (tmp_path / "a.npz",), target="a", split="train", member=i) for i in range(4)]
    data = module(records, normalize=NormalizeIntensity(channel_wise=True))
    first, second = (data.load(records[1])[1].image for _ in range(2))
    assert torch.equal(first, second)
    kept = module(records).load(records[1])[1].image[0]
    torch.testing.assert_close(kept, torch.from_numpy(values[1]), rtol=5e-4, atol=0)  # kept in half precision


def test_the_phantom_is_served_in_patches(phantom_2d: Path) -> None:
    data = module(
        [],
        phantom_2d,
        source=lambda root: phantom_records(root, spatial_dims=2, patients=12),
        classes=["background", "liver", "kidney", "lesion"],
        target="mask",
        provides="mask",
        patch_size=[32, 32],
    )
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == batch["label"].shape == (2, 1, 32, 32)
    assert (data.class_counts() > 0).all()
