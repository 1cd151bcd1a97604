"""A prepared case as arrays and JSON, the way that it is kept, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from medexp.data.formats.scan import Array
from medexp.data.preparation.prepare import Grid, Prepared
from medexp.data.store.entries import Kept
from medexp.seeding import derive
from medexp.targets import IGNORED

EXACT = 1 / 2048  # largest error of float16, as a share of an image's range, for it to be kept so
PLACES = 10_000  # voxels of a class that are kept to cut patches around; as many as nnU-Net keeps


def pack(prepared: Prepared) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays: image (C, *spatial), float16 where that is exact enough; label (1, *spatial); places (N, axes), voxels of
    the foreground classes one class after the other. Facts: geometry, voxels a class, and where each class's places lie.
    """
    image = prepared.image.numpy()
    arrays: dict[str, Array] = {"image": _half(image)}
    facts: dict[str, Any] = {
        "affine": prepared.affine.tolist(),
        "source": {
            "shape": list(prepared.source.shape),
            "affine": prepared.source.affine.tolist(),
            "spacing": list(prepared.source.spacing),
        },
        "box": prepared.box and [list(side) for side in prepared.box],
        "missing": list(prepared.missing),
        "ignored": prepared.ignored,
    }
    if prepared.label is not None:
        arrays["label"] = prepared.label.numpy()
        known = arrays["label"][0]
        if prepared.ignored:
            known = np.where(known == IGNORED, known.dtype.type(0), known)
        arrays["places"], facts["places"] = foreground_places(known)
        facts["voxels"] = np.bincount(arrays["label"].ravel()).tolist()
    return arrays, facts


def _half(image: Array) -> Array:
    """float16 where that is exact enough for the image at hand: an ADC map of 1e-9 or a narrow range at 1500 stays float32."""
    if float(np.abs(image).max(initial=0)) > float(np.finfo(np.float16).max):
        return image
    half = image.astype(np.float16)
    error = float(np.abs(half.astype(np.float32) - image).max(initial=0))
    return half if error <= EXACT * float(np.ptp(image) if image.size else 0) else image


def unpack(kept: Kept) -> Prepared:
    """The whole case, float32."""
    facts = kept.facts
    source = facts["source"]
    return Prepared(
        image=torch.from_numpy(kept.read("image")).float(),
        label=torch.from_numpy(kept.read("label")) if "label" in kept else None,
        affine=np.asarray(facts["affine"]),
        source=Grid(tuple(source["shape"]), np.asarray(source["affine"]), tuple(source["spacing"])),
        box=facts["box"] and tuple(tuple(side) for side in facts["box"]),
        missing=tuple(facts["missing"]),
        ignored=facts["ignored"],
    )


def foreground_places(label: Array) -> tuple[Array, dict[str, list[int]]]:
    """Voxels of each class above 0 in (*spatial), at most PLACES of each, and {class: [start, stop]} into them."""
    flat = np.flatnonzero(label)
    values = label.ravel()[flat]
    chosen, ranges, start = [], {}, 0
    for value in np.unique(values).tolist():
        places = flat[values == value]
        if len(places) > PLACES:
            rng = np.random.default_rng(derive("places", value, len(places)))
            places = np.sort(rng.choice(places, PLACES, replace=False))
        chosen.append(places)
        ranges[str(value)] = [start, start + len(places)]
        start += len(places)
    together = np.concatenate(chosen) if chosen else np.empty(0, np.int64)
    kind = np.int32 if max(label.shape) < 2**31 else np.int64
    return np.stack(np.unravel_index(together, label.shape), axis=1).astype(kind), ranges


def classes_present(facts: Mapping[str, Any]) -> list[int]:
    """Foreground classes of a packed case."""
    return [int(value) for value in facts.get("places", {})]
