"""Scores of classes and labels: hand values, torchmetrics' values, splits that lack a class."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torchmetrics.functional import classification as reference

from medexp.errors import UserError
from medexp.metrics.classification import ClassificationScores

CLASSES = ["healthy", "benign mass", "cancer"]


def index_rows(labels: list[int], predictions: list[int]) -> tuple[ClassificationScores, list[dict[str, Any]]]:
    scorer = ClassificationScores(CLASSES, "index")
    probabilities = np.full((len(labels), 3), 0.1)
    probabilities[np.arange(len(labels)), predictions] = 0.8
    return scorer, [scorer.case(p, np.array([t])) for p, t in zip(probabilities, labels, strict=True)]


def binary_rows(labels: list[int], scores: list[float]) -> tuple[ClassificationScores, list[dict[str, Any]]]:
    scorer = ClassificationScores(["healthy", "lesion"], "binary")
    return scorer, [
        scorer.case(np.array([p]), np.array([t], dtype=np.float32)) for p, t in zip(scores, labels, strict=True)
    ]


def multilabel_rows(labels: np.ndarray, scores: np.ndarray) -> tuple[ClassificationScores, list[dict[str, Any]]]:
    scorer = ClassificationScores(CLASSES, "multilabel")
    return scorer, [scorer.case(p, t) for p, t in zip(scores, labels, strict=True)]


def test_row_of_a_class_names_label_prediction_and_probabilities() -> None:
    row = ClassificationScores(CLASSES, "index").case(np.array([0.2, 0.5, 0.3]), np.array([2]), (1.0, 1.0))
    assert row == {
        "label": "cancer",
        "prediction": "benign mass",
        "correct": 0,
        "prob_healthy": 0.2,
        "prob_benign_mass": 0.5,
        "prob_cancer": 0.3,
    }


def test_row_of_a_binary_target_holds_the_positive_class() -> None:
    (row,) = binary_rows([1], [0.75])[1]
    assert row == {"label": "lesion", "prediction": "lesion", "correct": 1, "prob_lesion": 0.75}


def test_row_of_several_labels_is_correct_only_as_a_whole() -> None:
    (row,) = multilabel_rows(np.array([[1.0, 0.0, 1.0]]), np.array([[0.9, 0.6, 0.7]]))[1]
    assert row["label"] == "healthy;cancer"
    assert row["prediction"] == "healthy;benign mass;cancer"
    assert row["correct"] == 0
    assert [row[f"label_{name}"] for name in ("healthy", "benign_mass", "cancer")] == [1, 0, 1]


def test_hand_values_of_three_classes() -> None:
    scorer, rows = index_rows([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0])
    summary = scorer.summarize(rows)
    assert summary["accuracy"]["mean"] == pytest.approx(4 / 6)
    assert summary["balanced_accuracy"]["mean"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert summary["recall"]["per_class"]["healthy"] == {"mean": pytest.approx(2 / 3), "n": 3}
    assert summary["precision"]["per_class"]["benign mass"]["mean"] == pytest.approx(2 / 3)
    assert summary["precision"]["per_class"]["cancer"]["mean"] == 0  # never predicted
    assert summary["specificity"]["per_class"]["healthy"] == {"mean": pytest.approx(2 / 3), "n": 3}
    assert summary["f1"]["mean"] == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert summary["cohen_kappa"]["mean"] == pytest.approx((4 / 6 - 15 / 36) / (1 - 15 / 36))
    assert summary["confusion_matrix"]["matrix"] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_hand_values_of_a_binary_target() -> None:
    scorer, rows = binary_rows([0, 0, 1, 1, 1], [0.1, 0.8, 0.9, 0.7, 0.2])
    summary = scorer.summarize(rows)
    expected = {"accuracy": 3 / 5, "recall": 2 / 3, "specificity": 1 / 2, "precision": 2 / 3, "auroc": 4 / 6}
    assert {name: summary[name]["mean"] for name in expected} == pytest.approx(expected)
    assert summary["balanced_accuracy"]["mean"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert list(summary["f1"]["per_class"]) == ["lesion"]
    assert summary["confusion_matrix"]["matrix"] == [[1, 1], [1, 2]]


def test_three_classes_agree_with_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60)
    scorer = ClassificationScores(CLASSES, "index")
    summary = scorer.summarize([scorer.case(p, np.array([t])) for p, t in zip(probabilities, labels, strict=True)])
    p, t = torch.as_tensor(probabilities), torch.as_tensor(labels)
    expected = {
        "accuracy": reference.multiclass_accuracy(p, t, 3, average="micro"),
        "balanced_accuracy": reference.multiclass_accuracy(p, t, 3, average="macro"),
        "precision": reference.multiclass_precision(p, t, 3),
        "recall": reference.multiclass_recall(p, t, 3),
        "specificity": reference.multiclass_specificity(p, t, 3),
        "f1": reference.multiclass_f1_score(p, t, 3),
        "auroc": reference.multiclass_auroc(p, t, 3),
        "average_precision": reference.multiclass_average_precision(p, t, 3),
        "cohen_kappa": reference.multiclass_cohen_kappa(p, t, 3),
    }
    assert {k: summary[k]["mean"] for k in expected} == pytest.approx(
        {k: float(v) for k, v in expected.items()}, abs=1e-6
    )


def test_several_labels_agree_with_torchmetrics() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, (50, 3)), rng.random((50, 3))
    scorer, rows = multilabel_rows(labels, scores)
    summary = scorer.summarize(rows)
    p, t = torch.as_tensor(scores), torch.as_tensor(labels)
    expected = {
        "accuracy": reference.multilabel_accuracy(p, t, 3),
        "exact_match": reference.multilabel_exact_match(p, t, 3),
        "precision": reference.multilabel_precision(p, t, 3),
        "recall": reference.multilabel_recall(p, t, 3),
        "specificity": reference.multilabel_specificity(p, t, 3),
        "f1": reference.multilabel_f1_score(p, t, 3),
        "auroc": reference.multilabel_auroc(p, t, 3),
        "average_precision": reference.multilabel_average_precision(p, t, 3),
    }
    assert {k: summary[k]["mean"] for k in expected} == pytest.approx(
        {k: float(v) for k, v in expected.items()}, abs=1e-6
    )
    matrices = reference.multilabel_confusion_matrix(p, t, 3).tolist()
    assert list(summary["confusion_matrix"]["per_class"].values()) == matrices


def test_class_that_no_case_has_is_left_out_and_said() -> None:
    scorer, rows = index_rows([0, 0, 1, 1], [0, 2, 1, 1])
    summary = scorer.summarize(rows)
    json.dumps(summary, allow_nan=False)
    for name in ("precision", "recall", "specificity", "f1", "auroc", "average_precision"):
        assert summary[name]["per_class"]["cancer"] == {"mean": None, "n": 0, "reason": "no case has it"}
    assert summary["recall"]["mean"] == summary["balanced_accuracy"]["mean"] == pytest.approx(0.75)
    assert summary["precision"]["mean"] == 1


@pytest.mark.parametrize(
    ("label", "defined"), [(0, {"specificity"}), (1, {"precision", "recall", "f1", "average_precision"})]
)
def test_binary_split_of_one_class_keeps_what_is_defined(label: int, defined: set[str]) -> None:
    scorer, rows = binary_rows([label] * 3, [0.2, 0.6, 0.7])
    summary = scorer.summarize(rows)
    json.dumps(summary, allow_nan=False)
    rates = ("balanced_accuracy", "precision", "recall", "specificity", "f1", "auroc", "average_precision")
    assert {name for name in rates if summary[name]["mean"] is not None} == defined
    reason = "every case has it" if label else "no case has it"
    assert summary["auroc"]["per_class"]["lesion"]["reason"] == reason


def test_kappa_of_one_constant_class_is_none_with_the_reason() -> None:
    scorer, rows = index_rows([1, 1], [1, 1])
    summary = scorer.summarize(rows)
    assert summary["accuracy"]["mean"] == 1
    assert summary["cohen_kappa"]["mean"] is None
    assert "all one class" in summary["cohen_kappa"]["reason"]


@pytest.mark.parametrize(("mode", "classes"), [("index", CLASSES), ("binary", CLASSES[:2]), ("multilabel", CLASSES)])
def test_summary_without_cases_says_so(mode: Any, classes: list[str]) -> None:
    summary = ClassificationScores(classes, mode).summarize([])
    json.dumps(summary, allow_nan=False)
    assert summary["accuracy"]["mean"] is None
    assert summary["auroc"]["reason"] == "no cases"


@pytest.mark.parametrize("mode", ["index", "binary", "multilabel"])
def test_summary_is_the_same_from_a_csv_file(mode: str) -> None:
    if mode == "index":
        scorer, rows = index_rows([0, 1, 2, 2], [0, 1, 2, 1])
    elif mode == "binary":
        scorer, rows = binary_rows([0, 1, 1], [0.3, 0.4, 0.9])
    else:
        scorer, rows = multilabel_rows(np.array([[0, 0, 0], [1, 0, 1]]), np.array([[0.1, 0.2, 0.3], [0.9, 0.1, 0.3]]))
    text = pd.DataFrame(rows).to_csv(index=False)
    assert scorer.summarize(list(csv.DictReader(io.StringIO(text)))) == scorer.summarize(rows)


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        ([0.5, 0.5], [0], "are needed"),
        ([0.5, 0.3, 0.2], [3], "0 to 2"),
        ([0.5, 0.3, 0.2], [0.5], "whole numbers"),
        ([float("nan"), 0.3, 0.2], [0], "diverged"),
        ([4.0, -1.0, 0.2], [0], "0 to 1"),
    ],
)
def test_case_that_cannot_be_scored_is_named(prediction: list[float], target: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClassificationScores(CLASSES, "index").case(np.array(prediction), np.array(target))


def test_classes_that_do_not_fit_the_mode_are_named() -> None:
    with pytest.raises(UserError, match="exactly 2"):
        ClassificationScores(CLASSES, "binary")
    with pytest.raises(UserError, match="not one of index"):
        ClassificationScores(CLASSES, "mask")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_sensitivity_at_95_specificity_is_the_best_that_leaves_19_of_20_negatives_in_peace(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (np.arange(90) % 5 == 0).astype(int)[:, None].repeat(3, axis=1)
    scores = np.round(rng.random((90, 3)) * 0.6 + 0.3 * labels, 2)
    scorer, rows = multilabel_rows(labels, scores)
    found = scorer.summarize(rows)["sensitivity_at_95_specificity"]
    for column, name in enumerate(scorer.classes):
        yes, no = scores[labels[:, column] == 1, column], scores[labels[:, column] == 0, column]
        allowed = [cut for cut in (*scores[:, column], 1.1) if (no < cut).mean() >= 0.95]
        assert found["per_class"][name]["mean"] == pytest.approx(max((yes >= cut).mean() for cut in allowed))


def test_sensitivity_at_95_specificity_wants_positives_and_negatives() -> None:
    scorer, rows = multilabel_rows(np.array([[1, 0, 1], [1, 0, 0]]), np.array([[0.9, 0.2, 0.8], [0.8, 0.1, 0.3]]))
    found = scorer.summarize(rows)["sensitivity_at_95_specificity"]["per_class"]
    reasons = [entry.get("reason") for entry in found.values()]
    assert reasons == ["every case has it", "no case has it", None]
