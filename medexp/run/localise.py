"""`medexp localise RUN`: where in its images a run's classifier sees the classes, scored against masks or boxes, beside chance."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from medexp import build
from medexp.data.progress import track
from medexp.data.records import Record
from medexp.data.splits.make import check_split
from medexp.errors import Faults, UserError, counted
from medexp.inferers.class_maps import ClassMaps
from medexp.metrics.localisation import CHANCE, LocalisationScores, best_threshold, compared, instance_scores
from medexp.run import folder
from medexp.run.figures import Chosen, save
from medexp.run.inputs import inputs
from medexp.run.localisation.case_figure import case_figure
from medexp.run.localisation.mapping import Mapper, Seen
from medexp.run.localisation.truth import asked, has_truth, masks
from medexp.run.localisation.writing import maps_written
from medexp.run.predict import advised, timed
from medexp.seeding import derive

log = logging.getLogger(__name__)
FOLDER, UNTRAINED, DRAWS = "localisation", "untrained", 5  # random maps a case
DRAWN = 12  # figures, at least: `figures` of a run are few
Array = np.ndarray[Any, Any]


class Localiser:
    """A run's classifier, loaded, with the maps that it is asked for. layer: names of modules; none: found."""

    def __init__(self, run: Path, method: str | None, layer: Sequence[str], checkpoint: str) -> None:
        self.run, self.cfg, self.checkpoint = run, folder.load(run), checkpoint
        self.data, self.names = build.datamodule(self.cfg), layer
        task = build.task(self.cfg)
        build.load_weights(task, folder.weights(run, checkpoint))
        gpu = torch.cuda.is_available() and self.cfg["trainer"].get("accelerator") != "cpu"
        self.device = "cuda" if gpu else "cpu"
        self.mapper = Mapper(run, self.data, task, self.device)
        bags = hasattr(task.net, "attention") and hasattr(task.net, "spread")
        self.maps = ClassMaps(method or ("attention" if bags else "grad_cam"), [])

    def see(self, record: Record) -> Seen:
        """A case through the network."""
        return self.ready(self.mapper.see(record))

    def ready(self, seen: Seen) -> Seen:
        """The first case tells which layer the maps are of."""
        if not self.maps.layers and self.maps.method != "attention":
            self.maps.layers = self.mapper.layers(seen, self.names)
            shown = ", ".join(f"{layer.name} ({'x'.join(map(str, layer.grid))})" for layer in self.maps.layers)
            log.info("maps (%s) of layer %s", self.maps.method, shown)
        return seen


def localise(
    run: Path,
    output: Path | None = None,
    method: str | None = None,
    layer: Sequence[str] = (),
    threshold: float | None = None,
    checkpoint: str = "best",
) -> dict[str, Any]:
    """Maps of the test cases of a run that have a mask or boxes, scored; of each class that a case has.

    method, layer: see `ClassMaps` and `layers`; None: attention of networks of bags, else grad_cam.
    threshold: from which on a map counts as the class; None: the one with the best mean IoU on the validation split. Beside
    the network stand its own maps before training (`untrained`; of a network that has learnt nothing maps of classes still follow
    the image, Adebayo 2018, arXiv:1810.03292), the centre of the image, random maps and the whole image, each at a
    threshold of its own. Writes per_case.csv, summary.json, maps/ on the source grid and figures/ into `output` (default:
    RUN/localisation). Returns the summary. Raises UserError.
    """
    if output is not None:
        folder.no_run(output)
    one = Localiser(run, method, layer, checkpoint)
    data = one.data
    data.split = folder.read_json(run / folder.SPLIT)
    check_split(data.split or {}, data.records())
    parts = {part: [record for record in data.parts()[part] if has_truth(record)] for part in ("val", "test")}
    if not parts["test"]:
        raise UserError(
            f"{run}: the test cases of {data.root} have no masks and no boxes; give --input to draw maps alone"
        )
    untrained = Mapper(run, data, build.task(one.cfg), one.device)
    into = output or run / FOLDER
    cases = {part: _Cases(one, untrained, records, len(data.parts()[part])) for part, records in parts.items()}
    found = cases["val"].maps()
    chosen = {name: best_threshold(pairs) for name, pairs in found.items()}
    if not found:
        log.warning("no validation case has a mask or boxes: maps count from 0.5 on; give --threshold")
    if threshold is not None:
        chosen[""] = threshold
    return _score(one, cases["test"], chosen, into)


class _Cases:
    """Cases of a part with their maps, of the network and of what knows nothing."""

    def __init__(self, one: Localiser, untrained: Mapper, records: Sequence[Record], total: int) -> None:
        self.one, self.untrained, self.records, self.total = one, untrained, records, total

    def each(self) -> Any:
        """(seen, class, mask, {"": map, name of a chance: maps}) of every class that a case has and that has a map."""
        for record in track(self.records, len(self.records), "localising"):
            truths = masks(self.one.data, record)
            kinds = [kind for kind in self.one.mapper.classes() if kind in truths]
            if not kinds:
                continue
            seen = self.one.see(record)
            for kind in kinds:
                shape = truths[kind].shape
                maps = {"": [self.one.mapper.map(seen, self.one.maps, kind)]}
                maps[UNTRAINED] = [self.untrained.map(seen, self.one.maps, kind)]
                for name, draw in CHANCE.items():
                    times = DRAWS if name == "random" else 1
                    seeds = [
                        derive(self.one.cfg["seed"], name, record.case_id, kind, number) for number in range(times)
                    ]
                    maps[name] = [draw(shape, seed) for seed in seeds]
                yield seen, kind, truths[kind], maps

    def maps(self) -> dict[str, list[tuple[Array, Array]]]:
        """Maps and masks of all, by what drew the map."""
        found: dict[str, list[tuple[Array, Array]]] = {}
        for _, _, truth, maps in self.each():
            for name, several in maps.items():
                found.setdefault(name, []).extend((values, truth) for values in several)
        return found


def _score(one: Localiser, cases: _Cases, thresholds: dict[str, float], into: Path) -> dict[str, Any]:
    scorer, data, rows = LocalisationScores(), one.data, []
    kinds, wanted = list(one.mapper.classes()), one.cfg["figures"]
    total = sum(asked(data, record, kinds) for record in cases.records)
    drawn = Chosen(wanted and max(wanted, DRAWN), total)
    for seen, kind, truth, maps in cases.each():
        row: dict[str, Any] = {"class": str(data.classes[kind]), "probability": seen.probabilities[kind]}
        for name, several in maps.items():
            scores = [scorer.case(values, truth, thresholds.get(name, 0.5)) for values in several]
            suffix = f"_{name}" if name else ""
            row |= {f"{key}{suffix}": float(np.mean([each[key] for each in scores])) for key in scorer.names}
        row |= _instances(one, cases.untrained, seen, kind)
        rows.append({"case_id": seen.record.case_id, **row})
        values = maps[""][0]
        maps_written(seen, {str(data.classes[kind]): values}, into / "maps")
        if drawn.next():
            figure = case_figure(one.mapper, one.maps.method, seen, kind, (values, truth), thresholds.get("", 0.5), row)
            save(figure, into / "figures" / f"{seen.record.case_id}_{row['class']}.png")
    if not rows:
        raise UserError(f"{one.run}: no test case of {data.root} has a mask or box of a class that it was trained on")
    names = ["", UNTRAINED, *CHANCE]
    metrics = {name or "network": scorer.summarize(rows, f"_{name}" if name else "") for name in names}
    summary = {
        "run": one.cfg["name"],
        "checkpoint": one.checkpoint,
        "part": "test",
        "cases": len(rows),
        "method": one.maps.method,
        "layers": [layer.name for layer in one.maps.layers],
        "by_slice": one.mapper.by_slice(one.maps.method),
        "thresholds": {name or "network": thresholds.get(name, 0.5) for name in names},
        "metrics": metrics.pop("network"),
        "chance": metrics,
        "above_chance": compared(rows, scorer.names, [UNTRAINED, *CHANCE], one.cfg["seed"]),
    }
    folder.write(into / folder.PER_CASE, pd.DataFrame(rows).to_csv(index=False))
    folder.write_json(into / folder.SUMMARY, summary)
    log.info("%d of %d test cases have a class with a mask or box", len({row["case_id"] for row in rows}), cases.total)
    log.info("results: %s, %s, maps and figures in %s", folder.PER_CASE, folder.SUMMARY, into)
    return summary


def _instances(one: Localiser, untrained: Mapper, seen: Seen, kind: int) -> dict[str, Any]:
    """Scores of the instances of a bag, of the network, untrained, and of weights that are all alike."""
    row: dict[str, Any] = {}
    for name, mapper in (("", one.mapper), (f"_{UNTRAINED}", untrained)):
        found = mapper.instances(seen, kind)
        row |= {f"{key}{name}": value for key, value in (instance_scores(*found) if found else {}).items()}
    if found is not None:
        alike = instance_scores(np.ones(len(found[1])), found[1])
        row |= {f"{key}_uniform": value for key, value in alike.items()}
    return row


def draw(
    run: Path,
    source: Path,
    output: Path,
    method: str | None = None,
    layer: Sequence[str] = (),
    checkpoint: str = "best",
) -> Path:
    """Maps of new images: a file a class that the network sees in a case (of a yes or no always that of the yes), on the
    image's own grid, and maps.csv with probabilities and where each map is largest. Returns the table. Raises UserError."""
    one = Localiser(run, method, layer, checkpoint)
    with advised(one.cfg, run, one.data):
        records = timed(inputs(source, one.data, output), one.data)
    _apart(source, records, output)
    rows, faults = [], []
    for record in track(records, len(records), "localising"):
        try:
            seen = one.mapper.see(record)
        except UserError as error:  # one unreadable image does not cost the others
            faults.append(str(error))
            continue
        one.ready(seen)
        classes = list(one.mapper.classes())
        if one.data.target == "multilabel":
            classes = [kind for kind in classes if seen.probabilities[kind] >= 0.5]
        elif one.data.target == "index":
            classes = [int(np.argmax(seen.probabilities))]
        maps = {str(one.data.classes[kind]): one.mapper.map(seen, one.maps, kind) for kind in classes}
        files = maps_written(seen, maps, output)
        for (name, values), kind in zip(maps.items(), classes, strict=True):
            peak = " ".join(map(str, np.unravel_index(int(values.argmax()), values.shape)))
            probability = round(seen.probabilities[kind], 6)
            rows.append(
                {
                    "case_id": record.case_id,
                    "class": name,
                    "probability": probability,
                    "peak": peak,
                    "map": files[name].name,
                }
            )
    table = output / "maps.csv"
    columns = ["case_id", "class", "probability", "peak", "map"]
    folder.write(table, pd.DataFrame(rows, columns=columns).to_csv(index=False))
    log.info("%s: %s of %s", table, counted(len(rows), "map"), counted(len(records) - len(faults), "case"))
    if faults:
        raise Faults(f"{len(faults)} of {len(records)} cases cannot be used", faults)
    return table


def _apart(source: Path, records: Sequence[Record], output: Path) -> None:
    """Raises UserError where maps would lie among the images, as cases of the next call."""
    images = [path for record in records for path in record.files]  # of a DICOM series its folder
    if output.resolve() in {path.resolve() for path in (source, *images, *(image.parent for image in images))}:
        raise UserError(
            f"--output: {output} holds the images, of which maps would be cases next time; give another folder"
        )
