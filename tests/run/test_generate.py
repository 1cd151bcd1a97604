"""`medexp generate`: samples as files that a data set reads back, whole or not at all."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.transforms import NormalizeIntensity, ScaleIntensityRange
from torch import Tensor

from medexp import build
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.errors import UserError
from medexp.run import folder, sampling
from medexp.run.classifier_features import ClassifierFeatures
from medexp.run.evaluate import evaluate
from medexp.run.generate import generate
from medexp.run.predict import predict
from medexp.run.sample_files import Units, units, write_image
from medexp.run.train import start
from medexp.transforms.normalize import ZScore

NET = [
    "model.channels=[8,8]",
    "model.attention_levels=[false,false]",
    "model.norm_num_groups=4",
    "model.num_head_channels=8",
]
QUICK = [
    "task.timesteps=20",
    "task.steps=2",
    "metrics.test.count=6",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
]
CLASSES = ["round", "square"]


@pytest.fixture(scope="module")
def by_class(layouts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = layouts.pictures(tmp_path_factory.mktemp("data") / "pictures", CLASSES, each=8, size=16)
    data = [f"dataset.root={root}", f"dataset.classes=[{','.join(CLASSES)}]", "dataset.image_size=[16,16]"]
    run = tmp_path_factory.mktemp("runs") / "by_class"
    words = ["experiment=diffusion/mednist", *data, *NET, *QUICK, "dataset.batch_size=4", f"run_dir={run}"]
    return Path(start([*words, "trainer.precision=32-true", "figures=1"])["run_dir"])


@pytest.fixture(scope="module")
def solid(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 3D scans of one spacing."""
    data = ["dataset=phantom", f"dataset.root={phantom}", "dataset.source.patients=10", "dataset.spacing=[3,3,4]"]
    shape = ["dataset.image_size=null", "dataset.patch_size=[8,8,8]", "dataset.batch_size=4", "figures=0"]
    run = tmp_path_factory.mktemp("runs") / "solid"
    words = ["experiment=diffusion/phantom_2d", *data, *shape, *NET, *QUICK, f"run_dir={run}"]
    return Path(start([*words, "trainer.precision=32-true"])["run_dir"])


def drawn(run: Path, count: int, classes: list[int] | None) -> Tensor:
    """Samples as the run's task makes them."""
    cfg = folder.load(run)
    task = build.task(cfg)
    build.load_weights(task, folder.weights(run, "best"))
    made: list[Tensor] = []
    sampling.draw(cfg, task, count, 0, classes, lambda first, images: made.append(images))
    return torch.cat(made)


def read(run: Path, image: Path) -> Tensor:
    """As the run's own data set prepares a file."""
    preparation = build.datamodule(folder.load(run)).preparation
    return preparation.prepare(preparation.read(Record("a", (image,)), with_label=False)[0]).image


def standardised(image: Tensor) -> Tensor:
    return (image - image.mean()) / image.std(correction=0)


def test_the_manifest_lists_images_with_class_and_seed(by_class: Path, tmp_path: Path) -> None:
    manifest = generate(by_class, 5, tmp_path / "out")
    with manifest.open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["case_id", "file", "class", "seed"]
    assert rows[1] == ["sample_00000", "sample_00000.png", "round", "0"]
    assert [row[2] for row in rows[1:]] == ["round", "square", "round", "square", "round"]
    about = json.loads((tmp_path / "out" / "generate.json").read_text())
    assert about["count"] == 5
    assert about["versions"]["torch"]
    assert len(about["weights"]) == 64
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "samples.csv", "generate.json", *(f"sample_0000{index}.png" for index in range(5))
    }  # fmt: skip


def test_pictures_read_as_a_data_set_are_the_samples_to_a_byte(by_class: Path, tmp_path: Path) -> None:
    generate(by_class, 2, tmp_path / "out")
    wanted = drawn(by_class, 2, [0, 1])
    scale = json.loads((tmp_path / "out" / "generate.json").read_text())["intensities"]
    for index in range(2):
        found = read(by_class, tmp_path / "out" / f"sample_0000{index}.png")
        assert float((found - standardised(wanted[index])).abs().max()) < 2 * scale["slope"][0] / float(
            wanted[index].std()
        )


def test_scans_read_as_a_data_set_are_the_samples(solid: Path, tmp_path: Path) -> None:
    generate(solid, 2, tmp_path / "out")
    wanted = drawn(solid, 2, None)
    image: Any = nib.load(tmp_path / "out" / "sample_00001.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), wanted[1, 0].numpy())
    np.testing.assert_allclose(image.affine, np.diag([3, 3, 4, 1]))
    torch.testing.assert_close(
        read(solid, tmp_path / "out" / "sample_00001.nii.gz"), standardised(wanted[1]), atol=1e-4, rtol=0
    )
    assert pd.read_csv(tmp_path / "out" / "samples.csv")["class"].isna().all()


def test_one_class_is_of_that_class_alone(by_class: Path, tmp_path: Path) -> None:
    manifest = generate(by_class, 3, tmp_path / "out", class_name="square")
    assert set(pd.read_csv(manifest)["class"]) == {"square"}


def test_an_interrupted_generation_goes_on_to_the_same_files(by_class: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sampling, "CHUNK", 2)
    generate(by_class, 5, tmp_path / "whole")
    written = sampling.draw

    def stopped(*args: Any, **options: Any) -> None:
        *rest, deliver = args[:6]

        def once(first: int, images: Tensor) -> None:
            deliver(first, images[:1])
            raise KeyboardInterrupt

        written(*rest, once, *args[6:])

    monkeypatch.setattr("medexp.run.generate.draw", stopped)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        generate(by_class, 5, tmp_path / "out")
    assert not (tmp_path / "out" / "samples.csv").exists()
    monkeypatch.setattr("medexp.run.generate.draw", written)
    generate(by_class, 3, tmp_path / "out")
    generate(by_class, 5, tmp_path / "out")  # and on to more
    for path in (tmp_path / "whole").iterdir():
        if path.suffix != ".json":
            assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name


def test_a_foreign_folder_is_left_alone(by_class: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="holds no samples of medexp; give a new or empty folder"):
        generate(by_class, 2, tmp_path)
    generate(by_class, 1, tmp_path / "out")
    with pytest.raises(UserError, match="holds samples of seed 0, asked for is 4"):
        generate(by_class, 1, tmp_path / "out", seed=4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("samples.csv", b"", r"samples\.csv is no list of samples"),
        ("samples.csv", b"\x89PNG\xff\x00" * 40, r"samples\.csv is no list of samples"),
        ("samples.csv", b"name,score\na,1\n", r"samples\.csv is no list of samples"),
        ("samples.csv", None, r"samples\.csv is no list of samples"),
        ("generate.json", b"[]", r"generate\.json is damaged \(a list\)"),
        ("generate.json", b"\xff\x00", r"generate\.json: is damaged"),
        ("sample_00003.png", None, r"sample_00003\.png is a folder in the place of a sample"),
    ],
)
def test_what_a_hand_left_in_the_folder_is_named_before_anything_is_drawn(
    name: str, content: bytes | None, message: str, by_class: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    generate(by_class, 2, output)
    if content is None:
        (output / name).unlink(missing_ok=True)
        (output / name).mkdir()
    else:
        (output / name).write_bytes(content)
    monkeypatch.setattr("medexp.run.generate.draw", None)
    with pytest.raises(UserError, match=message):
        generate(by_class, 5, output)


def test_an_empty_file_of_a_sample_is_made_again(by_class: Path, tmp_path: Path) -> None:
    generate(by_class, 2, tmp_path / "out")
    whole = (tmp_path / "out/sample_00001.png").read_bytes()
    (tmp_path / "out/sample_00001.png").write_bytes(b"")
    generate(by_class, 2, tmp_path / "out")
    assert (tmp_path / "out/sample_00001.png").read_bytes() == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "--count: 0; give a number of samples from 1 to 1000000"),
        ({"count": 10**12}, "--count: 1000000000000; give a number of samples from 1 to 1000000"),
        ({"class_name": "rund"}, "--class: 'rund' is no class of the run; did you mean 'round'"),
    ],
)
def test_mistakes_are_named(by_class: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        generate(by_class, **{"count": 1, "output": tmp_path / "out", **options})


def test_a_run_of_another_kind_generates_nothing(trained: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Segmentation generates nothing; give a run of a generative task"):
        generate(Path(trained["run_dir"]), 1, tmp_path / "out")


def test_a_run_without_classes_has_no_samples_of_one(solid: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--class: the run knows no classes"):
        generate(solid, 1, tmp_path / "out", class_name="liver")


def test_the_run_compares_samples_with_training_and_held_out_images(
    by_class: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summary = json.loads((by_class / "summary.json").read_text())
    assert summary["cases"] == 6
    assert set(summary["metrics"]) == {"fid", "mmd", "distance", "ratio", "copy"}
    assert summary["metrics"]["distance"]["per_class"]["held_out"]["n"] > 0
    table = pd.read_csv(by_class / "per_case.csv")
    assert list(table.columns) == ["case_id", "class", "nearest", "distance", "ratio", "copy"]
    assert set(table["nearest"]) <= set(json.loads((by_class / "split.json").read_text())["train"])
    assert (by_class / "figures" / "samples.png").is_file()
    with caplog.at_level("INFO"):
        evaluate(by_class, None, tmp_path)
    assert "6 samples, beside" in caplog.text  # the rows; what is evaluated is said in cases
    assert (tmp_path / "per_case.csv").read_text() == (by_class / "per_case.csv").read_text()


def test_a_classifier_tells_images_apart_by_the_layer_before_its_last(by_class: Path, tmp_path: Path) -> None:
    dataset = folder.load(by_class)["dataset"]
    data = [f"dataset.root={dataset['root']}", f"dataset.classes=[{','.join(CLASSES)}]", "dataset.image_size=[16,16]"]
    quick = ["model=simple_cnn", "trainer.max_epochs=1", "figures=0", f"run_dir={tmp_path / 'classifier'}"]
    run = Path(start(["experiment=classification/mednist", *data, *quick])["run_dir"])
    preparation = build.datamodule(folder.load(by_class)).preparation
    found = ClassifierFeatures(run, preparation)
    images = torch.randn(3, 1, 16, 16)
    seen = found(images)
    assert len(seen) == 3
    with torch.no_grad():
        net = found.encoder.net
        torch.testing.assert_close(net.get_submodule(found.encoder.layer)(seen), net(images))
    with pytest.raises(UserError, match=r"metrics\.test\.features: .* another dataset\.normalize than the samples"):
        ClassifierFeatures(run, replace(preparation, normalize=None))


def test_other_data_and_predictions_are_refused_with_the_next_move(by_class: Path, tmp_path: Path) -> None:
    root = folder.load(by_class)["dataset"]["root"]
    shutil.copytree(root, tmp_path / "other")
    with pytest.raises(UserError, match="--data: samples are compared with the images that the run was trained on"):
        evaluate(by_class, str(tmp_path / "other"), tmp_path / "results")
    with pytest.raises(UserError, match="use `medexp generate RUN"):
        predict(by_class, next(iter((tmp_path / "other").rglob("*.png"))), tmp_path / "predictions")


@pytest.mark.parametrize(
    "normalize",
    [None, ZScore(), ScaleIntensityRange(20, 220, -1, 1, clip=True), NormalizeIntensity(subtrahend=100, divisor=50)],
)
def test_bytes_are_prepared_to_the_values_that_they_stand_for(normalize: Any, tmp_path: Path) -> None:
    preparation = Preparation(2, 1, None, None, None, normalize)
    source = np.random.default_rng(0).integers(30, 200, (1, 16, 16)).astype(np.float32)
    image = torch.as_tensor(np.asarray((normalize or (lambda x: x))(torch.from_numpy(source))))
    unit = units(preparation, (float(image.min()) - 0.5, float(image.max()) + 0.5), as_bytes=True)
    write_image(image, tmp_path / "a.png", unit, [1.0, 1.0])
    back = preparation.prepare(preparation.read(Record("a", (tmp_path / "a.png",)), with_label=False)[0]).image
    torch.testing.assert_close(back, image.float(), rtol=0, atol=0.02 * float(image.max() - image.min()))


def test_a_normalisation_that_nothing_undoes_is_refused() -> None:
    preparation = Preparation(2, 1, None, None, None, lambda image: image.abs().sqrt())
    with pytest.raises(UserError, match=r"dataset\.normalize: is neither a z-score nor a line"):
        units(preparation, (0.0, 1.0), as_bytes=False)


def test_a_volume_of_two_channels_has_them_last(tmp_path: Path) -> None:
    image = torch.randn(2, 4, 5, 6)
    write_image(image, tmp_path / "a.nii.gz", Units([1.0, 2.0], [0.0, 1.0]), [1.0, 2.0, 3.0])
    found: Any = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(np.asarray(found.dataobj)[..., 1] * 2 + 1, image[1].numpy(), atol=1e-6)
