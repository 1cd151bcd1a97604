from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medexp.data.preparation.prepare import Grid, Prepared
from medexp.data.records import Record
from medexp.run import figures
from medexp.run.inference import Outcome
from medexp.run.results.classes import Classes


def test_a_run_draws_as_many_cases_as_it_has_up_to_the_number_asked_for(trained: dict[str, Any]) -> None:
    drawn = Path(trained["run_dir"]) / "figures"
    pictures = sorted(drawn.glob("*.png"))
    assert len(pictures) == 4  # of as many test cases
    assert all(np.asarray(Image.open(path)).std() > 0 for path in pictures)
    with np.load(drawn / figures.SLICES) as planes:
        assert planes["label_1"].shape == planes["prediction_1"].shape == planes["image_1"].shape


def test_the_slice_with_most_foreground_is_drawn() -> None:
    truth, predicted = np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 5), np.uint8)
    truth[:2, :2, 3] = 2
    predicted[0, 0, 1] = 1
    assert figures.best_slice(truth, predicted) == 3


def test_image_label_and_prediction_are_turned_alike() -> None:
    truth = np.zeros((3, 5, 2), np.uint8)
    truth[0, 4, 1] = 1
    image = truth[None].astype(np.float32)
    shown, label, predicted = figures.drawn_slice(image, truth, truth)
    assert shown.shape == label.shape == predicted.shape == (5, 3)
    assert np.argwhere(label == 1).tolist() == [[0, 0]]  # the second axis points up
    assert shown[0, 0] == shown.max()


def test_a_confusion_matrix_counts_labels_by_row_and_predictions_by_column() -> None:
    rows = [{"label": "a", "prediction": "b"}, {"label": "a", "prediction": "b"}, {"label": "b", "prediction": "b"}]
    figure = figures.confusion(rows, ["a", "b"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "2", "0", "1"]


@pytest.mark.parametrize("shape", [(1, 9, 8), (3, 9, 8), (1, 9, 8, 6)])
def test_any_image_gives_one_picture_between_0_and_1(shape: tuple[int, ...]) -> None:
    picture = figures.middle(np.random.default_rng(0).normal(100, 30, shape))
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture.shape[:2] == ((8, 9) if len(shape) == 4 else (9, 8))


def outcome(case_id: str, *probabilities: float) -> Outcome:
    record = Record(case_id, case_id, (Path("a.nii.gz"),))
    grid = Grid((8, 8), np.eye(4), (1.0, 1.0))
    prepared = Prepared(torch.rand(1, 8, 8), None, np.eye(4), grid)
    return Outcome(record, prepared, None, torch.tensor(probabilities))


@pytest.mark.parametrize(
    ("target", "probabilities", "line"),
    [
        ("index", (0.2, 0.8), "no → yes (0.80)"),
        ("binary", (0.8,), "no → yes (0.80)"),
        ("multilabel", (0.2, 0.8), "no → yes"),
    ],
)
def test_a_tile_says_which_case_it_is_and_how_sure_the_network(
    target: str, probabilities: tuple[float, ...], line: str, tmp_path: Path
) -> None:
    data: Any = SimpleNamespace(target=target, classes=["no", "yes"])
    made = Classes({"figures": 1}, data)
    made.begin([None], tmp_path)
    made.draw(outcome("p1", *probabilities), {"label": "no", "prediction": "yes", "correct": 0})
    assert [title for title, _, _ in made.tiles.tiles] == [f"p1\n{line}"]


def test_long_names_of_cases_show_both_ends() -> None:
    assert figures.short("a" * 40 + "_001") == "a" * 15 + "…" + "a" * 12 + "_001"
    assert figures.short("p0001_s1") == "p0001_s1"


def test_a_sheet_says_what_its_lines_are() -> None:
    sheet = figures.sheet([("p1", np.zeros((4, 4)), "black")], "label → prediction")
    assert sheet._suptitle.get_text() == "label → prediction"
