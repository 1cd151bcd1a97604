"""The README of a release says what goes in and comes out, and how good that is beside what needs no training."""

from __future__ import annotations

from typing import Any

import pytest

from medexp.run.card import card
from medexp.run.channels import channels

IMAGES = {"inputs": ["t1"], "outputs": ["flair"], "unit": "standard deviations of the prepared image"}


def said(**other: Any) -> dict[str, Any]:
    facts = {
        "name": "translation/mine",
        "versions": {"medexp": "0.1.0"},
        "task": {"target": "image"},
        "model": {"_target_": "a.Net"},
        "dataset": {"in_channels": 1, "spatial_dims": 3, "classes": []},
        "weights": {"values": 1e6, "checkpoint": "best", "epoch": 2},
        "results": {},
        "data": {},
    }
    return {**facts, **other}


def test_a_model_that_makes_images_says_which_and_in_which_unit() -> None:
    text = card(said(channels=IMAGES))
    assert "In: t1. Out: flair, in standard deviations of the prepared image.\n" in text
    assert "In: noise. Out: one channel, in x.\n" in card(
        said(channels={"inputs": [], "outputs": ["channel 0"], "unit": "x"})
    )


def test_classes_are_named_where_the_model_tells_them_apart() -> None:
    dataset = {"in_channels": 2, "spatial_dims": 3, "classes": ["no", "yes"]}
    text = card(said(dataset=dataset, task={"target": "index"}))
    assert "In: 2 channels.\nClasses: no, yes.\n" in text
    assert "Classes" not in card(said(dataset=dataset, channels=IMAGES))
    assert "Classes: no, yes." in card(said(dataset=dataset, channels=IMAGES, task={"target": "generation_by_class"}))
    assert "Classes" not in card(said())


def test_no_package_index_is_claimed() -> None:
    text = card(said())
    assert "Install medexp 0.1.0 as its README says" in text
    assert "pip install" not in text


def test_results_stand_beside_those_of_baselines() -> None:
    parts = {"network": {"mean": 28.04}, "input": {"mean": 28.91}}
    metrics = {"psnr": {"mean": 28.04, "per_class": parts}, "better": {"mean": 0, "per_class": {"input": {"mean": 0}}}}
    text = card(said(results={"part": "test", "cases": 1, "metrics": metrics}))
    assert "Results on 1 case (test):" in text
    assert "| metric | network | input |\n|---|---|---|\n| psnr (dB) | 28.04 | 28.91 |\n| better | - | 0 |\n" in text
    assert "Better: share of the cases in which the network's PSNR is above that of the column.\n" in text


@pytest.mark.parametrize(
    ("target", "degradation", "found"),
    [
        ("image", {"inputs": [0], "outputs": [1]}, (["T1"], ["FLAIR"], "standard deviations of the prepared image")),
        ("image", {}, (["T1", "FLAIR"], ["T1", "FLAIR"], "the unit of what goes in")),
        (
            "anomaly",
            None,
            (
                ["T1", "FLAIR"],
                ["the absolute error of the reconstruction"],
                "standard deviations of the prepared image",
            ),
        ),
        ("generation", None, ([], ["T1", "FLAIR"], "standard deviations of the prepared image; as PNG from 0 to 255")),
    ],
)
def test_channels_go_by_the_names_of_the_data_set(target: str, degradation: Any, found: tuple[Any, ...]) -> None:
    dataset = {
        "_target_": "medexp.data.module.DataModule",
        "root": "/nowhere",
        "source": {
            "_target_": "medexp.data.sources.nifti_folder.records",
            "_partial_": True,
            "images": ["{case}/T1_*.nii.gz", "{case}/FLAIR.nii.gz"],
        },
        "split": {"_target_": "medexp.data.splits.make_split", "_partial_": True},
        "target": target,
        "spatial_dims": 3,
        "in_channels": 2,
        "classes": [],
        "provides": [],
        "normalize": {"_target_": "medexp.transforms.normalize.ZScore"},
    }
    if degradation is not None:
        degradation = {"_target_": "medexp.transforms.degradation.Degradation", **degradation}
    cfg = {"task": {"target": target}, "dataset": dataset, "degradation": degradation, "augmentation": None, "seed": 0}
    made = channels(cfg)
    assert (made["inputs"], made["outputs"], made["unit"]) == found
    assert channels({**cfg, "task": {"target": "mask"}}) == {}
