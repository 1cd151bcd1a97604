"""Losses of partial label maps: no gradient where nothing is known, equal to the plain loss where all is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceCELoss
from torch import Tensor

from medexp.errors import UserError
from medexp.losses.partial import PartialCrossEntropy, PartialDiceCE
from medexp.targets import IGNORED

CLASSES = ["background", "liver", "kidney", "lesion"]
GROUPS = [["liver", "lesion"], ["kidney"]]
FIRST, SECOND = 4, 5  # background of each group


def a_batch(seed: int, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, 4, 6, 5, generator=generator)
    return scores.requires_grad_(), torch.randint(0, 4, (batch, 1, 6, 5), generator=generator).byte()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), exclusion=st.sampled_from([0.0, 1.0]))
def test_ignored_voxels_have_no_gradient_and_their_scores_change_nothing(
    seed: int, share: float, exclusion: float
) -> None:
    loss = PartialDiceCE(CLASSES, GROUPS, exclusion=exclusion)
    scores, target = a_batch(seed)
    ignored = torch.rand(target.shape, generator=torch.Generator().manual_seed(seed + 1)) < share
    target[ignored] = IGNORED
    value = loss(scores, target)
    (gradient,) = torch.autograd.grad(value, scores)
    assert torch.isfinite(gradient).all()
    assert (gradient[ignored.expand_as(gradient)] == 0).all()
    torch.testing.assert_close(loss(torch.where(ignored, 9.0, scores), target), value)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_where_all_is_annotated_the_loss_is_the_plain_one(seed: int) -> None:
    scores, target = a_batch(seed, batch=3)
    plain = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
    for groups in ([], GROUPS):
        torch.testing.assert_close(PartialDiceCE(CLASSES, groups, exclusion=1.0)(scores, target), plain(scores, target))


def test_background_of_a_group_is_the_sum_of_what_it_may_be() -> None:
    scores, _ = a_batch(0, batch=1)
    target = torch.full((1, 1, 6, 5), FIRST).byte()  # liver and lesion are annotated: background or kidney
    chances = scores.softmax(dim=1)
    wanted = -(chances[:, 0] + chances[:, 2]).log().mean()
    torch.testing.assert_close(PartialDiceCE(CLASSES, GROUPS, dice=0.0)(scores, target), wanted)


def test_a_class_without_annotation_may_take_the_background_but_no_other_class() -> None:
    loss = PartialDiceCE(CLASSES, GROUPS, exclusion=0.0)
    target = torch.full((1, 1, 6, 5), FIRST).byte()
    target[..., :2, :] = 1

    def of(where: slice, kind: int) -> Tensor:
        scores = torch.full((1, 4, 6, 5), -8.0)
        scores[:, 0] = 8.0
        scores[:, :, :2] = -8.0
        scores[:, 1, :2] = 8.0
        scores[:, :, where] = -8.0
        scores[:, kind, where] = 8.0
        return loss(scores, target)

    right = of(slice(0, 0), 0)
    torch.testing.assert_close(of(slice(4, 6), 2), right)  # a kidney that nobody drew
    assert of(slice(4, 6), 1) > right + 1  # a liver that would have been drawn
    assert of(slice(0, 1), 2) > right + 1  # a kidney in the liver


def test_exclusion_is_the_overlap_with_what_is_annotated() -> None:
    scores, target = a_batch(3, batch=1)
    target[:] = FIRST
    target[..., :3, :] = 1
    with_it, without = (PartialDiceCE(CLASSES, GROUPS, exclusion=value)(scores, target) for value in (1.0, 0.0))
    kidney, annotated = scores.softmax(dim=1)[0, 2], (target[0, 0] == 1).float()
    wanted = 2 * (kidney * annotated).sum() / (kidney.sum() + annotated.sum())
    torch.testing.assert_close(with_it - without, wanted, rtol=1e-4, atol=1e-5)


def test_a_batch_of_which_nothing_is_known_has_no_loss_and_no_gradient() -> None:
    for loss in (PartialDiceCE(CLASSES), PartialCrossEntropy(CLASSES, smoothness=0.0)):
        scores, target = a_batch(0)
        value = loss(scores, torch.full_like(target, IGNORED))
        (gradient,) = torch.autograd.grad(value, scores)
        assert float(value.detach()) == pytest.approx(0, abs=1e-5)
        assert not gradient.any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.1, 0.9))
def test_without_smoothness_the_cross_entropy_is_that_of_torch_which_ignores_the_same(seed: int, share: float) -> None:
    scores, target = a_batch(seed)
    target[torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)) < share] = IGNORED
    if (target == IGNORED).all():
        return
    wanted = torch.nn.functional.cross_entropy(scores, target[:, 0].long(), ignore_index=IGNORED)
    torch.testing.assert_close(PartialCrossEntropy(CLASSES, smoothness=0.0)(scores, target), wanted)


def test_smoothness_is_the_total_variation_of_the_probabilities() -> None:
    scores = torch.full((1, 4, 4, 4), -20.0)
    scores[:, 0, :, :2], scores[:, 1, :, 2:] = 20.0, 20.0
    target = torch.full((1, 1, 4, 4), IGNORED).byte()
    assert float(PartialCrossEntropy(CLASSES, smoothness=1.0)(scores, target)) == pytest.approx(2 * 4 / 12)
    scores[:] = scores[..., :1]
    assert float(PartialCrossEntropy(CLASSES, smoothness=1.0)(scores, target)) == pytest.approx(0)


def test_half_precision_and_three_dimensions() -> None:
    scores, target = torch.randn(1, 4, 4, 5, 6, dtype=torch.bfloat16), torch.randint(0, 6, (1, 1, 4, 5, 6)).byte()
    assert PartialDiceCE(CLASSES, GROUPS, exclusion=1.0)(scores, target).dtype == torch.float32
    assert torch.isfinite(PartialCrossEntropy(CLASSES)(scores, target.clamp(max=3)))


def test_a_name_that_is_no_class_is_answered() -> None:
    with pytest.raises(UserError, match=r"loss\.groups: 'kidny'; did you mean 'kidney'|did you mean 'kidney'"):
        PartialDiceCE(CLASSES, [["kidny"]])
    with pytest.raises(UserError, match=r"loss\.smoothness: -1"):
        PartialCrossEntropy(CLASSES, smoothness=-1)
