"""The phantom as a source: drawn on first use, then read from its table of cases."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medexp.data.records import Record
from medexp.errors import UserError, nearest

IMAGES = ("image", "second", "clean")
TARGETS: dict[str, Callable[[str], Any]] = {
    "presence": str,
    "lesion_count": float,
    "lesion_volume_ml": float,
    "followup_volume_ml": lambda text: [float(volume) for volume in text.split(";")],
    "boxes": json.loads,
}


def records(
    root: Path,
    *,
    spatial_dims: int = 3,
    patients: int = 40,
    seed: int = 0,
    target: str | None = "presence",
    image: str = "image",
) -> list[Record]:
    """The cases of the phantom at `root`, which is written first where it is absent.

    target: a column of cases.csv: "presence" (healthy or lesion), "lesion_count", "lesion_volume_ml" (ml),
        "followup_volume_ml" (ml at each time point), "boxes" (voxels: min of each axis, max of each axis); None: none.
    image: "image", "second" (the other modality) or "clean" (free of noise).
    Raises UserError for another name, and all that `write_phantom` raises.
    """
    if image not in IMAGES:
        raise UserError(f"phantom: image={image!r}; allowed: {', '.join(IMAGES)}{nearest(str(image), list(IMAGES))}")
    if target is not None and target not in TARGETS:
        raise UserError(
            f"phantom: target={target!r}; allowed: {', '.join(TARGETS)}, null{nearest(target, list(TARGETS))}"
        )
    from medexp.data.phantom.write import write_phantom

    root = write_phantom(Path(root), spatial_dims=spatial_dims, patients=patients, seed=seed)
    with (root / "cases.csv").open(newline="") as file:
        return [
            Record(
                case_id=row["case_id"],
                images=(root / row[image],),
                label=root / row["label"],
                target=None if target is None else TARGETS[target](row[target]),
                patient_id=row["patient_id"],
            )
            for row in csv.DictReader(file)
        ]
