"""Scores of found objects: a row a case, then average precision, FROC and sensitivity by size of the whole test split."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from medexp.errors import UserError
from medexp.metrics import boxes
from medexp.metrics.boxes import RATES, Array
from medexp.metrics.table import Row, column_names

ABSENT = "no case has an object of the class"


class DetectionScores:
    """Scores objects of `classes` (without the first one, where `background` says that it is none).

    overlaps: IoU from which on a box is right, one average precision each. hit: what finds an object for FROC: the centre
    of the box within it ("centre", as in LUNA16), or an IoU of at least 0.1 ("overlap"). sizes_mm: limits between groups
    of object sizes (geometric mean of the sides, mm); None: thirds of the objects of the split. size_rate: false positives
    a scan at which these are compared.

    Columns: `objects`, `hits` (objects that were found, at whatever score), `boxes` (found), and `matches`, JSON: of each
    class the scores of the found boxes, best first; whether each is right at an overlap (`right`); for FROC the object
    that it was the first to hit, -1 for a false positive, -2 for one more hit (`hit`); and the objects' sizes (`mm`).
    """

    def __init__(
        self,
        classes: Sequence[str],
        overlaps: Sequence[float] = (0.1, 0.5),
        hit: Literal["centre", "overlap"] = "centre",
        sizes_mm: Sequence[float] | None = None,
        size_rate: float = 1.0,
        background: bool = False,
    ) -> None:
        if not overlaps or not all(0 < overlap <= 1 for overlap in overlaps):
            raise UserError(f"metrics.test.overlaps: {list(overlaps)}: numbers above 0 and up to 1 are allowed")
        self.classes = [str(name) for name in classes][int(background) :]
        self.columns = column_names(self.classes)
        self.overlaps, self.hit, self.size_rate = [float(overlap) for overlap in overlaps], hit, float(size_rate)
        self.sizes_mm = None if sizes_mm is None else sorted(float(limit) for limit in sizes_mm)

    def case(self, prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> Row:
        """One row.

        prediction: objects (N, 2 * axes + 2), lower and upper edges in voxels, score, class. target: (M, 2 * axes + 1), the
        same without score. spacing: mm a voxel.
        """
        found, true = np.asarray(prediction, dtype=float), np.asarray(target, dtype=float)
        found = found[np.argsort(-found[:, -2], kind="stable")]
        matches = {}
        for kind, name in enumerate(self.columns):
            matches[name] = self._class(found[found[:, -1] == kind], true[true[:, -1] == kind], spacing)
        hits = sum(len({place for place in each["hit"] if place >= 0}) for each in matches.values())
        return {"objects": len(true), "hits": hits, "boxes": len(found), "matches": json.dumps(matches)}

    def _class(self, found: Array, true: Array, spacing: tuple[float, ...]) -> dict[str, Any]:
        axes = len(spacing)
        iou = boxes.overlaps(found[:, :-2], true[:, :-1])
        hits = boxes.nearby(found[:, :-2], true[:, :-1]) if self.hit == "centre" else iou >= 0.1
        sizes = (true[:, axes : 2 * axes] - true[:, :axes]) * np.asarray(spacing)
        return {
            "scores": [round(float(score), 6) for score in found[:, -2]],
            "right": {str(limit): (boxes.matched(iou, limit) >= 0).astype(int).tolist() for limit in self.overlaps},
            "hit": boxes.first_hits(hits).tolist(),
            "mm": [round(float(size), 3) for size in sizes.prod(axis=1) ** (1 / axes)],
        }

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """`{metric: {mean, std, n, per_class}}`: `map_<overlap>`, average precision (COCO's 101 recalls); `sensitivity_<rate>`
        at so many false positives a scan (FROC), and `cpm`, the mean of those seven (Setio et al. 2017); means over the
        classes that the split has objects of. `froc`: the curve of each class. `by_size`: sensitivity of each group of
        sizes. n: objects."""
        cases = [json.loads(str(row["matches"])) for row in rows]
        pooled = {name: _pooled([case[name] for case in cases], self.overlaps) for name in self.columns}
        metrics: dict[str, Any] = {}
        for limit in map(str, self.overlaps):
            values = {name: each.precision(limit) for name, each in pooled.items()}
            metrics[f"map_{limit}"] = _entry(values, pooled)
        curves = {name: each.curve(len(rows)) for name, each in pooled.items() if each.count}
        at = {name: boxes.sensitivity_at(*curve[:2]) for name, curve in curves.items()}
        metrics["cpm"] = _entry({name: sum(at[name]) / len(RATES) if name in at else None for name in pooled}, pooled)
        for index, rate in enumerate(RATES):
            values = {name: at[name][index] if name in at else None for name in pooled}
            metrics[f"sensitivity_{rate:g}"] = _entry(values, pooled)
        metrics["froc"] = {
            name: {"false_positives_a_scan": curve[0].tolist(), "sensitivity": curve[1].tolist()}
            for name, curve in curves.items()
        }
        metrics["by_size"] = {"false_positives_a_scan": self.size_rate, "per_class": self._by_size(pooled, curves)}
        return metrics

    def _by_size(self, pooled: dict[str, _Pooled], curves: dict[str, Any]) -> dict[str, Any]:
        """{class: [{from_mm, to_mm, n, sensitivity}]}."""
        table = {}
        for name, (rates, _, scores) in curves.items():
            each = pooled[name]
            least = scores[np.flatnonzero(rates <= self.size_rate)[-1]]
            limits = self.sizes_mm or np.unique(np.quantile(each.sizes, (1 / 3, 2 / 3)).round(2)).tolist()
            group = np.searchsorted(limits, each.sizes, side="right")
            edges = [0.0, *limits, None]
            table[name] = [
                {
                    "from_mm": edges[index],
                    "to_mm": edges[index + 1],
                    "n": int((group == index).sum()),
                    "sensitivity": float((each.best[group == index] >= least).mean())
                    if (group == index).any()
                    else None,
                }
                for index in range(len(limits) + 1)
            ]
        return table


class _Pooled:
    """Boxes and objects of one class, of all cases. sizes: mm; best: score of the first hit of each object, -inf: none."""

    def __init__(self, scores: Array, right: dict[str, Any], wrong: Array, sizes: Array, best: Array) -> None:
        self.scores, self.right, self.wrong, self.sizes, self.best = scores, right, wrong, sizes, best
        self.count = len(sizes)

    def precision(self, limit: str) -> float | None:
        return boxes.average_precision(self.scores, self.right[limit], self.count) if self.count else None

    def curve(self, scans: int) -> tuple[Array, Array, Array]:
        return boxes.froc(self.best[np.isfinite(self.best)], self.wrong, self.count, scans)


def _pooled(cases: list[dict[str, Any]], overlaps: Sequence[float]) -> _Pooled:
    best, wrong = [], []
    for case in cases:
        mine = [-math.inf] * len(case["mm"])
        for score, place in zip(case["scores"], case["hit"], strict=True):
            if place >= 0:
                mine[place] = score
            elif place == -1:
                wrong.append(score)
        best += mine
    right = {
        str(limit): np.array([yes for case in cases for yes in case["right"][str(limit)]], dtype=bool)
        for limit in overlaps
    }
    scores = np.array([score for case in cases for score in case["scores"]], dtype=float)
    sizes = np.array([size for case in cases for size in case["mm"]], dtype=float)
    return _Pooled(scores, right, np.array(wrong, dtype=float), sizes, np.array(best, dtype=float))


def _entry(values: dict[str, float | None], pooled: dict[str, _Pooled]) -> dict[str, Any]:
    """Numbers of a whole split: no std over cases. The mean is over the classes that there are objects of."""
    there = [value for value in values.values() if value is not None]
    per_class = {
        name: {"mean": value, "std": None, "n": pooled[name].count} | ({} if value is not None else {"reason": ABSENT})
        for name, value in values.items()
    }
    mean = sum(there) / len(there) if there else None
    entry = {"mean": mean, "std": None, "n": sum(each.count for each in pooled.values()), "per_class": per_class}
    return entry if there else {**entry, "reason": "no case has an object"}
