"""Samples of a generative run beside the training images: an evaluation draws them, and looks for copies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medexp.data.progress import track
from medexp.data.records import Record
from medexp.errors import Faults, UserError
from medexp.metrics.generative import GenerationScores, Neighbours, neighbours, spread
from medexp.metrics.table import number
from medexp.models.random_features import RandomFeatures
from medexp.run.classifier_features import ClassifierFeatures
from medexp.run.figures import middle, save
from medexp.run.inference import Outcome
from medexp.run.planes import unit
from medexp.run.results.base import Results
from medexp.run.sampling import draw
from medexp.tasks.base import Task
from medexp.transforms.fitting import fitted

log = logging.getLogger(__name__)
FIGURE, COLUMNS = "samples.png", 8


class Samples(Results):
    """A row a sample; the test split is what was held out."""

    def rows(self, task: Task, records: Sequence[Record], scorer: GenerationScores) -> list[dict[str, Any]]:
        if self.data.split is None:
            raise UserError("--data: samples are compared with the images that the run was trained on; leave it out")
        known = self.data.parts()["train"]
        labels, (samples, training, held_out) = self._images(task, known, records, scorer)
        self.found = {"samples": neighbours(samples, training)}
        if len(held_out):
            self.found["held_out"] = neighbours(held_out, training)
        said = len(samples), len(training), len(held_out), len(records)
        log.info("%d samples, beside %d training and %d of %d held-out images", *said)
        look = self._features(scorer)
        parts = {"samples": samples, "training": training, "held_out": held_out}
        self.features = {
            name: torch.cat([look(part) for part in images.split(64)]) for name, images in parts.items() if len(images)
        }
        self.labels, self.images = labels, (samples, training)
        nearest = self.found["samples"]
        return [
            {"case_id": f"sample_{index:05d}", **self._class(labels, index), **self._row(nearest, index, known)}
            for index in range(len(samples))
        ]

    def _images(
        self, task: Any, known: Sequence[Record], records: Sequence[Record], scorer: GenerationScores
    ) -> tuple[list[int] | None, tuple[Tensor, Tensor, Tensor]]:
        """Classes of the samples; samples, all training images, and as many held-out ones as samples at most, each
        (N, C, *spatial)."""
        labels, made = self._labels(known, scorer.count), []
        draw(self.cfg, task, scorer.count, scorer.seed, labels, lambda first, images: made.append(images))
        samples = torch.cat(made)
        chosen = [records[int(place)] for place in spread(torch.arange(len(records)), min(scorer.count, len(records)))]
        size = list(samples.shape[2:])
        return labels, (samples, self._read(known, size), self._read(chosen, size))

    def _read(self, records: Sequence[Record], size: Sequence[int]) -> Tensor:
        """Prepared images, cut to the size of the samples. Raises Faults where some cannot be read."""
        images, faults = [], []
        for record in track(records, len(records), "reading"):
            try:
                images.append(fitted(self.data.load(record)[1].image[None].float(), size))
            except UserError as error:
                faults.append(str(error))
        if faults:
            raise Faults(f"{len(faults)} of {len(records)} cases cannot be used", faults)
        return torch.cat(images) if images else torch.zeros(0)

    def _labels(self, known: Sequence[Record], count: int) -> list[int] | None:
        """Of as many classes as training images, in the same shares."""
        if self.data.target != "generation_by_class":
            return None
        all_of_them = sorted(int(self.data.facts(record)["target"]) for record in known)
        return [int(label) for label in spread(torch.tensor(all_of_them), count)]

    def _features(self, scorer: GenerationScores) -> Callable[[Tensor], Tensor]:
        preparation = self.data.preparation
        if scorer.features is None:
            return RandomFeatures(preparation.spatial_dims, preparation.in_channels)
        return ClassifierFeatures(Path(scorer.features), preparation)

    def _class(self, labels: list[int] | None, index: int) -> dict[str, Any]:
        return {} if labels is None else {"class": self.data.classes[labels[index]]}

    def _row(self, found: Neighbours, index: int, known: Sequence[Record]) -> dict[str, Any]:
        return {
            "nearest": known[int(found.nearest[index])].case_id,
            "distance": float(found.distance[index]),
            "ratio": number(found.ratio[index]),
            "copy": None if (copy := number(found.copy[index])) is None else int(copy),
        }

    def summary(self, rows: Sequence[dict[str, Any]], scorer: GenerationScores) -> dict[str, Any]:
        return scorer.summarize(self.found, self.features)

    def row(self, outcome: Outcome, scorer: Any) -> None:
        """Samples come from no case."""

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        """All are drawn together."""

    def finish(self, rows: Sequence[dict[str, Any]]) -> None:
        if self.cfg["figures"] > 0:
            save(self._sheet(min(len(rows), COLUMNS * self.cfg["figures"])), self.figures / FIGURE)

    def _sheet(self, count: int) -> Any:
        """Lines of samples, and below each the training image that is nearest."""
        from matplotlib.figure import Figure

        labels, (samples, training) = self.labels, self.images
        chosen = spread(torch.arange(len(samples)), count).tolist()
        lines = -(-count // COLUMNS)
        figure = Figure(figsize=(1.5 * COLUMNS, 3.4 * lines), layout="constrained")
        figure.suptitle("samples, and the nearest training image below each", fontsize=12)
        said = f"number over a training image: root mean square difference from the sample above it ({unit(self.data.preparation)})"
        figure.supxlabel(said, fontsize=10)
        grid = figure.subplots(2 * lines, COLUMNS, squeeze=False)
        for axes in grid.ravel():
            axes.set_axis_off()
        for place, index in enumerate(chosen):
            line, column = divmod(place, COLUMNS)
            nearest = int(self.found["samples"].nearest[index])
            titles = (self._class(labels, index).get("class", ""), f"{self.found['samples'].distance[index]:.2f}")
            for offset, image, title in zip((0, 1), (samples[index], training[nearest]), titles, strict=True):
                axes = grid[2 * line + offset, column]
                axes.imshow(middle(np.asarray(image)), cmap="gray")
                axes.set_title(title, fontsize=8)
        return figure

    def outputs(self, records: Sequence[Record], output: Path) -> dict[str, Path]:
        raise UserError(
            "predict: the run makes images from noise, not from images; use `medexp generate RUN --count N --output DIR`"
        )

    def write(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> None:
        """Nothing is predicted."""
