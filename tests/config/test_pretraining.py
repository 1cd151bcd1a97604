"""Parts of a pretraining that do not go together are refused before any data is read."""

from __future__ import annotations

import pytest
from layouts.configs import problems

WORDS = ["experiment=pretraining/phantom_presence_2d"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["degradation=null"], "degradation: null; give degradation=two_views"),
        (["loss=bce"], "loss: medexp.losses.binary_cross_entropy.BinaryCrossEntropy; choose contrastive, info_nce"),
        (["dataset.batch_size=1"], "dataset.batch_size: 1, but an image is told from the others"),
        (["task.queue=8"], "task.queue: is of an average of the weights"),
        (["task=pretrain_moco"], "task.queue: is of an average of the weights"),
        (["task.momentum=0.9"], "learns from both views alike, but task.momentum averages one; choose loss=info_nce"),
        (["trainer.compile=true"], "trainer.compile: True, but only the encoder of the network is computed"),
        (["dataset.balance=class"], "dataset.balance: draws by class, but no label may have a part in this"),
        (["task=pretrain_moco", "loss=info_nce", "callbacks=ema"], "callbacks.ema: task.momentum averages the weights"),
        (["loss.temperature=0"], "loss.temperature: 0 is not above 0; 0.1 is usual"),
        (["task=pretrain_moco", "loss=info_nce", "task.queue=-5"], "task.queue: -5 is negative"),
        (["task=pretrain_moco", "loss=info_nce", "task.momentum=1"], "task.momentum: 1 is not from 0 to below 1"),
        (["task.projector=[]"], "task.projector: []; give one width or more"),
        (["task.projector=[8,0]"], "task.projector: [8, 0]; give one width or more"),
        (["task.probes.knn.neighbours=0"], "task.probes.knn.neighbours: 0 is below 1"),
        (["task.probes.knn.temperature=0"], "task.probes.knn.temperature: 0 is not above 0"),
        (["task.probes.linear.penalty=-1"], "task.probes.linear.penalty: -1 is not above 0"),
        (["callbacks=mixup"], "cannot blend targets of the kind 'views'"),
        (["monitor=val/kn"], "monitor: 'val/kn' is not logged; did you mean 'val/knn'"),
        (["dataset=phantom_2d", "dataset.patch_size=[32,32]", "monitor=val/knn"], "monitor: 'val/knn' is not logged"),
    ],
)
def test_what_does_not_fit_a_pretraining_is_said(change: list[str], message: str) -> None:
    found = problems(*WORDS, *change)
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["experiment=classification/phantom_presence_2d", "loss=contrastive"], "only task=pretrain_* compares views"),
        (
            ["experiment=translation/phantom_denoising", "degradation=two_views"],
            "only task=pretrain_contrastive and its",
        ),
    ],
)
def test_other_tasks_do_not_take_its_parts(change: list[str], message: str) -> None:
    found = problems(*change)
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize("change", [["monitor=val/knn"], ["task=pretrain_barlow", "loss=barlow_twins"]])
def test_what_fits_passes(change: list[str]) -> None:
    assert problems(*WORDS, *change) == []
