"""Plans follow nnU-Net's rules; where its published plans are known, these come near them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import DynUNet
from monai.transforms import ScaleIntensityRange

from medexp.data.checks.facts import measured
from medexp.data.images import read_image, read_label
from medexp.data.planning.fingerprint import Channel, ClassVolume, Fingerprint, Foreground, fingerprint
from medexp.data.planning.plan import (
    GPU_SHARE,
    Plan,
    normalisation,
    plan_classification,
    plan_segmentation,
    target_spacing,
)
from medexp.data.records import Record
from medexp.errors import UserError
from medexp.transforms.normalize import ClipZScore

MR = Channel(0.0, 1200.0, 300.0, 150.0, "other", Foreground(400.0, 90.0, 150.0, 390.0, 700.0), 0)
CT = Channel(-1024.0, 3000.0, -300.0, 450.0, "ct", Foreground(99.294, 39.478, -41.04, 102.0, 176.01), 0)


def found(
    shape: Sequence[int] = (128, 128, 128),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    cases: int = 100,
    channels: tuple[Channel, ...] = (MR,),
    box: Sequence[int] | None = None,
) -> Fingerprint:
    box = box or shape
    return Fingerprint(
        cases=cases,
        orientation="RAS" if len(shape) == 3 else None,
        shapes=(tuple(shape),) * cases,
        boxes=(tuple(box),) * cases,
        spacings=(tuple(spacing),) * cases,
        channels=channels,
        classes={"organ": ClassVolume(1.0, 1000.0, 1.0)},
        nonzero_fraction=prod(box) / prod(shape),
        box_share=prod(box) / prod(shape),
    )


def segmentation(classes: int = 2, budget: float = 8.0, **facts: object) -> Plan:
    return plan_segmentation(found(**facts), classes, budget)  # type: ignore[arg-type]


def test_hippocampus_is_planned_as_nnunet_published_it() -> None:
    """Isensee 2021, supplement: patches of 40x56x40, nine at a time, three strides of 2; 260 labelled cases."""
    plan = segmentation(3, shape=(36, 50, 35), cases=260)
    assert plan.dataset["patch_size"] == [40, 56, 40]
    assert plan.dataset["batch_size"] == 9
    assert plan.dataset["spacing"] == [1.0, 1.0, 1.0]
    assert plan.network is not None
    assert plan.network.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert plan.network.filters == (32, 64, 128, 256)
    assert plan.why["batch_size"] == "5% of the training voxels"


@pytest.mark.parametrize(
    ("shape", "spacing", "classes", "channels", "published"),
    [
        ((138, 169, 138), (1.0, 1.0, 1.0), 4, (MR,) * 4, (128, 128, 128)),  # Task01 brain tumour
        ((320, 319, 20), (0.62, 0.62, 3.6), 3, (MR,) * 2, (320, 256, 20)),  # Task05 prostate
        ((512, 512, 482), (0.77, 0.77, 1.0), 3, (CT,), (128, 128, 128)),  # Task03 liver
        ((512, 512, 96), (0.8, 0.8, 2.5), 3, (CT,), (224, 224, 40)),  # Task07 pancreas
        ((512, 512, 150), (0.8, 0.8, 1.5), 3, (CT,), (192, 192, 64)),  # Task08 hepatic vessel
        ((512, 512, 187), (0.79, 0.79, 1.6), 2, (CT,), (192, 160, 64)),  # Task09 spleen
        ((320, 232, 115), (1.25, 1.25, 1.37), 2, (MR,), (192, 160, 80)),  # Task02 heart
    ],
)
def test_patches_are_near_those_of_nnunet(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    classes: int,
    channels: tuple[Channel, ...],
    published: tuple[int, ...],
) -> None:
    """Median shapes of the Decathlon, to a few voxels; published patches for 8 GB with two patches a batch."""
    plan = segmentation(classes, shape=shape, spacing=spacing, channels=channels)
    assert plan.dataset["batch_size"] == 2
    patch = plan.dataset["patch_size"]
    assert 0.75 <= prod(patch) / prod(published) <= 1.2, patch
    assert all(abs(ours - theirs) <= 32 for ours, theirs in zip(patch, published, strict=True)), patch


def test_an_anisotropic_axis_takes_its_tenth_percentile() -> None:
    plain = found((200, 200, 20), (1.0, 1.0, 5.0), cases=11)
    varied = replace(plain, spacings=tuple((1.0, 1.0, 3.5 + i * 0.3) for i in range(11)))
    spacing, why = target_spacing(varied)
    assert spacing == [1.0, 1.0, 3.8]
    assert "10th percentile along the anisotropic axis 2" in why
    many = replace(varied, shapes=((200, 200, 80),) * 11)  # long voxels, but many of them
    assert target_spacing(many) == ([1.0, 1.0, 5.0], "median of 11 cases")
    mild = replace(plain, spacings=tuple((1.0, 1.0, 2.0 + i * 0.1) for i in range(11)))
    assert target_spacing(mild)[0] == [1.0, 1.0, 2.5]


def test_the_tenth_percentile_is_never_below_the_other_axes() -> None:
    rows = ((1.0, 1.0, 0.5),) * 3 + ((1.0, 1.0, 5.0),) * 8
    assert target_spacing(replace(found((200, 200, 20), cases=11), spacings=rows))[0] == [1.0, 1.0, 1.0]


def test_pictures_of_one_spacing_are_not_resampled() -> None:
    assert target_spacing(found((64, 64), (1.0, 1.0)))[0] is None
    mixed = replace(found((64, 64), cases=2), spacings=((1.0, 1.0), (0.5, 0.5)))
    assert target_spacing(mixed)[0] == [0.75, 0.75]


def test_kernels_are_flat_while_voxels_are_long() -> None:
    plan = segmentation(shape=(256, 256, 24), spacing=(0.8, 0.8, 5.0))
    assert plan.network is not None
    assert plan.network.kernel_size[:2] == ((3, 3, 1), (3, 3, 1))
    assert plan.network.kernel_size[2] == (3, 3, 3)  # voxels of 3.2 x 3.2 x 5 mm by then
    assert plan.network.strides[1:3] == ((2, 2, 1), (2, 2, 1))
    assert plan.network.strides[3] == (2, 2, 2)


def test_a_few_slices_are_kept_whole() -> None:
    plan = segmentation(shape=(512, 512, 3), spacing=(0.5, 0.5, 8.0), budget=2)
    assert plan.dataset["patch_size"][2] == 3
    assert plan.network is not None
    assert all(stride[2] == 1 for stride in plan.network.strides)


def test_pictures_are_planned_in_two_dimensions() -> None:
    plan = segmentation(shape=(512, 512), spacing=(1.0, 1.0), cases=2000)
    assert plan.dataset["patch_size"] == [512, 512]
    assert plan.dataset["batch_size"] == pytest.approx(12, abs=1)  # nnU-Net's reference for 8 GB
    assert plan.network is not None
    assert max(plan.network.filters) == 512
    assert plan.dataset["spacing"] is None
    assert plan.dataset["orientation"] is None


def test_the_batch_is_bounded_by_the_training_cases() -> None:
    assert segmentation(shape=(40, 40, 40), cases=20).dataset["batch_size"] == 2
    assert segmentation(shape=(40, 40, 40), cases=100).dataset["batch_size"] == 5
    assert segmentation(shape=(40, 40, 40), cases=1).dataset["batch_size"] == 1


def test_more_memory_gives_larger_patches() -> None:
    sizes = [
        prod(segmentation(shape=(400, 400, 400), budget=budget).dataset["patch_size"]) for budget in (4, 8, 24, 80)
    ]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 256**3  # nnU-Net's first guess is no bound when there is more memory


def test_too_little_memory_is_said() -> None:
    with pytest.raises(UserError, match=r"--memory: 0\.001 GiB, but a patch of .* already takes"):
        segmentation(budget=0.001)


def test_a_volume_that_is_mostly_zero_is_cropped_and_standardised_within() -> None:
    plan = segmentation(shape=(240, 240, 155), box=(140, 170, 138), channels=(MR,) * 4)
    assert plan.dataset["crop_foreground"] is True
    assert plan.dataset["normalize"]["nonzero"] is True
    assert max(plan.dataset["patch_size"]) <= 170 + 32
    full = segmentation(shape=(240, 240, 155), box=(230, 230, 150))
    assert full.dataset["crop_foreground"] is False
    assert full.dataset["normalize"] == {
        "_target_": "monai.transforms.NormalizeIntensity",
        "nonzero": False,
        "channel_wise": True,
    }


def test_ct_is_clipped_to_the_foreground_and_standardised_alike() -> None:
    node, why = normalisation(found(channels=(CT,)), crop=False)
    assert node == {
        "_target_": "medexp.transforms.normalize.ClipZScore",
        "low": [-41.04],
        "high": [176.0],
        "mean": [99.29],
        "std": [39.48],
    }
    assert "CT" in why


def test_ct_beside_other_channels_and_ct_without_label_maps() -> None:
    node, _ = normalisation(found(channels=(CT, MR)), crop=False)
    assert node["low"] == [-41.04, None]
    assert node["std"] == [39.48, None]
    node, why = normalisation(found(channels=(replace(CT, foreground=None),)), crop=False)
    assert (node["low"], node["high"]) == ([-1000.0], [1000.0])
    assert "air to dense bone" in why


def test_every_setting_has_its_reason() -> None:
    for plan in (segmentation(), plan_classification(found((64, 64), (1.0, 1.0)))):
        assert set(plan.why) == set(plan.dataset)
        assert all(plan.why.values())


@pytest.mark.parametrize(
    ("shape", "size"),
    [((64, 64), [64, 64]), ((28, 28), [28, 28]), ((2000, 1000), [224, 112]), ((512, 512, 100), [128, 128, 24])],
)
def test_images_of_classes_are_resized_to_the_median_within_bounds(shape: tuple[int, ...], size: list[int]) -> None:
    plan = plan_classification(found(shape, (1.0,) * len(shape), cases=1000))
    assert plan.dataset["image_size"] == size
    assert plan.network is None


def test_batches_of_classification_follow_images_and_cases() -> None:
    assert plan_classification(found((64, 64), cases=5000)).dataset["batch_size"] == 64
    assert plan_classification(found((64, 64), cases=390)).dataset["batch_size"] == 39
    assert plan_classification(found((64, 64), cases=50)).dataset["batch_size"] == 8
    assert plan_classification(found((64, 64), cases=5)).dataset["batch_size"] == 5
    assert plan_classification(found((128, 128, 128), cases=50)).dataset["batch_size"] == 4
    assert plan_classification(found((224, 224), cases=5000)).dataset["batch_size"] == 32
    assert plan_classification(found((128, 128, 128), cases=5000), 16).dataset["batch_size"] == 8


@pytest.mark.real_data
def test_a_spleen_ct_is_windowed_as_nnunet_windows_the_spleen(real_data: Callable[[str], Path]) -> None:
    """nnU-Net's window of Task09, of 41 cases: -41 to 176 HU, mean 99.3, deviation 39.5. This is one of them."""
    root = real_data("msd_task09_spleen_crop")
    label = root / "derivatives/labels/sub-spleen2/ct/sub-spleen2_ct_seg-manual.nii.gz"
    record = Record("spleen2", (root / "sub-spleen2/ct/sub-spleen2_ct.nii.gz",), label)
    facts = measured(read_image(record, spatial_dims=3, channels=1), read_label(record, spatial_dims=3))
    spleen = fingerprint({"spleen2": facts}, ["background", "spleen"], "RAS")
    plan = plan_segmentation(spleen, 2)
    node = plan.dataset["normalize"]
    assert node["_target_"].endswith("ClipZScore")
    assert -100 < node["low"][0] < 20 < 150 < node["high"][0] < 300
    assert 60 < node["mean"][0] < 160
    assert plan.dataset["spacing"] == pytest.approx([0.795, 0.795, 5.0], abs=1e-3)
    assert plan.network is not None
    assert plan.network.kernel_size[0] == (3, 3, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(3, 600), st.floats(0.3, 8.0)), min_size=2, max_size=3),
    st.integers(1, 400),
    st.integers(2, 20),
    st.sampled_from([4.0, 8.0, 24.0]),
)
def test_every_plan_fits_its_memory_and_its_network(
    axes: list[tuple[int, float]], cases: int, classes: int, budget: float
) -> None:
    shape, spacing = zip(*axes, strict=True)
    plan = segmentation(classes, budget, shape=shape, spacing=spacing, cases=cases)
    net = plan.network
    assert net is not None
    assert plan.memory is not None
    assert plan.memory <= GPU_SHARE * budget
    assert 1 <= plan.dataset["batch_size"] <= cases
    assert len(net.strides) == len(net.kernel_size) == len(net.filters) >= 3
    assert all(size % by == 0 for size, by in zip(net.patch_size, net.divisor, strict=True))
    with torch.device("meta"):
        network = DynUNet(
            *(len(shape), 1, classes, net.kernel_size, net.strides, net.strides[1:], net.filters),
            deep_supervision=True,
            deep_supr_num=net.heads,
        )
        scores = network(torch.empty(2, 1, *net.patch_size))
    assert scores.shape == (2, net.heads + 1, classes, *net.patch_size)


def test_clipping_and_standardising_is_what_monai_would_scale_to() -> None:
    image = torch.randn(1, 6, 7, 8) * 400
    ours = ClipZScore([-41.0], [176.0], [99.3], [39.4])(image)
    theirs = ScaleIntensityRange(-41, 176, (-41 - 99.3) / 39.4, (176 - 99.3) / 39.4, clip=True)(image)
    torch.testing.assert_close(ours, torch.as_tensor(theirs))
