"""Next frames: scored beside the last frame, drawn beside what came, written with the geometry of the study."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medexp.data.records import Record
from medexp.run.figures import Chosen, save
from medexp.run.inference import Outcome, infer
from medexp.run.results.files import Files, save_image
from medexp.run.sequence_figures import frames
from medexp.tasks.base import Task

log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]


class NextFrames(Files):
    """An image a horizon."""

    def begin(self, records: Sequence[Record], figures: Path) -> int:
        self.chosen = Chosen(self.cfg["figures"], len(records))
        return super().begin(records, figures)

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        assert outcome.target is not None
        row = scorer.case(outcome.probabilities.numpy(), outcome.target.numpy(), self._seen(outcome))
        return outcome.record.case_id, row

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        assert outcome.target is not None
        if self.chosen.next():
            channels = self.data.preparation.in_channels
            images = (
                self._seen(outcome)[-1],
                outcome.target.numpy()[:channels],
                outcome.probabilities.numpy()[:channels],
            )
            errors = (row["mae_last_frame_1"], row["mae_1"])
            save(frames(*images, errors, outcome.record.case_id), self.figures / f"{outcome.record.case_id}.png")

    def _seen(self, outcome: Outcome) -> Array:
        """The frames that the network saw, (T, C, *spatial), of an evaluation."""
        assert self.data.sequence is not None
        frames = outcome.prepared.image.unflatten(0, (-1, self.data.preparation.in_channels))
        end, last = len(frames) - self.data.sequence.horizon, self.data.sequence.last
        return frames[0 if last is None else max(end - last, 0) : end].numpy()

    def finish(self, rows: list[dict[str, Any]]) -> None:
        """Every case is drawn by itself."""

    def write(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> None:
        def receive(outcome: Outcome) -> None:
            record, prepared = outcome.record, outcome.prepared
            values = self.data.preparation.image_on_source(outcome.probabilities, prepared, record)
            for path, image in self._files(values, paths[record.case_id]):
                save_image(image, record.files[0], path, prepared.source.affine)
                log.info("%s", path)

        infer(self.cfg, task, self.data, records, receive, labelled=False)

    def _files(self, values: Array, path: Path) -> list[tuple[Path, Array]]:
        """(horizon * C, *source): one file with the frames along its last axis, or a picture each, CASE_1.png and on."""
        channels = self.data.preparation.in_channels
        apart = [np.moveaxis(frame, 0, -1) if channels > 1 else frame[0] for frame in _frames(values, channels)]
        if path.suffix != ".png":
            return [(path, np.stack(apart, axis=-1) if len(apart) > 1 else apart[0])]
        kind = np.uint16 if channels == 1 and values.max() > 255.5 else np.uint8
        pictures = [np.clip(np.rint(frame), 0, np.iinfo(kind).max).astype(kind) for frame in apart]
        if len(pictures) == 1:
            return [(path, pictures[0])]
        return [(path.with_stem(f"{path.stem}_{ahead}"), picture) for ahead, picture in enumerate(pictures, start=1)]


def _frames(values: Array, channels: int) -> list[Array]:
    return np.split(values, len(values) // channels)
