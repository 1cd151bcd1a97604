"""Folders of images: one folder a class, or a folder of images beside a folder of masks."""

from __future__ import annotations

from pathlib import Path

from medexp.data.images import SUFFIXES, stem
from medexp.data.records import Record
from medexp.data.sources.folders import images_below, inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError

PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def records(root: Path, *, images: str | None = None, masks: str | None = None, mask_suffix: str = "") -> list[Record]:
    """root/<class>/<image>, also below train/, val/, test/ folders, which then are the split.

    images, masks: names of two folders below root instead; files pair by name, a mask's with `mask_suffix` at its end.
    """
    need_folder(root)
    if images is not None and masks is not None:
        return _pairs(root, images, masks, mask_suffix)
    if images is not None or masks is not None:
        raise UserError("dataset.source: give both images=FOLDER and masks=FOLDER, or neither (a folder a class)")
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    if folders and all(folder.name.lower() in PARTS for folder in folders):
        found = [r for folder in folders for r in _classes(folder, root, PARTS[folder.name.lower()])]
    else:
        found = _classes(root, root, None)
    return sorted_unique(found, root)


def _classes(folder: Path, root: Path, split: str | None) -> list[Record]:
    classes = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    if not classes:
        raise UserError(f"dataset.root: {folder} has no folders; a folder a class is expected, with images in each")
    pictures = {entry: images_below(entry) for entry in classes}
    empty = [f"{entry}: no image in it (folders in it are not searched)" for entry in classes if not pictures[entry]]
    if empty:
        raise Faults(f"{len(empty)} class folders without an image in {folder}; known: {' '.join(SUFFIXES)}", empty)
    return [
        Record(f"{'_'.join(entry.relative_to(root).parts)}_{stem(path)}", (path,), target=entry.name, split=split)
        for entry in classes
        for path in pictures[entry]
    ]


def _pairs(root: Path, images: str, masks: str, mask_suffix: str) -> list[Record]:
    folders = [inside(root, name, f"dataset.source.{key}") for key, name in (("images", images), ("masks", masks))]
    for key, folder in zip(("images", "masks"), folders, strict=True):
        if not folder.is_dir():
            raise UserError(f"dataset.source.{key}: {folder} is not a folder")
    pictures = _by_name(images_below(folders[0]), "")
    maps = _by_name([path for path in images_below(folders[1]) if stem(path).endswith(mask_suffix)], mask_suffix)
    alone = [f"{pictures[name]}: no mask of that name" for name in sorted(pictures.keys() - maps.keys())]
    alone += [f"{maps[name]}: no image of that name" for name in sorted(maps.keys() - pictures.keys())]
    if alone:
        raise Faults(f"{len(alone)} files without their other half in {root}", alone)
    return sorted_unique([Record(name, (path,), maps[name]) for name, path in pictures.items()], root)


def _by_name(paths: list[Path], end: str) -> dict[str, Path]:
    """Files by name without suffix. Raises UserError where two differ in the suffix only."""
    named: dict[str, Path] = {}
    for path in paths:
        other = named.setdefault(stem(path).removesuffix(end), path)
        if other != path:
            raise UserError(f"{path}: has the name of {other.name}, so pairs are not clear; rename or remove one")
    return named
