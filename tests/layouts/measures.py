"""Small data with measures, and the experiments that leaves of regression and multi-task learning fit into."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from layouts.object_masks import write_object_masks

VOLUME, HEADS = "experiment=regression/phantom_volume", "experiment=multitask/phantom"
TABLE = ["dataset.source.target=age", "dataset.targets.age=years", "dataset.image_size=[32,32]"]


def host(group: str, option: str, line: str) -> list[str]:
    """The experiment that an option fits into; [] where it is of another task. line: what its leaf says of itself."""
    if group not in ("task", "metrics", "dataset", "model"):
        return []
    if "multi-task" in line or option == "multitask":
        return [HEADS, *([f"task={option}"] if group == "metrics" else [])]
    if "regression" not in line and option != "regression":
        return []
    given = ["dataset.root=x", *TABLE] if option == "csv_values" else []
    return [VOLUME, *([f"task={option}"] if group == "metrics" else []), *given]


def small_data(kind: str, root: Path, layouts: SimpleNamespace) -> list[str]:
    """Overrides that point an experiment of regression at small data in its own layout."""
    if kind == "hippocampus_volume":
        return [f"dataset.root={layouts.msd(root / 'msd', classes=3)}"]
    if kind == "dsb2018_count":
        folder = write_object_masks(root / "masks", cases=10)
        for number in range(5):
            (folder / f"case{number}" / "masks" / "object0.png").unlink()
        return [f"dataset.root={folder}", "dataset.image_size=[32,32]"]
    folder = layouts.pictures(root / "pictures", ["young", "old"], size=32)
    lines = (folder / "labels.csv").read_text().splitlines()
    rows = [f"{line.split(',')[0]},{40 + number}" for number, line in enumerate(lines[1:])]
    (folder / "labels.csv").write_text("\n".join(["image,age", *rows]) + "\n")
    return [f"dataset.root={folder}", *TABLE]
