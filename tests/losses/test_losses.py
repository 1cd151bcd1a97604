"""What every shipped loss keeps: right beats wrong, gradients flow, targets in both forms; found by glob."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

LEAVES = {path.stem: path for path in sorted(Path(__file__).parents[2].joinpath("conf/loss").glob("*.yaml"))}
CLASSES = 3
WEIGHTS = [0.5, 1.0, 2.0]
SEGMENTATION_ONLY = {"dice", "dice_ce", "dice_focal", "generalized_dice", "tversky"}
NO_CLASSES = {  # of other targets, or of facts of a data set; each has a test of its own
    *(
        "center_heatmap",
        "cox",
        "discrete_hazards",
        "structural",
        "perceptual",
        "barlow_twins",
        "contrastive",
        "info_nce",
    ),
    *("hinge", "wasserstein", "partial_ce", "partial_dice_ce"),
}
SHAPES = {"segmentation 2D": (6, 8), "segmentation 3D": (4, 6, 8), "classification": ()}
OF_CLASSES = [name for name in LEAVES if name not in NO_CLASSES]
INTEGER = [(n, kind) for n in OF_CLASSES for kind in SHAPES if kind != "classification" or n not in SEGMENTATION_ONLY]
FLOAT = ["bce", "focal", "mse", "mae", "smooth_l1"]
LABELS_ALONE = ["bce", "focal"]  # float targets as labels of their own; the distances compare raw values


def build(name: str) -> nn.Module:
    leaf = OmegaConf.load(LEAVES[name])
    for key, value in leaf.items():
        if value == "auto":
            leaf[key] = WEIGHTS
    return instantiate(leaf, _convert_="all")


def classes(spatial: tuple[int, ...], dtype: torch.dtype = torch.int64) -> Tensor:
    """Class indices (6, 1, *spatial) with every class in every case of an image, and in two cases each otherwise."""
    count = int(torch.tensor(spatial).prod()) if spatial else 1
    return (torch.arange(6 * count) % CLASSES).reshape(6, 1, *spatial).to(dtype)


def scores_for(target: Tensor, certainty: float = 5.0) -> Tensor:
    """Logits (B, K, *spatial) in favour of the target."""
    return certainty * nn.functional.one_hot(target.squeeze(1).long(), CLASSES).movedim(-1, 1).float()


def test_there_are_losses() -> None:
    assert {"dice_ce", "cross_entropy", "weighted_cross_entropy", "bce", "focal", "mse"} <= set(LEAVES)
    assert all(path.read_text().startswith("# ") for path in LEAVES.values())


@pytest.mark.parametrize(("name", "kind"), INTEGER)
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8], ids=str)
def test_right_beats_wrong_and_gradients_point_right(name: str, kind: str, dtype: torch.dtype) -> None:
    loss, target = build(name), classes(SHAPES[kind], dtype)
    right, wrong = scores_for(target), scores_for((target + 1) % CLASSES)
    even = torch.randn(right.shape, generator=torch.Generator().manual_seed(0)).mul_(0.01).requires_grad_()  # no ties
    values = [loss(scores, target) for scores in (right, even, wrong)]
    assert all(value.ndim == 0 and torch.isfinite(value) for value in values)
    assert values[0] < values[1] < values[2]
    values[1].backward()
    assert loss(even.detach() - 0.1 * even.grad / even.grad.abs().max(), target) < values[1]


@pytest.mark.parametrize("name", OF_CLASSES)
def test_patch_of_background_alone_is_finite(name: str) -> None:
    scores = torch.zeros(2, CLASSES, 4, 4, requires_grad=True)
    value = build(name)(scores, torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("name", FLOAT)
def test_float_targets_are_used_as_they_are(name: str) -> None:
    target = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    right = (target * 2 - 1) * 4 if name in LABELS_ALONE else target
    loss, wrong = build(name), torch.full_like(target, 0.5)
    wrong.requires_grad_()
    value = loss(wrong, target)
    assert loss(right, target) < value
    value.backward()
    assert wrong.grad.abs().sum() > 0


def patch(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Noisy scores (1, K, *spatial) and labels of a patch whose voxels a half-precision sum cannot count."""
    draws = torch.Generator().manual_seed(0)
    target = torch.randint(0, CLASSES, (1, 1, 64, 64, 56), generator=draws, dtype=torch.uint8)  # > 65504, float16's end
    noise = torch.randn(1, CLASSES, 64, 64, 56, generator=draws)
    return (scores_for(target, 2.0) + noise).to(dtype), target


@pytest.mark.parametrize("name", OF_CLASSES)
def test_bfloat16_scores_of_a_whole_patch_keep_loss_and_direction(name: str) -> None:
    loss, (scores, target) = build(name), patch(torch.bfloat16)
    half, full = scores.requires_grad_(), scores.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(half, target)
    exact = loss(full, target)
    (value + exact).backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact, rtol=0.01, atol=0.0)  # a sum rounded to bfloat16 is 0.4 % off at most
    similarity = nn.functional.cosine_similarity(half.grad.double().flatten(), full.grad.double().flatten(), dim=0)
    assert similarity > 0.999


@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_leaves_float32_scores_of_a_whole_patch_exact(name: str, dtype: torch.dtype) -> None:
    loss, (scores, target) = build(name), patch(torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        value = loss(scores, target)
    torch.testing.assert_close(value, loss(scores, target))


@pytest.mark.parametrize("name", OF_CLASSES)
def test_nothing_of_the_loss_is_in_checkpoints(name: str) -> None:
    assert dict(build(name).state_dict()) == {}  # a run rebuilt without its training split has no weights to load into
