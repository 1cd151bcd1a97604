"""Whether callbacks that blend cases, or average weights, go with the rest."""

from __future__ import annotations

import pytest
from layouts.configs import problems

MEDNIST = "experiment=classification/mednist"
PRESENCE = "experiment=classification/phantom_presence_2d"


@pytest.mark.parametrize(
    "overrides",
    [
        [MEDNIST, "callbacks=[mixup,cutmix,early_stopping]", "loss.label_smoothing=0.1", "task.l1=1e-6"],
        [MEDNIST, "callbacks=[mixup,swa]", "loss=weighted_cross_entropy"],
        [PRESENCE, "callbacks=mixup", "loss=hard_examples"],
        [PRESENCE, "callbacks=[cutmix,ema,gradual_unfreezing]", "loss=focal"],
        ["experiment=segmentation/phantom", "callbacks=cutmix"],
    ],
)
def test_what_goes_together_is_taken(overrides: list[str]) -> None:
    assert problems(*overrides) == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            [MEDNIST, "callbacks=mixup", "loss=focal"],
            "callbacks.mixup: gives targets between the classes, which medexp.losses.focal.Focal does not take from this "
            "task; choose loss=cross_entropy",
        ),
        ([PRESENCE, "callbacks=cutmix", "loss=mse"], "callbacks.cutmix: gives targets between the classes"),
        (
            ["experiment=segmentation/phantom", "callbacks=mixup"],
            "callbacks.mixup: cannot blend targets of the kind 'mask', only index, binary, multilabel, value; "
            "callbacks=cutmix cuts and pastes label maps; leave it out",
        ),
        (
            ["experiment=segmentation/phantom", "callbacks=cutmix", "dataset.batch_size=1"],
            "dataset.batch_size: 1, but callbacks.cutmix blends cases of a batch",
        ),
        ([MEDNIST, "callbacks=[ema,swa]"], "callbacks: ema and swa both put an average in the place of the weights"),
    ],
)
def test_what_does_not_is_refused_in_words(overrides: list[str], said: str) -> None:
    (problem,) = problems(*overrides)
    assert problem.startswith(said)
