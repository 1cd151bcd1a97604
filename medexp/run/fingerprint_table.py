"""The fingerprint of a data set for people: a line a fact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medexp.data.planning.fingerprint import Channel, Fingerprint

if TYPE_CHECKING:
    from rich.table import Table


def table(found: Fingerprint, name: str) -> Table:
    """The same lines as in the plan's comments, as a rich table."""
    from rich.table import Table

    built = Table("fingerprint", f"{name}: {found.cases} training cases", title=None)
    for key, text in rows(found):
        built.add_row(key, text)
    return built


def rows(found: Fingerprint) -> Iterator[tuple[str, str]]:
    """(name, numbers) of shape, spacing, nonzero voxels, channels and classes."""
    axes = f", axes {found.orientation}" if found.orientation else ""
    yield "shape", f"{by(found.median_shape)} voxels (median{axes})"
    low, median, high = (by(found.spacing(percent)) for percent in (10, 50, 90))
    spread = "all alike" if low == high else f"10 to 90 %: {low} to {high}"
    yield "spacing", f"{median} mm (median; {spread}), anisotropy {found.anisotropy:.3g}"
    yield "nonzero", f"{found.nonzero_fraction:.0%} of the voxels, {found.box_share:.0%} within their box (medians)"
    for index, channel in enumerate(found.channels):
        yield f"channel {index}", _channel(channel)
    for name, volume in found.classes.items():
        ml = "" if volume.ml is None else f", {volume.ml:.3g} ml"
        yield f"class {name}", f"in {volume.present:.0%} of the cases, {volume.voxels:g} voxels{ml} (medians)"


def _channel(channel: Channel) -> str:
    kind = "CT" if channel.modality == "ct" else "no CT"
    text = f"{kind}, {channel.minimum:.4g} to {channel.maximum:.4g}, mean {channel.mean:.4g}, std {channel.std:.4g}"
    if inside := channel.foreground:
        ends = f"0.5 to 99.5 %: {inside.percentile_00_5:.4g} to {inside.percentile_99_5:.4g}"
        text += f"; foreground mean {inside.mean:.4g}, std {inside.std:.4g}, {ends}"
    return f"{text}; missing in {channel.missing} cases" if channel.missing else text


def by(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
