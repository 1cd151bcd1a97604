"""Frames of one DICOM series as volumes: in the order of their places, one volume a time point, or what is wrong.

Places follow DICOM PS3.3 C.7.6.2.1.1 (image plane module): mm in the patient's space, LPS.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medexp.data.formats.dicom_header import TIMES, Frame
from medexp.data.formats.scan import Array, Unreadable

SAME_PLACE = 0.01  # mm along the normal within which two images lie at one place
SAME_VALUE = 1e-3  # of direction cosines, and mm of pixel spacing
SHARED = 2  # the first TIMES number a whole volume, so that every place must have the same values
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volumes(frames: Sequence[Frame]) -> list[list[Frame]]:
    """One list a time point, its frames sorted along the normal of the slices. Raises Unreadable, naming the files,
    where the frames are not evenly spaced slices of one grid, each there exactly once a time point."""
    _one_patient(frames)
    _complete(frames)
    _alike(frames)
    _twice(frames)
    places = _places(frames)
    ordered = _by_time(places)
    for volume in ordered:
        _even(volume)
    return ordered


def affine(volume: Sequence[Frame]) -> Array:
    """Voxel (column i, row j, slice k) to mm, RAS (4, 4). A tilted gantry, whose slices are shifted against each other
    by the same vector everywhere, makes it a shear."""
    first = volume[0]
    assert first.position is not None
    assert first.spacing is not None
    row, column = np.asarray(first.orientation).reshape(2, 3)
    if len(volume) > 1:
        step = (np.asarray(volume[-1].position) - first.position) / (len(volume) - 1)
    else:
        step = np.cross(row, column) * (first.step or 1.0)
    placed = np.eye(4)
    placed[:3, 0] = row * first.spacing[1]
    placed[:3, 1] = column * first.spacing[0]
    placed[:3, 2] = step
    placed[:3, 3] = first.position
    return LPS_TO_RAS @ placed


def _one_patient(frames: Sequence[Frame]) -> None:
    """Images without a PatientID may be anybody's. No message names a patient, not even by hash."""
    tally = Counter(frame.patient for frame in frames if frame.patient)
    if len(tally) > 1:
        usual = tally.most_common(1)[0][0]
        first = next(frame.name for frame in frames if frame.patient == usual)
        odd = [frame.name for frame in frames if frame.patient not in ("", usual)]
        seen = f"holds images of {len(tally)} patients: {tally[usual]} like {first}, but not {some(odd)}"
        raise Unreadable(f"{seen} (PatientID differs); move those of each patient into a folder of their own")


def _complete(frames: Sequence[Frame]) -> None:
    tags = {"position": "ImagePositionPatient", "orientation": "ImageOrientationPatient", "spacing": "PixelSpacing"}
    for name, tag in tags.items():
        lacking = [frame.name for frame in frames if getattr(frame, name) is None]
        if lacking:
            what = f"{len(lacking)} of {len(frames)} images have no {tag} ({some(lacking)})"
            raise Unreadable(f"{what}, so their place is not known; leave the series out or export it again")
    crooked = [frame.name for frame in frames if not _sound(frame)]
    if crooked:
        what = f"the geometry of {some(crooked)} is impossible (orientation not orthonormal, or spacing not positive)"
        raise Unreadable(f"{what}; leave the series out or export it again")


def _sound(frame: Frame) -> bool:
    axes = np.asarray(frame.orientation).reshape(2, 3)
    return bool(np.allclose(axes @ axes.T, np.eye(2), atol=1e-2) and min(frame.spacing or (0,)) > 0)


def _alike(frames: Sequence[Frame]) -> None:
    """Every frame on a grid of the same size, spacing and orientation as most."""
    kinds: dict[str, tuple[Callable[[Frame], Any], float]] = {
        "sizes (rows, columns)": (lambda frame: frame.size, 0),
        "pixel spacings": (lambda frame: frame.spacing, SAME_VALUE),
        "orientations": (lambda frame: frame.orientation, SAME_VALUE),
    }
    for what, (key, slack) in kinds.items():
        groups: list[list[Frame]] = []
        for frame in frames:
            alike = (group for group in groups if np.allclose(key(group[0]), key(frame), rtol=0, atol=slack))
            group = next(alike, None)
            if group is None:
                groups.append([frame])
            else:
                group.append(frame)
        if len(groups) > 1:
            most, *others = sorted(groups, key=len, reverse=True)
            odd = [frame.name for group in others for frame in group]
            seen = f"holds images of {len(groups)} {what}: {len(most)} like {most[0].name}, but not {some(odd)}"
            raise Unreadable(f"{seen}; a volume has one: move the others into a folder of their own")


def _twice(frames: Sequence[Frame]) -> None:
    named: dict[str, list[str]] = defaultdict(list)
    for frame in frames:
        named[frame.uid].append(frame.name)
    copies = [" = ".join(names) for uid, names in named.items() if uid and len(names) > 1]
    if copies:
        raise Unreadable(f"holds {len(copies)} images twice ({some(copies)}; same SOPInstanceUID); remove the copies")


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames by their distance along the normal of the slices."""
    distances = _along(frames)
    order = np.argsort(distances, kind="stable")
    places: list[list[Frame]] = []
    last = -np.inf
    for index in order:
        if distances[index] - last > SAME_PLACE:
            places.append([])
            last = distances[index]
        places[-1].append(frames[index])
    return places


def _along(frames: Sequence[Frame]) -> Array:
    row, column = np.asarray(frames[0].orientation).reshape(2, 3)
    return np.asarray([frame.position for frame in frames]) @ np.cross(row, column)


def _by_time(places: list[list[Frame]]) -> list[list[Frame]]:
    """(place, time) to one list a time point."""
    tally = Counter(len(place) for place in places)
    points = max(tally, key=lambda count: (tally[count], count))
    odd = [place for place in places if len(place) != points]
    if odd and points == 1:
        names = [" = ".join(frame.name for frame in place) for place in odd]
        raise Unreadable(f"holds {len(odd)} slices more than once ({some(names)} lie at one place); keep one of each")
    if odd:
        seen = [f"{len(place)} at the place of {place[0].name}" for place in odd]
        raise Unreadable(f"has {points} time points, but not of every slice ({some(seen)}); export the series again")
    if points == 1:
        return [[place[0] for place in places]]
    key = next((key for key in range(len(TIMES)) if _separates(places, key)), None)
    if key is None:
        alike = " = ".join(frame.name for frame in places[0][:3])
        what = f"holds {points} images at each place (e.g. {alike}), and none of {', '.join(TIMES)} puts them in order"
        raise Unreadable(f"{what}; remove copies, or export each volume as a series of its own")
    ordered = [sorted(place, key=lambda frame: frame.times[key] or 0.0) for place in places]
    return [[place[point] for place in ordered] for point in range(points)]


def _separates(places: list[list[Frame]], key: int) -> bool:
    """Whether a tag tells the images of each place apart; one that numbers volumes, alike at all places."""
    values = [sorted({t for frame in place if (t := frame.times[key]) is not None}) for place in places]
    distinct = all(len(value) == len(place) for value, place in zip(values, places, strict=True))
    return distinct and (key >= SHARED or all(value == values[0] for value in values))


def _even(volume: list[Frame]) -> None:
    """Gaps along the normal may differ by 1 %, or 0.05 mm where that is more (positions are rounded when written; of
    thin slices a tenth of the gap)."""
    if len(volume) < 3:
        return
    gaps = np.diff(_along(volume))
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])  # the lower median: a missing slice widens a gap
    slack = max(0.01 * usual, min(0.05, 0.1 * usual))
    wrong = [index for index, gap in enumerate(gaps) if abs(gap - usual) > slack]
    if wrong:
        whole = np.rint(gaps[wrong] / usual)
        missing = bool((whole >= 2).all() and (np.abs(gaps[wrong] - whole * usual) <= slack * whole).all())
        seen = [f"{gaps[i]:.2f} mm between {volume[i].name} and {volume[i + 1].name}" for i in wrong]
        if missing:
            count = int(whole.sum() - len(wrong))
            what = f"{count} slices are missing" if count > 1 else "1 slice is missing"
            raise Unreadable(f"{what}: {some(seen)}, {usual:.2f} mm elsewhere; copy the series again")
        raise Unreadable(
            f"slices are unevenly spaced: {some(seen)}, {usual:.2f} mm elsewhere; resample or leave it out"
        )
    places = np.asarray([frame.position for frame in volume])
    straight = np.linspace(places[0], places[-1], len(places))
    shifts = np.linalg.norm(places - straight, axis=1)
    if shifts.max() > slack * 2:
        worst = int(shifts.argmax())
        what = f"slices do not lie on one even line: {volume[worst].name} is {shifts[worst]:.2f} mm off it"
        raise Unreadable(f"{what}; resample or leave it out")


def some(names: Sequence[str], most: int = 5) -> str:
    """The names, or the first few and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
