"""Whether a way to learn goes with the task, the data set and the callbacks."""

from __future__ import annotations

import pytest
from layouts.configs import problems

PHANTOM, PRESENCE = "experiment=segmentation/phantom", "experiment=classification/phantom_presence_2d"
TEACHER = "learning=mean_teacher"
ITSELF = "medexp.learning.mean_teacher.MeanTeacher"


@pytest.mark.parametrize(
    "overrides",
    [
        [PHANTOM, TEACHER, "dataset.labelled=0.1"],
        [PHANTOM, TEACHER, "dataset.labelled=5", "dataset.unlabelled.per_batch=3", "callbacks=cutmix"],
        [PHANTOM, TEACHER, "model=dynunet", "loss=dice_focal", "task.layer_decay=0.7", "callbacks=freeze_encoder"],
        [PRESENCE, TEACHER, "dataset.unlabelled.strong.flip=0.5"],
        ["experiment=classification/mednist", TEACHER, "callbacks=mixup"],
        [PHANTOM, "learning=pseudo_labels", "dataset.labelled=0.1", "callbacks=ema"],
        [PHANTOM, "learning=cross_pseudo", "model=dynunet", "dataset.labelled=0.1"],
        [PRESENCE, "learning=cross_pseudo"],
        ["experiment=classification/mednist", "learning=co_teaching", "dataset.label_noise=0.4"],
        ["experiment=classification/mednist", "loss=generalized_cross_entropy"],
        [PHANTOM, "loss=symmetric_cross_entropy"],
    ],
)
def test_what_goes_together_is_taken(overrides: list[str]) -> None:
    assert problems(*overrides) == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["experiment=regression/phantom_volume", TEACHER],
            f"learning: {ITSELF} knows targets of the kind mask, index, binary, multilabel, the task learns 'value'",
        ),
        (["experiment=translation/phantom_denoising", TEACHER], f"learning: {ITSELF} knows targets of the kind"),
        ([PHANTOM, "dataset.labelled=0.1"], "dataset.labelled: 0.1, but nothing learns from the other cases"),
        (
            [PHANTOM, "dataset.unlabelled={_target_: medexp.data.unlabelled.Unlabelled, per_batch: 2}"],
            "dataset.unlabelled: the task learns from labelled cases alone; set dataset.unlabelled=null",
        ),
        (
            [PHANTOM, TEACHER, "dataset.unlabelled=null"],
            f"dataset.unlabelled: null, but {ITSELF} learns from unlabelled cases",
        ),
        (
            [PHANTOM, TEACHER, "dataset.unlabelled.strong=null"],
            f"dataset.unlabelled.strong: null, but {ITSELF} compares two views",
        ),
        (
            [PHANTOM, TEACHER, "dataset.unlabelled.strong.flip=[0,0.5,0]"],
            "dataset.unlabelled.strong.flip: moves the strong view, but not what is said of the weak one",
        ),
        (
            [PHANTOM, "learning=co_teaching"],
            "learning: medexp.learning.co_teaching.CoTeaching knows targets of the kind index, binary, multilabel, the task "
            "learns 'mask'",
        ),
        (
            [PRESENCE, "learning=co_teaching", "dataset.labelled=0.5"],
            "dataset.labelled: 0.5, but nothing learns from the other cases",
        ),
        (
            [PRESENCE, "learning=co_teaching", "callbacks=mixup"],
            "callbacks.mixup: blends cases, among which wrong labels are to be found",
        ),
        ([PHANTOM, "learning=cross_pseudo", "callbacks=freeze_encoder"], "callbacks.freeze: does not reach the second"),
        ([PHANTOM, "learning=cross_pseudo", "task.layer_decay=0.7"], "task.layer_decay: does not reach the second"),
        (
            [PHANTOM, "dataset.label_noise=0.4"],
            "dataset.label_noise: 0.4, but the task learns 'mask', which is not one of",
        ),
        ([PHANTOM, TEACHER, "callbacks=ema"], "callbacks.ema: the teacher is an average of the weights already"),
        ([PHANTOM, TEACHER, "learning.decays=0.9"], f"learning.decays: {ITSELF} has no such argument; did you mean"),
        (
            [PHANTOM, TEACHER, "dataset.unlabelled.strong.noise=x"],
            "dataset.unlabelled.strong.noise: 'x' is not float",
        ),
    ],
)
def test_what_does_not_is_refused_in_words(overrides: list[str], said: str) -> None:
    (problem,) = problems(*overrides)
    assert problem.startswith(said)
