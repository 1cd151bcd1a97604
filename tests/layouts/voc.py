"""Pascal VOC folders with boxes around squares, as BCCD has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Object = tuple[str, int, int, int, int]  # name, xmin, ymin, xmax, ymax: from 1, maxima belong to the box


def annotation(name: str, objects: Sequence[Object], size: tuple[int, int] = (64, 48)) -> str:
    """The XML of an image of (width, height)."""
    entries = "".join(
        f"<object><name>{kind}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        f"<xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for kind, a, b, c, d in objects
    )
    sides = f"<width>{size[0]}</width><height>{size[1]}</height><depth>3</depth>"
    return f"<annotation><filename>{name}.jpg</filename><size>{sides}</size>{entries}</annotation>"


def write_voc(
    root: Path, objects: Mapping[str, Sequence[Object]], sets: Mapping[str, Sequence[str]] | None = None
) -> Path:
    """An image of 64x48 and an annotation for each name; `sets`: names of each list in ImageSets/Main."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name, entries in objects.items():
        pixels = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
        for _, a, b, c, d in entries:
            pixels[b - 1 : d, a - 1 : c] += 150
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
        (root / "Annotations" / f"{name}.xml").write_text(annotation(name, entries), encoding="utf-8")
    for part, names in (sets or {}).items():
        (root / "ImageSets/Main" / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
    return root
