"""`medexp generate RUN`: samples of a generative run as files, with a manifest by which a data set finds them."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from medexp import build
from medexp.data.module import DataModule
from medexp.errors import UserError, nearest
from medexp.metrics.generative import MOST
from medexp.run import folder
from medexp.run.sample_files import suffix_of, units, write_image
from medexp.run.sampling import draw
from medexp.tasks.base import Task

log = logging.getLogger(__name__)
MANIFEST, ABOUT = "samples.csv", "generate.json"
COLUMNS = ["case_id", "file", "class", "seed"]
SAME = ("weights", "seed", "class")  # of a folder that is gone on with


def generate(
    run: Path, count: int, output: Path, seed: int = 0, class_name: str | None = None, checkpoint: str = "best"
) -> Path:
    """Writes the samples 0 to count - 1 of a run into `output`, an image a sample, then samples.csv (case_id, file, class,
    seed) and generate.json; returns the manifest.

    Of a run with classes samples are of each class in turn, or of one. A folder in which this was interrupted, or with
    fewer samples, is gone on with: sample i is a function of (weights, seed, i), and an empty file is made again. Raises
    UserError.
    """
    cfg = folder.load(run)
    if not 1 <= count <= MOST:
        raise UserError(f"--count: {count}; give a number of samples from 1 to {MOST} (others by --seed)")
    data, path = build.datamodule(cfg), folder.weights(run, checkpoint)
    task: Any = build.task(cfg)
    if not hasattr(task, "generate"):
        kind = cfg["task"]["_target_"].rsplit(".", 1)[-1]
        raise UserError(f"{run}: {kind} generates nothing; give a run of a generative task, e.g. task=diffusion")
    labels = _labels(cfg, count, class_name)
    build.load_weights(task, path)
    about = _about(run, path, count, seed, class_name, checkpoint)
    _claim(output, about)
    with folder.lock(output):
        about |= _write(cfg, data, task, labels, output, about)
    log.info("%d samples and %s in %s", count, MANIFEST, output)
    return output / MANIFEST


def _write(
    cfg: dict[str, Any], data: DataModule, task: Task, labels: list[int] | None, output: Path, about: dict[str, Any]
) -> dict[str, Any]:
    end, limits = suffix_of(data.preparation), [float(value) for value in task.limits]  # type: ignore[union-attr]
    unit = units(data.preparation, (limits[0], limits[1]), as_bytes=end == ".png")
    spacing = [float(size) for size in data.preparation.spacing or [1.0] * data.preparation.spatial_dims]
    if data.preparation.spacing is None and end != ".png":
        log.info("dataset.spacing is null, as scans came: voxels of samples are written as 1 mm")
    about = {**about, "intensities": {"slope": unit.slope, "intercept": unit.intercept}, "spacing": spacing}
    if not (output / ABOUT).is_file():
        folder.write_json(output / ABOUT, about)
    names = [f"sample_{index:05d}{end}" for index in range(about["count"])]
    listed, there = _listed(output / MANIFEST), _there(output, names)

    def deliver(first: int, images: Tensor) -> None:
        for place, image in enumerate(images):
            write_image(image, output / names[first + place], unit, spacing)

    def wanted(chunk: range) -> bool:
        return not all(names[index] in there for index in chunk)

    draw(cfg, task, about["count"], about["seed"], labels, deliver, wanted)
    classes = [""] * len(names) if labels is None else [data.classes[label] for label in labels]
    rows = [(name.partition(".")[0], name, one, about["seed"]) for name, one in zip(names, classes, strict=True)]
    if listed <= len(rows):  # fewer are asked for: those there stay listed
        folder.write(output / MANIFEST, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False))
        folder.write_json(output / ABOUT, about)
    return about


def _there(output: Path, names: Sequence[str]) -> set[str]:
    """Those of the samples that need not be made. Raises UserError for a folder in the place of one."""
    found = {entry.name: entry for entry in os.scandir(output)}
    for name in names:
        if name in found and found[name].is_dir():
            raise UserError(f"--output: {output / name} is a folder in the place of a sample; remove it")
    return {name for name in names if name in found and found[name].is_file() and found[name].stat().st_size > 0}


def _listed(manifest: Path) -> int:
    """Samples in the manifest of a folder that is gone on with. Raises UserError where it is none."""
    if not manifest.exists():
        return 0
    try:
        table = pd.read_csv(manifest)
        known = list(table.columns[: len(COLUMNS)]) == COLUMNS
    except (ValueError, OSError):  # empty, torn or no text: pandas raises kinds of ValueError
        known = False
    if not known:
        raise UserError(
            f"--output: {manifest} is no list of samples ({', '.join(COLUMNS)}); remove it to have it made again"
        )
    return len(table)


def _labels(cfg: dict[str, Any], count: int, class_name: str | None) -> list[int] | None:
    """Class of each sample; None of a run without."""
    classes = [str(name) for name in cfg["dataset"]["classes"]]
    if cfg["task"]["target"] != "generation_by_class":
        if class_name is not None:
            raise UserError("--class: the run knows no classes; leave it out, or train task=diffusion_by_class")
        return None
    if class_name is None:
        return [index % len(classes) for index in range(count)]
    if class_name not in classes:
        hint = nearest(class_name, classes) or ";"
        raise UserError(f"--class: '{class_name}' is no class of the run{hint} classes: {', '.join(classes)}")
    return [classes.index(class_name)] * count


def _about(run: Path, weights: Path, count: int, seed: int, name: str | None, checkpoint: str) -> dict[str, Any]:
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{weights}: cannot be read ({error.strerror}); the run keeps no such checkpoint") from None
    facts = folder.environment(seed)
    return {
        "run": str(run.absolute()),
        "checkpoint": checkpoint,
        "weights": digest,
        "count": count,
        "seed": seed,
        "class": name,
        "command": " ".join(["medexp", *sys.argv[1:]]),
        "versions": facts["packages"],
        "git": facts["git"],
    }


def _claim(output: Path, about: dict[str, Any]) -> None:
    """Makes the folder, or finds one that the same samples go into. Raises UserError for somebody else's."""
    known = output / ABOUT
    if known.is_file():
        before = folder.read_json(known)
        if not isinstance(before, dict):
            raise UserError(f"--output: {known} is damaged (a {type(before).__name__}); give another folder")
        for key in SAME:
            if before.get(key) != about[key]:
                seen = f"{key} {before.get(key)}, asked for is {about[key]}"
                raise UserError(f"--output: {output} holds samples of {seen}; give another folder")
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output: {output} is there and holds no samples of medexp; give a new or empty folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output: cannot write to {output} ({error.strerror}); give another folder") from None
