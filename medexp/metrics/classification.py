"""Scores of predicted classes and labels: one row a case, then what only the whole test split can say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_cohen_kappa, multiclass_confusion_matrix

from medexp.errors import UserError
from medexp.metrics.one_vs_rest import Columns
from medexp.metrics.table import Row, column_names, mean

THRESHOLD = 0.5  # of binary and multi-label decisions: a probability above it is a yes
CONSTANT = "labels and predictions are all one class"
JOINT = ";"  # between the labels of a multi-label case


class ClassificationScores:
    """Scores the probabilities of images' classes; `classes` names them in the order of the network's outputs.

    mode: "index": one of K classes, the most probable is the prediction. "binary": two classes, the second is the
    positive one. "multilabel": K labels, each on its own. Yes is a probability above 0.5.

    Columns: `label` and `prediction` (names; `;` between several), `correct` (0 or 1; for several labels: all of them
    right), `prob_<class>` (binary: of the positive class), and `label_<class>` (0 or 1) for several labels.
    """

    def __init__(self, classes: Sequence[str], mode: Literal["index", "binary", "multilabel"]) -> None:
        if mode not in ("index", "binary", "multilabel"):
            raise UserError(
                f"metrics.test.mode: '{mode}' is not one of index, binary, multilabel; choose metrics=${{task}}"
            )
        fewest = 1 if mode == "multilabel" else 2
        if len(classes) < fewest or (mode == "binary" and len(classes) != 2):
            wanted = "exactly 2 (the second is the positive one)" if mode == "binary" else f"{fewest} or more"
            raise UserError(f"dataset.classes: {list(classes)}: {wanted} are needed for a target of mode '{mode}'")
        self.classes, self.mode = [str(name) for name in classes], mode
        self.scored = self.classes[1:] if mode == "binary" else self.classes  # one a column of the probabilities
        self.columns = column_names(self.classes)[1:] if mode == "binary" else column_names(self.classes)

    def case(self, prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...] = ()) -> Row:
        """One row.

        prediction: probabilities (K,), or (1,) for binary. target: (1,) class index, or (1,) / (K,) of 0 and 1.
        `spacing` is not used: an image's class has no size. Raises UserError for other shapes, probabilities outside of
        0 to 1 (NaN among them) and targets that are no class.
        """
        scores, truth = np.asarray(prediction, dtype=float), np.asarray(target)
        self._verify(scores, truth)
        probabilities = {f"prob_{name}": float(score) for name, score in zip(self.columns, scores, strict=True)}
        if self.mode == "multilabel":
            real, said = [int(value) for value in truth], [int(score > THRESHOLD) for score in scores]
            row: Row = {"label": self._joined(real), "prediction": self._joined(said), "correct": int(real == said)}
            return row | probabilities | {f"label_{name}": yes for name, yes in zip(self.columns, real, strict=True)}
        said_index = int(scores[0] > THRESHOLD) if self.mode == "binary" else int(scores.argmax())
        index = int(truth[0])
        return {
            "label": self.classes[index],
            "prediction": self.classes[said_index],
            "correct": int(index == said_index),
            **probabilities,
        }

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """`{metric: {mean, std, n, per_class}}` and `confusion_matrix`, of rows from `case` or the same from a CSV.

        precision, recall (sensitivity), specificity, f1, auroc, average_precision, and, of a yes or no and of labels,
        sensitivity_at_95_specificity: each class against the rest, `mean`
        over the classes (binary: of the positive class). balanced_accuracy: mean recall (index), or mean of recall and
        specificity. accuracy: share of correct cases; for several labels of correct decisions, and exact_match of cases
        with all right. cohen_kappa: agreement beyond chance (Cohen 1960, doi:10.1177/001316446002000104).

        A class that no case has is left out of every mean: `mean` None, `n` 0. Whatever needs cases that the split
        lacks (specificity without negatives) is None with the reason. n: cases; of a class, the cases that have it
        (specificity: that lack it; accuracy, cohen_kappa: all).
        These are numbers of a whole split, so there is no std over cases (None).
        """
        probabilities, truth, said = self._arrays(rows)
        columns = Columns(self.scored, probabilities, truth, said, exclusive=self.mode == "index")
        correct = [float(row["correct"]) for row in rows]  # type: ignore[arg-type]  # a number in every row
        accuracy = columns.accuracy() if self.mode == "multilabel" else columns.whole(mean(correct), "no cases")
        result = {"accuracy": accuracy}
        if self.mode == "multilabel":
            result["exact_match"] = columns.whole(mean(correct), "no cases")
        result |= columns.scores()
        return result | self._agreement(columns, rows)

    def _agreement(self, columns: Columns, rows: list[Row]) -> dict[str, Any]:
        """cohen_kappa and confusion_matrix (rows: labels, columns: predictions; for several labels 2 x 2 each)."""
        if self.mode == "multilabel":
            pairs = [_agree(columns.said[:, k], columns.truth[:, k], 2) for k in range(len(self.scored))]
            per_class = {name: matrix for name, (_, matrix) in zip(self.scored, pairs, strict=True)}
            kappa = columns.each([value for value, _ in pairs], CONSTANT, [len(rows)] * len(self.scored))
            return {"cohen_kappa": kappa, "confusion_matrix": {"per_class": per_class, "n": len(rows)}}
        label, said = ([self.classes.index(str(row[key])) for row in rows] for key in ("label", "prediction"))
        value, matrix = _agree(torch.tensor(said).long(), torch.tensor(label).long(), len(self.classes))
        kappa = columns.whole(value, CONSTANT if rows else "no cases")
        return {"cohen_kappa": kappa, "confusion_matrix": {"classes": self.classes, "matrix": matrix, "n": len(rows)}}

    def _arrays(self, rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities (N, K), truth (N, K) and decisions (N, K) of 0 and 1."""
        size = (len(rows), len(self.columns))
        values = [[float(row[f"prob_{name}"]) for name in self.columns] for row in rows]  # type: ignore[arg-type]
        probabilities = torch.tensor(values, dtype=torch.float64).view(size)
        if self.mode == "multilabel":
            truth = [[int(row[f"label_{name}"]) for name in self.columns] for row in rows]  # type: ignore[arg-type]
            return probabilities, torch.tensor(truth).long().view(size), (probabilities > THRESHOLD).long()
        truth, said = (
            [[int(str(row[key]) == name) for name in self.scored] for row in rows] for key in ("label", "prediction")
        )
        return probabilities, torch.tensor(truth).long().view(size), torch.tensor(said).long().view(size)

    def _joined(self, yes: list[int]) -> str:
        return JOINT.join(name for name, one in zip(self.classes, yes, strict=True) if one)

    def _verify(self, scores: np.ndarray, truth: np.ndarray) -> None:
        shape = (len(self.scored),)
        wanted = shape if self.mode == "multilabel" else (1,)
        if scores.shape != shape or truth.shape != wanted:
            raise UserError(
                f"probabilities {scores.shape} and target {truth.shape}: "
                f"{shape} and {wanted} are needed; check dataset.classes"
            )
        if not ((scores >= 0) & (scores <= 1 + 1e-6)).all():  # false for NaN as well
            raise UserError(
                f"probabilities {scores.tolist()}: 0 to 1 is allowed; the network may have diverged: lower optimizer.lr"
            )
        top = len(self.classes) - 1 if self.mode == "index" else 1
        if not np.isin(truth, np.arange(top + 1)).all():
            raise UserError(
                f"target {truth.tolist()}: whole numbers from 0 to {top} are allowed; check dataset.classes"
            )


def _agree(said: Tensor, truth: Tensor, num_classes: int) -> tuple[float | None, list[list[int]]]:
    """Cohen's kappa, None where chance alone explains all, and the confusion matrix."""
    matrix = multiclass_confusion_matrix(said, truth, num_classes).tolist()
    if len(torch.cat([said, truth]).unique()) < 2:
        return None, matrix
    return float(multiclass_cohen_kappa(said, truth, num_classes)), matrix
