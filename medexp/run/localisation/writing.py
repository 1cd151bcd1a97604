"""Maps as files on the grid of their images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medexp.errors import UserError
from medexp.run.localisation.mapping import Seen
from medexp.run.results.files import ending, save_image

Array = np.ndarray[Any, Any]


def maps_written(seen: Seen, maps: Mapping[str, Array], into: Path) -> dict[str, Path]:
    """A file a class, CASE_class: float32 from 0 to 1 as NIfTI, or a grey PNG (255: the map's largest value). Raises UserError
    where the folder cannot be written or the file is an image of the case."""
    record, written = seen.record, {}
    for name, values in maps.items():
        path = into / f"{record.case_id}_{'_'.join(name.split())}{ending(record)}"
        if any(path.exists() and path.samefile(image) for image in record.files):
            raise UserError(f"--output: {path} is the image itself; give another folder")
        made = np.rint(values * 255).astype(np.uint8) if path.suffix == ".png" else values
        try:
            into.mkdir(parents=True, exist_ok=True)
            save_image(made, record.files[0], path, seen.prepared.source.affine)
        except OSError as error:
            raise UserError(f"--output: cannot write to {into} ({error.strerror}); give another folder") from None
        written[name] = path
    return written
