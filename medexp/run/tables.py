"""Tables at `medexp predict --input`: which images are a case, and what else is known of it."""

from __future__ import annotations

import csv
from pathlib import Path

from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.data.sources import table
from medexp.errors import UserError, nearest


def of_table(path: Path, data: DataModule) -> list[Record]:
    """A case a row. Columns are those of the table that the run was trained on; of a run that had none `image` (with several
    channels also `image_0000`, `image_0001` ...), where there is one `case`, and the covariates by name. Raises UserError."""
    own = getattr(data.source, "func", None) is table.records
    options = dict(getattr(data.source, "keywords", {})) if own else {}
    there, channels = columns(path, ","), data.preparation.file_channels
    numbered = [f"image_{number:04d}" for number in range(channels)]
    images = options.get("image") or (numbered if channels > 1 and "image" not in there else "image")
    case = options.get("case") or "case"
    wanted = [images] if isinstance(images, str) else list(images)
    for name in wanted:
        if name not in there:
            known = f"{nearest(name, there) or ';'} columns: {', '.join(there)}"
            raise UserError(
                f"--input: no column '{name}' in {path}{known}; it names the image files, below {path.parent}"
            )
    return table.records(
        path.parent.absolute(), csv=path.name, image=images, target=None, case=case if case in there else None,
        covariates=[name for name in data.covariates if name in there],
    )  # fmt: skip


def participants(root: Path, data: DataModule) -> list[str]:
    """Covariates of which a BIDS folder has a column."""
    path = root / "participants.tsv"
    there = columns(path, "\t") if data.covariates and path.is_file() else []
    return [name for name in data.covariates if name in there]


def columns(path: Path, delimiter: str) -> list[str]:
    """Names in the first row. Raises UserError where it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--input: {path} cannot be read as a table ({error}); save it in UTF-8") from None
