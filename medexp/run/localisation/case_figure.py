"""The figure of one class of a case: its map over the image, or the attention over its slices."""

from __future__ import annotations

from typing import Any

from medexp.run.figures import Array
from medexp.run.localisation.drawing import Named, overlay, shown_slice
from medexp.run.localisation.mapping import Mapper, Seen
from medexp.run.localisation.profile import profile
from medexp.run.planes import plane_name, slice_name


def case_figure(
    mapper: Mapper,
    method: str,
    seen: Seen,
    kind: int,
    drawn: tuple[Array, Array],
    threshold: float,
    row: dict[str, Any],
) -> Any:
    """drawn: the map of a method and the mask, on the source grid. row: of per_case.csv."""
    prepared = seen.prepared
    title = f"{seen.record.case_id}, {row['class']} (probability {row['probability']:.2f})"
    if mapper.by_slice(method):
        mask = mapper.mask(seen, kind)
        planes = prepared.image.numpy(), None if mask is None else mask[0].numpy()
        return profile(*planes, mapper.weights(seen), plane_name(prepared.affine), title)
    values, truth = drawn
    where = slice_name(truth.shape, prepared.source.affine, shown_slice(*drawn) if truth.ndim == 3 else 0)
    title = ", ".join(filter(None, (title, where, f"IoU {row['iou']:.2f}")))
    image = mapper.data.preparation.image_on_source(prepared.image, prepared, seen.record)
    named = Named(title, method.replace("_", "-"), threshold, cross=method != "attention")
    return overlay(image, values, truth, named)
