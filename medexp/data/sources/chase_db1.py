"""CHASE_DB1: fundus photographs of both eyes of children, with vessels by two observers.

Fraz et al. 2012, IEEE Trans. Biomed. Eng. 59:2538.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from medexp.data.images import stem
from medexp.data.records import Record
from medexp.data.sources.folders import images_below, need_folder, sorted_unique
from medexp.errors import Faults, UserError

TRAINING = 10  # children; the customary test images are those of the other four


def records(root: Path, *, observer: Literal[1, 2] = 1) -> list[Record]:
    """root/Image_01L.jpg with Image_01L_1stHO.png and Image_01L_2ndHO.png; the two eyes of a child are one patient.

    observer: whose vessels are the label maps. The split is the customary one (the first 20 images train, the last 8
    test) where images of both are there, else none. Raises Faults naming every missing and every odd file.
    """
    need_folder(root)
    if observer not in (1, 2):
        raise UserError(f"dataset.source.observer: {observer} is not 1 or 2")
    end = "_1stHO" if observer == 1 else "_2ndHO"
    found, problems = [], []
    pictures = images_below(root)
    names = {stem(path) for path in pictures}
    for path in pictures:
        manual = re.fullmatch(r"(Image_\d+[LR])_(1st|2nd)HO", stem(path))
        if manual is not None:
            if manual[1] not in names and manual[0].endswith(end):
                problems.append(f"{path}: no image of that name")
            continue
        child = re.fullmatch(r"Image_(\d+)[LR]", stem(path))
        label = path.with_name(f"{stem(path)}{end}.png")
        if child is None:
            problems.append(f"{path}: is not named Image_NUMBER[LR]")
        elif not label.is_file():
            problems.append(f"case {stem(path)}: {label}: no such file")
        else:
            part = "train" if int(child[1]) <= TRAINING else "test"
            found.append(Record(stem(path), (path,), label, patient_id=child[1], split=part))
    if problems:
        raise Faults(f"{len(problems)} files of {root} are not as CHASE_DB1 has them", problems)
    if {record.split for record in found} != {"train", "test"}:
        found = [Record(r.case_id, r.images, r.label, patient_id=r.patient_id) for r in found]
    return sorted_unique(found, root)
