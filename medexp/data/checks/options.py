"""Values of a data set's options that fit no data set: said before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

from medexp.errors import UserError, nearest
from medexp.targets import KINDS


def check_options(
    spatial_dims: int,
    classes: Sequence[str],
    label_values: Sequence[int | Sequence[int]] | None,
    plane: str | None,
    patch_size: Sequence[int] | None,
    foreground: float,
) -> None:
    """Raises UserError naming the key."""
    if label_values is not None and len(label_values) != len(classes):
        seen = f"{len(label_values)} entries for {len(classes)} classes (dataset.classes)"
        raise UserError(f"dataset.label_values: {seen}; give a value, or a list of values, for each")
    if plane is not None and spatial_dims != 2:
        raise UserError(f"dataset.plane: {plane} slices are 2D; set dataset.spatial_dims=2, or dataset.plane=null")
    if patch_size is not None and (len(patch_size) != spatial_dims or not all(size > 0 for size in patch_size)):
        seen = f"{list(patch_size)} is not a positive number for each of {spatial_dims} axes"
        raise UserError(f"dataset.patch_size: {seen}; mend it, or set it to null")
    if not 0 <= foreground <= 1:
        raise UserError(f"dataset.foreground: {foreground} is not between 0 and 1")


def check_neighbours(neighbours: int, plane: str | None, in_channels: int, windows: object) -> None:
    """Raises UserError where slices cannot have neighbours as channels."""
    if neighbours and plane is None:
        raise UserError(f"dataset.neighbours: {neighbours}, but cases are no slices; set dataset.plane, or 0")
    if neighbours and windows is not None:
        raise UserError("dataset.windows: slices with neighbours are one channel a slice; leave one of the two out")
    if in_channels % (2 * neighbours + 1):
        seen = f"{in_channels}, but {neighbours} neighbours make {2 * neighbours + 1} channels of each of a file"
        raise UserError(f"dataset.in_channels: {seen}; set dataset.in_channels={2 * neighbours + 1}, or a multiple")


def check_counts(**counts: tuple[float, float | None]) -> None:
    """Of each key the least that is allowed, and what was given. Raises UserError naming the key."""
    for key, (least, value) in counts.items():
        if value is not None and value < least:
            raise UserError(f"dataset.{key}: {value} is less than {least}")


def check_kind(target: str) -> None:
    """Raises UserError for a kind of target that there is not."""
    if target not in KINDS:
        raise UserError(f"dataset.target: '{target}'{nearest(target, list(KINDS)) or ';'} allowed: {', '.join(KINDS)}")
