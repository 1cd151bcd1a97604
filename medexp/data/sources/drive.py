"""DRIVE: fundus photographs with vessels and fields of view (Staal et al. 2004, IEEE Trans. Med. Imaging 23:501)."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Literal

from medexp.data.records import Record
from medexp.data.sources.folders import images_below, need_folder, sorted_unique
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)
PARTS = {"training": "train", "test": "test"}


def records(root: Path, *, observer: Literal[1, 2] = 1) -> list[Record]:
    """root/{training,test}/{images,1st_manual,mask}, the official split; its regions are the fields of view.

    Later releases come without the vessels of the test images: then only the training images are cases, which the log
    says, and they are split like any other data set. observer: whose vessels the test images have (2: 2nd_manual);
    those of the training images are of one observer. Raises Faults naming every file that is missing.
    """
    need_folder(root)
    if observer not in (1, 2):
        raise UserError(f"dataset.source.observer: {observer} is not 1 or 2")
    manuals = {"training": "1st_manual", "test": "2nd_manual" if observer == 2 else "1st_manual"}
    parts = [part for part in PARTS if (root / part / manuals[part]).is_dir()]
    if "training" not in parts:
        expected = "training/images, training/1st_manual and training/mask"
        raise UserError(
            f"dataset.root: {root} has no training/1st_manual; set dataset.root=PATH of a folder with {expected}"
        )
    if "test" not in parts:
        if observer == 2:
            raise UserError(f"dataset.source.observer: 2, but {root} has no test/2nd_manual; set it to 1")
        if (root / "test").is_dir():
            log.info("%s has no test/1st_manual: its test images have no label maps and are left out", root)
    found = [record for part in parts for record in _part(root / part, manuals[part], split=len(parts) > 1)]
    missing = [
        f"case {record.case_id}: {path}: no such file"
        for record in found
        for path in (record.label, record.region)
        if path is not None and not path.is_file()
    ]
    if missing:
        raise Faults(f"{len(missing)} files that belong to the images of {root} are missing", missing)
    return sorted_unique(found, root)


def _part(folder: Path, manual: str, split: bool) -> list[Record]:
    if not (folder / "images").is_dir():
        raise UserError(f"dataset.root: {folder} has no folder images; copy it again")
    found, odd = [], []
    for image in images_below(folder / "images"):
        number = re.match(r"(\d+)_(training|test)\.", image.name)
        if number is None:
            odd.append(f"{image}: is not named NUMBER_{folder.name}.tif")
            continue
        label = folder / manual / f"{number[1]}_manual{manual[0]}.gif"
        region = folder / "mask" / f"{number[1]}_{number[2]}_mask.gif"
        part = PARTS[folder.name] if split else None
        found.append(Record(f"{number[1]}_{number[2]}", (image,), label, split=part, region=region))
    if odd or not found:
        raise Faults(f"{folder / 'images'} is not as DRIVE has it", odd or ["it holds no image"])
    return found
