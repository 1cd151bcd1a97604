"""Several heads are scored each by the scorer of its task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics import MeanAbsoluteError

from medexp.errors import UserError
from medexp.metrics.classification import ClassificationScores
from medexp.metrics.heads import HeadScores, OfHead
from medexp.metrics.regression import RegressionScores
from medexp.metrics.segmentation import SegmentationScores

TARGETS = {"volume": "ml", "presence": ["healthy", "lesion"], "grade": ["a", "b", "c"]}


def test_each_part_is_scored_as_alone() -> None:
    scorer = HeadScores(["background", "liver"], TARGETS)
    rng = np.random.default_rng(0)
    rows, alone = [], []
    whole = {
        "volume": RegressionScores({"value": "ml"}),
        "presence": ClassificationScores(TARGETS["presence"], "binary"),
    }
    for case in range(4):
        label, said = rng.integers(0, 2, (2, 6, 6, 6))
        heads = np.array([1.0 + case, 2.0, 0.3 + 0.1 * case, 0.2, 0.5, 0.3])  # value, mean predictor, presence, grades
        truth = np.array([case * 1.5, case % 2, case % 3])
        rows.append(scorer.case((said, heads), (label, truth), (1.0, 1.0, 2.0)))
        parts = whole["volume"].case(heads[:2, None], truth[:1]), whole["presence"].case(heads[2:3], truth[1:2])
        alone.append((SegmentationScores(["background", "liver"]).case(said, label, (1.0, 1.0, 2.0)), *parts))
    assert {key: rows[2][key] for key in alone[2][0]} == alone[2][0]
    assert rows[2]["volume_prediction_value"] == alone[2][1]["prediction_value"] == 3
    assert (rows[3]["presence_label"], rows[3]["grade_prediction"]) == ("lesion", "b")
    found = scorer.summarize(rows)
    one, two = (whole[name].summarize([row[place] for row in alone]) for place, name in enumerate(whole, start=1))
    assert found["volume_mae"]["mean"] == one["mae"]["mean"]
    assert found["presence_auroc"] == two["auroc"]
    assert found["dice"]["per_class"]["liver"]["n"] == 4
    assert "grade_f1" in found


def test_a_metric_sees_its_own_head_alone() -> None:
    metric = OfHead("volume", MeanAbsoluteError())
    for _ in range(2):  # a second epoch starts anew
        metric.update({"volume": torch.tensor([[1.0]]), "other": torch.zeros(1)}, {"volume": torch.tensor([[3.0]])})
        assert metric.compute() == 2
        metric.reset()
    with pytest.raises(UserError, match="no head 'volume'; heads: map, age"):
        metric.update({"map": torch.zeros(1), "age": torch.zeros(1)}, {})


def test_a_head_of_one_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"dataset.targets.presence: \['healthy'\]: two classes or more"):
        HeadScores(["background", "liver"], {"presence": ["healthy"]})
