"""Studies of several frames (2D+t, 3D+t) as cases: which frames the network sees, and which it is to predict."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from medexp.data.records import Record
from medexp.errors import UserError
from medexp.targets import KINDS

log = logging.getLogger(__name__)
Item = dict[str, Any]
PARTS = ("train", "val", "test")
STUDY = "study"  # key of an item that is still folded: what makes one of a batch of it
PADDED = ("image", "times", "values")  # of a batch: they have an axis of frames


@dataclass(frozen=True)
class Frames:
    """How the frames of a study become cases (`dataset.sequence`). Raises UserError for values that fit no study.

    horizon: frames at the end of a case that are to be predicted and that the network does not see; 0 for a class or a
        value of the whole case.
    length: frames of a window, those to be predicted among them, where long studies are cut; None: the whole study is
        the case. step: frames from one window to the next; None: as many as a window has, so that none overlap. All
        windows of a study are of one patient.
    last: the network sees this many of the newest frames only.
    shares: for a single long study: its time is cut into train, val and test in these shares, in that order. What is to
        be predicted lies in a window's own part, what the network sees of it there or earlier; no window reaches into a
        later part. Scores then say how the study goes on, and nothing of other patients.
    """

    horizon: int = 0
    length: int | None = None
    step: int | None = None
    last: int | None = None
    shares: Sequence[float] | None = None

    def __post_init__(self) -> None:
        least = {"horizon": 0, "length": self.horizon + 1, "step": 1, "last": 1}
        for key, low in least.items():
            value = getattr(self, key)
            if value is not None and value < low:
                raise UserError(f"dataset.sequence.{key}: {value} is less than {low}; give more, or null")
        if self.length is None and (self.step is not None or self.shares is not None):
            key = "step" if self.step is not None else "shares"
            raise UserError(f"dataset.sequence.{key}: there are no windows; set dataset.sequence.length, or {key}=null")
        if self.shares is not None and (
            len(self.shares) != 3 or min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-6
        ):
            raise UserError(f"dataset.sequence.shares: {list(self.shares)}; give [train, val, test] that add up to 1")

    def cases(self, records: Sequence[Record]) -> list[Record]:
        """Records (their frames known) as whole studies, or cut into windows. Studies with fewer frames than a case
        needs are left out, and said. Raises UserError where none is left."""
        needed = self.length or self.horizon + 1
        short = [record.case_id for record in records if count(record) < needed]
        if short:
            log.info("%d studies have fewer than %d frames and are left out (e.g. %s)", len(short), needed, short[0])
        kept = [record for record in records if count(record) >= needed]
        found = kept if self.length is None else [window for record in kept for window in self._windows(record)]
        if self.shares is not None:
            said = "train, val and test are parts of its time: scores say how it goes on, nothing of other patients"
            log.info("%d studies, each cut by time (dataset.sequence.shares): %s", len(kept), said)
        if not found:
            what = f"no study has {needed} frames" if not kept else "no part of a study's time has a window"
            raise UserError(f"dataset.sequence: {what}; set a smaller length or horizon, or other shares")
        return found

    def _windows(self, record: Record) -> list[Record]:
        assert self.length is not None
        bounds = [0, count(record)] if self.shares is None else _bounds(count(record), self.shares)
        found = []
        for place, (begin, end) in enumerate(pairwise(bounds)):
            earliest = begin if not self.horizon else max(begin - (self.length - self.horizon), 0)
            for first in range(earliest, end - self.length + 1, self.step or self.length):
                window = part(record, first, first + self.length)
                name = f"{record.case_id}_w{first:04d}"
                if self.shares is None:
                    found.append(replace(window, case_id=name, patient_id=record.group))
                else:  # the parts of one study count as patients, as nothing else can be divided
                    found.append(
                        replace(window, case_id=name, patient_id=f"{record.group}_{PARTS[place]}", split=PARTS[place])
                    )
        return found

    def alone(self, target: str, **others: Any) -> None:
        """Raises UserError for what cannot be had beside frames: options of still images, a label map."""
        for key, value in others.items():
            if value:
                raise UserError(f"dataset.{key}: {value} is for still images; set it to null, or dataset.sequence=null")
        if KINDS[target].label_map:
            raise UserError(
                f"dataset.sequence: task.target={target} has one label map, of a still image; set it to null"
            )

    def facts(self, record: Record, channels: int, labelled: bool) -> Item:
        """What `unfolded` needs to make a batch's item of a case: when its frames were taken, and how they are cut."""
        known = isinstance(record.target, list) and len(record.target) == count(record)
        values = {"target": torch.tensor(record.target)} if self.horizon and known and not labelled else {}
        return {**values, "times": times_of(record), STUDY: partial(self.item, channels=channels, labelled=labelled)}

    def item(self, case: Item, channels: int, labelled: bool) -> Item:
        """A case of a batch from one whose image is folded (T * C, *spatial).

        image: the frames that the network sees (T', C, *spatial); frames: T'. times: when each was taken, counted from
        the first frame to predict (from the last frame, where none is): negative. values: what was measured at each of
        them, and target: what was at the frames to predict, (horizon,), where there is a value a frame; else, with a
        horizon, target: those frames (horizon * C, *spatial). Without labels all frames are seen.
        """
        frames = case["image"].unflatten(0, (-1, channels))
        end = len(frames) - (self.horizon if labelled else 0)
        begin = 0 if self.last is None else max(end - self.last, 0)
        times = case["times"]
        origin = times[-1]
        if self.horizon:
            gaps = times.diff()
            origin = times[end] if labelled else times[-1] + (gaps.median() if len(gaps) else 1.0)
        made = {key: value for key, value in case.items() if key != STUDY}
        made |= {"image": frames[begin:end], "frames": torch.tensor(end - begin), "times": times[begin:end] - origin}
        if self.horizon and "target" in case:
            made |= {"values": case["target"][begin:end], "target": case["target"][end:]}
            if not labelled:
                made.pop("target")
        elif self.horizon and labelled:
            made["target"] = frames[end:].flatten(0, 1).float()
        return made


def count(record: Record) -> int:
    """Frames of a study."""
    return len(record.images) if record.frames is None else len(record.frames)


def part(record: Record, first: int, end: int) -> Record:
    """The study from one frame to the one before another: its files or time points, times and values."""
    total, cut = count(record), slice(first, end)
    values = record.target
    if isinstance(values, list | tuple) and len(values) == total and total > 1:
        values = list(values[cut])
    images = record.images if record.frames is not None else record.images[cut]
    frames = None if record.frames is None else record.frames[cut]
    times = None if record.times is None else record.times[cut]
    return replace(record, images=images, frames=frames, times=times, target=values)


def times_of(record: Record) -> Tensor:
    """When each frame was taken, (T,); its number where the data set does not say."""
    return torch.tensor(record.times if record.times is not None else np.arange(count(record)), dtype=torch.float32)


def unfolded(items: list[Item]) -> list[Item]:
    """Items of studies with their frames apart and the target cut off; others as they are."""
    return [item[STUDY](item) for item in items] if STUDY in items[0] else items


def padded(items: list[Item]) -> Item:
    """Tensors that have an axis of frames, filled up with zeros to the longest: (B, T, ...); none of still images."""
    if "frames" not in items[0]:
        return {}
    return {key: pad_sequence([item[key] for item in items], batch_first=True) for key in PADDED if key in items[0]}


def _bounds(total: int, shares: Sequence[float]) -> list[int]:
    return [0, *(round(total * share) for share in accumulate(shares))]
