"""Features of a pretrained network: in a table, what probes say of them, and where images lie to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medexp.data.module import DataModule
from medexp.run.figures import Tiles, save
from medexp.run.inference import Outcome
from medexp.run.results.base import Tabular
from medexp.targets import has_classes


class Features(Tabular):
    """What an encoder makes of images."""

    kind, first = "gives features of images", "case_id,"

    def __init__(self, cfg: dict[str, Any], data: DataModule) -> None:
        super().__init__(cfg, data)
        self.probes = (
            list(cfg["task"].get("probes") or {}) if has_classes(cfg["dataset"].get("provides"), data.classes) else []
        )

    def parts(self, outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
        """Scores of each probe (P, K), and features (F,)."""
        assert outcome.scores is not None
        count = len(self.probes) * len(self.data.classes)
        said, features = np.split(outcome.scores.numpy(), [count])
        return said.reshape(len(self.probes), len(self.data.classes)), features

    def begin(self, records: Any, figures: Path) -> int:
        self.tiles = Tiles(self.cfg["figures"], len(records))
        self.seen: list[tuple[str, np.ndarray]] = []
        return super().begin(records, figures)

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        assert outcome.target is not None
        said, features = self.parts(outcome)
        row = scorer.case(said, outcome.target.numpy())
        self.seen.append((str(row["label"] or "no label"), features))
        return outcome.record.case_id, row

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        said = {name: row[name] for name in self.probes if row[name] is not None}
        wrong = any(row[f"{name}_correct"] == 0 for name in said)
        title = "\n".join([str(row["label"] or "no label"), *(f"{name}: {found}" for name, found in said.items())])
        self.tiles.add(outcome, title, "tab:red" if wrong else "black")

    def finish(self, rows: list[dict[str, Any]]) -> None:
        self.tiles.save(self.figures / "cases.png")
        if self.cfg["figures"] and len(self.seen) > 2:
            save(plane(self.seen), self.figures / "features.png")

    def predicted(self, outcome: Outcome) -> dict[str, Any]:
        said, features = self.parts(outcome)
        classes = self.data.classes
        chosen = {
            name: classes[int(scores.argmax())]
            for name, scores in zip(self.probes, said, strict=True)
            if np.isfinite(scores).all()
        }
        return chosen | {f"feature_{place}": round(float(value), 6) for place, value in enumerate(features)}


def plane(seen: list[tuple[str, np.ndarray]]) -> Any:
    """Images as points in the plane in which their features vary most (principal components), coloured by class."""
    from matplotlib.figure import Figure

    features = np.stack([features for _, features in seen])
    centred = features - features.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    points, shares = left[:, :2] * sizes[:2], sizes**2 / max(float((sizes**2).sum()), 1e-12)
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    for name in sorted({name for name, _ in seen}):
        of = points[[one == name for one, _ in seen]]
        axes.scatter(of[:, 0], of[:, 1], s=18, alpha=0.8, label=name)
    axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second ({shares[1]:.0%})")
    axes.set_title("features of the test images")
    axes.legend(fontsize=8)
    return figure
