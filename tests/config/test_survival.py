"""Parts that do not fit what is learnt from follow-up are named before anything is read."""

from __future__ import annotations

import pytest
from layouts.configs import problems

COX, HAZARDS = "experiment=survival/phantom", "experiment=survival/phantom_hazards"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ([COX, "loss=cross_entropy"], "loss: medexp.losses.cross_entropy.CrossEntropy does not fit the scores of "),
        ([COX, "loss=discrete_hazards"], "loss: medexp.losses.discrete_hazards.DiscreteHazards does not fit"),
        ([HAZARDS, "loss=cox"], "loss: medexp.losses.cox.Cox does not fit the scores of medexp.models.hazards.Disc"),
        (["experiment=classification/mednist", "loss=cox"], "loss: medexp.losses.cox.Cox learns from follow-up"),
        ([COX, "dataset.batch_size=1"], "dataset.batch_size: 1, but the risk set of the Cox loss is the batch"),
        ([COX, "task.out_channels=4"], "task.out_channels: 4, but task.head has 1 scores a case"),
        ([HAZARDS, "task.head.intervals=4"], "task.out_channels: 10, but task.head has 4 scores a case"),
        ([COX, "dataset=phantom_2d"], "dataset.provides: 'mask', but task=survival_cox learns from 'survival'"),
        (["experiment=classification/mednist", "dataset=phantom_survival"], "dataset.provides: 'survival', but task="),
        ([COX, "model=unet"], "model: monai.networks.nets.UNet returns (2, 1, 64, 64), but the task needs one value"),
    ],
)
def test_parts_that_do_not_fit_are_named(overrides: list[str], problem: str) -> None:
    found = problems(*overrides)
    assert len(found) == 1, found
    assert found[0].startswith(problem)


def test_somebodys_own_loss_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDEXP_ALLOW", "mylab")
    from medexp.config.survival import problems as judged

    cfg = {
        "task": {
            "target": "survival",
            "out_channels": 1,
            "head": {"_target_": "medexp.models.hazards.ProportionalHazards"},
        },
        "loss": {"_target_": "mylab.losses.Ranking"},
        "dataset": {"batch_size": 1},
    }
    assert list(judged(cfg)) == []
