from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import get_track_meta
from omegaconf import OmegaConf

from medexp.errors import UserError
from medexp.transforms.augmentation import Augmentation

LEAVES = sorted((Path(__file__).parents[2] / "conf" / "augmentation").glob("*.yaml"))
SHAPES = {2: (20, 26), 3: (14, 18, 14)}
EVERYTHING = {
    "crop": 0.5,
    "flip": 0.5,
    "turn": 0.5,
    "affine": 0.7,
    "rotate": 20,
    "scale": 0.2,
    "shift": 0.1,
    "elastic": 0.3,
    "noise": 0.5,
    "blur": 0.5,
    "brightness": 0.5,
    "contrast": 0.5,
    "low_resolution": 0.5,
    "gamma": 0.5,
}
INTENSITY = ["noise", "blur", "brightness", "contrast", "low_resolution", "gamma"]
GEOMETRY = {
    "crop": {"crop": 1.0},
    "flip": {"flip": 1.0},
    "turn": {"turn": 1.0},
    "affine": {"affine": 1.0, "rotate": 20, "scale": 0.1, "shift": 0.1},
    "elastic": {"elastic": 1.0, "elastic_shift": 1.0},
}


def leaf(path: Path, spatial_dims: int) -> Augmentation:
    config = OmegaConf.create({"dataset": {"spatial_dims": spatial_dims}, "augmentation": OmegaConf.load(path)})
    return instantiate(config.augmentation, _convert_="all")


def item(spatial_dims: int, channels: int = 2) -> dict:
    generator = torch.Generator().manual_seed(7)
    shape = SHAPES[spatial_dims]
    return {
        "image": torch.randn(channels, *shape, generator=generator),
        "label": torch.randint(0, 4, (1, *shape), generator=generator, dtype=torch.uint8),
        "case_id": "a",
    }


def ball(spatial_dims: int, size: int = 33) -> dict:
    """An off-centre ball: its image is its own label map."""
    axes = torch.meshgrid(*[torch.arange(size).float()] * spatial_dims, indexing="ij")
    distance = sum((axis - centre) ** 2 for axis, centre in zip(axes, (14, 17, 19), strict=False))
    label = (distance < 8**2).to(torch.uint8)[None]
    return {"image": label.float(), "label": label}


def same(one: dict, other: dict) -> bool:
    return torch.equal(one["image"], other["image"]) and torch.equal(one["label"], other["label"])


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.stem)
def test_every_leaf_keeps_shape_dtype_label_values_and_its_input(path: Path, spatial_dims: int) -> None:
    augment, given_item = leaf(path, spatial_dims), item(spatial_dims)
    before = {key: given_item[key].clone() for key in ("image", "label")}
    tracked = get_track_meta()
    for seed in range(15):
        result = augment(given_item, seed)
        for key in ("image", "label"):
            assert type(result[key]) is torch.Tensor
            assert result[key].shape == before[key].shape
            assert result[key].dtype == before[key].dtype
            assert result[key].is_contiguous()
        assert torch.isfinite(result["image"]).all()
        assert set(result["label"].unique().tolist()) <= {0, 1, 2, 3}
        assert set(result) == {"image", "label", "case_id"}
    assert same(given_item, before)
    assert get_track_meta() == tracked


def test_leaves_are_found() -> None:
    assert {path.stem for path in LEAVES} >= {"none", "light", "default", "strong"}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), other=st.integers(0, 2**63 - 1), spatial_dims=st.sampled_from([2, 3]))
def test_result_depends_on_item_and_seed_alone(seed: int, other: int, spatial_dims: int) -> None:
    augment, given_item = Augmentation(spatial_dims, **EVERYTHING), item(spatial_dims)
    fresh = pickle.loads(pickle.dumps(augment))  # noqa: S301  as a worker process receives it
    first = augment(given_item, seed)
    augment(given_item, other)
    torch.rand(3)
    assert same(first, augment(given_item, seed))
    assert same(first, fresh(given_item, seed))


def test_different_seeds_give_different_results() -> None:
    augment = Augmentation(3, **{**EVERYTHING, "noise": 1.0})
    sums = {round(float(augment(item(3), seed)["image"].double().square().sum()), 6) for seed in range(20)}
    assert len(sums) == 20
    assert not same(augment(item(3), 1), augment(item(3), 2**32 + 1))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("options", [{}, {"flip": 0, "affine": 1.0}, {"noise": 1.0, "noise_std": 0}], ids=str)
def test_off_is_the_identity(spatial_dims: int, options: dict) -> None:
    given_item = item(spatial_dims)
    for seed in range(5):
        assert same(Augmentation(spatial_dims, **options)(given_item, seed), given_item)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("options", [{"flip": 0.5}, {"turn": 0.7}, {"flip": 0.5, "turn": 0.5}], ids=str)
def test_flips_and_turns_move_every_voxel_of_image_and_label_alike(spatial_dims: int, options: dict) -> None:
    augment, given_item = Augmentation(spatial_dims, **options), ball(spatial_dims)
    results = [augment(given_item, seed) for seed in range(12)]
    for result in results:
        assert torch.equal(result["image"], result["label"].float())
        assert result["label"].sum() == given_item["label"].sum()
    assert sum(not same(result, given_item) for result in results) >= 6


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", GEOMETRY)
def test_image_and_label_stay_aligned(spatial_dims: int, name: str) -> None:
    augment = Augmentation(spatial_dims, **GEOMETRY[name])
    for seed in range(6):
        result = augment(ball(spatial_dims), seed)
        seen, label = result["image"] > 0.5, result["label"] > 0
        dice = 2 * (seen & label).sum() / (seen.sum() + label.sum())
        assert dice > 0.97, seed


def test_certain_flips_are_undone_by_the_same_flips() -> None:
    given_item = item(3)
    augment = Augmentation(3, flip=[1.0, 0.0, 1.0])
    once = augment(given_item, 3)
    assert torch.equal(once["image"], given_item["image"].flip(1, 3))
    assert same(augment(once, 4), given_item)


def test_turns_leave_planes_of_unequal_axes_alone() -> None:
    given_item = item(3)  # 14 x 18 x 14: only axes 0 and 2 may turn
    turned = [torch.rot90(given_item["image"], times, (1, 3)) for times in (1, 2, 3)]
    for seed in range(6):
        image = Augmentation(3, turn=1.0)(given_item, seed)["image"]
        assert any(torch.equal(image, one) for one in turned)
    assert same(Augmentation(2, turn=1.0)(item(2), 0), item(2))


def test_rotation_about_axis_0_stays_within_the_slices() -> None:
    slices = torch.arange(12.0)[None, :, None, None].expand(1, 12, 16, 16)
    within = Augmentation(3, affine=1.0, rotate=[40, 0, 0])({"image": slices}, 1)["image"]
    across = Augmentation(3, affine=1.0, rotate=[0, 40, 0])({"image": slices}, 1)["image"]
    assert torch.allclose(within, slices, atol=1e-5)
    assert (across - slices).abs().max() > 1


def test_rotation_reaches_the_given_degrees_and_no_more() -> None:
    line = torch.zeros(1, 65, 65)
    line[0, 32, 33:] = 1
    angles = []
    for seed in range(40):
        image = Augmentation(2, affine=1.0, rotate=30)({"image": line}, seed)["image"][0]
        rows, columns = torch.meshgrid(torch.arange(65.0) - 32, torch.arange(65.0) - 32, indexing="ij")
        angles.append(float(torch.rad2deg(torch.atan2((rows * image).sum(), (columns * image).sum())).abs()))
    assert 25 < max(angles) < 30.5


def test_shift_is_a_fraction_of_the_size() -> None:
    ramp = torch.arange(200.0)[None, :, None].expand(1, 200, 10)
    moves = [
        float((Augmentation(2, affine=1.0, shift=0.1)({"image": ramp}, seed)["image"] - ramp)[0, 100, 5])
        for seed in range(40)
    ]
    assert 15 < max(abs(move) for move in moves) <= 20


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_elastic_displacement_has_the_given_spread(spatial_dims: int) -> None:
    size = 48 if spatial_dims == 2 else 32
    ramp = torch.arange(float(size)).view(1, size, *[1] * (spatial_dims - 1)).expand(1, *[size] * spatial_dims)
    augment = Augmentation(spatial_dims, elastic=1.0, elastic_shift=2.0, elastic_spacing=6)
    middle = (0, *[slice(10, -10)] * spatial_dims)
    spreads = [float((augment({"image": ramp}, seed)["image"] - ramp)[middle].std()) for seed in range(30)]
    assert 0.6 < sum(spreads) / 30 < 1.3  # drawn from 0 to 2
    assert max(spreads) < 3


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", INTENSITY)
def test_intensity_changes_the_image_and_never_the_label(spatial_dims: int, name: str) -> None:
    given_item = item(spatial_dims)
    result = Augmentation(spatial_dims, **{name: 1.0})(given_item, 5)
    assert not torch.equal(result["image"], given_item["image"])
    assert torch.equal(result["label"], given_item["label"])


@pytest.mark.parametrize("name", [*INTENSITY, *GEOMETRY])
def test_a_constant_image_stays_finite(name: str) -> None:
    options = GEOMETRY.get(name, {name: 1.0})
    assert torch.isfinite(Augmentation(3, **options)({"image": torch.ones(1, 9, 9, 9)}, 1)["image"]).all()


def test_gamma_keeps_mean_and_standard_deviation() -> None:
    given_item = item(3)
    image = Augmentation(3, gamma=1.0)(given_item, 2)["image"]
    assert float(image.mean()) == pytest.approx(float(given_item["image"].mean()), abs=1e-5)
    assert float(image.std()) == pytest.approx(float(given_item["image"].std()), abs=1e-4)


def test_without_a_label_the_image_moves_the_same_and_half_precision_is_kept() -> None:
    augment, given_item = Augmentation(3, **EVERYTHING), item(3)
    alone = augment({"image": given_item["image"]}, 9)
    assert set(alone) == {"image"}
    assert torch.equal(alone["image"], augment(given_item, 9)["image"])
    half = augment({"image": given_item["image"].half()}, 9)["image"]
    assert half.dtype == torch.float16
    assert (half.float() - alone["image"]).abs().max() < 0.05


@pytest.mark.parametrize(
    ("options", "key", "allowed"),
    [
        ({"flip": 1.5}, "flip", "from 0 to 1, or a list of 3"),
        ({"flip": [0.5, 0.5]}, "flip", "list of 3"),
        ({"affine": -0.1}, "affine", "probability from 0"),
        ({"noise": True}, "noise", "probability"),
        ({"rotate": 200}, "rotate", "from 0 to 180"),
        ({"rotate": "15"}, "rotate", "from 0 to 180"),
        ({"scale": 1.2}, "scale", "from 0 to 0.9"),
        ({"crop_scale": 0}, "crop_scale", "from 0.1 to 1"),
        ({"gamma_range": [1.5, 0.7]}, "gamma_range", "[smallest, largest]"),
        ({"blur_sigma": 1.0}, "blur_sigma", "[smallest, largest]"),
        ({"low_resolution_zoom": [0.5, 2]}, "low_resolution_zoom", "from 0.05 to 1"),
        ({"noise_std": float("nan")}, "noise_std", "from 0 to 10"),
    ],
    ids=str,
)
def test_bad_values_are_named_with_what_is_allowed(options: dict, key: str, allowed: str) -> None:
    with pytest.raises(UserError) as error:
        Augmentation(3, **options)
    assert str(error.value).startswith(f"augmentation.{key}: got ")
    assert allowed in str(error.value)


def test_bad_dimensions_are_named() -> None:
    with pytest.raises(UserError, match=r"augmentation\.spatial_dims: got 4; allowed: 2 or 3"):
        Augmentation(4)
    with pytest.raises(UserError, match=r"augmentation\.rotate"):
        Augmentation(2, rotate=[1, 2, 3])
    with pytest.raises(ValueError, match=r"2 axes"):
        Augmentation(2)(item(3), 0)
