"""Studies of several frames as cases: windows, what the network sees, one scale, and batches of studies that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import ScaleIntensity

from medexp.data import expand
from medexp.data.cases import collate
from medexp.data.frames import PARTS, Frames, count, part
from medexp.data.preparation.frames import on_one_scale, read_frames
from medexp.data.records import Record
from medexp.data.targets import encode
from medexp.errors import UserError
from medexp.transforms.augmentation import Augmentation
from medexp.transforms.normalize import ClipZScore, ZScore

FILES = tuple(Path(f"f{i}.nii.gz") for i in range(5))
STUDY = Record("s", FILES, target=[0.0, 1.0, 2.0, 3.0, 4.0], times=(0.0, 1.0, 2.0, 4.0, 8.0), patient_id="p")
AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def four_d(path: Path, shape: tuple[int, ...] = (5, 4, 3, 6)) -> Path:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=shape).astype(np.float32), AFFINE), path)
    return path


def item(frames: Frames, record: Record, labelled: bool = True, channels: int = 1, **more: Any) -> dict[str, Any]:
    """What a batch is given of a study whose frame t is an image full of t."""
    total = count(record)
    image = torch.arange(total, dtype=torch.float32).repeat_interleave(channels)[:, None, None].expand(-1, 2, 3)
    case = {"case_id": record.case_id, "image": image, **frames.facts(record, channels, labelled), **more}
    return frames.item(case, channels, labelled)


def test_a_study_is_a_case_and_a_shorter_one_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    short = Record("t", FILES[:1])
    with caplog.at_level("INFO"):
        assert Frames(horizon=1).cases([STUDY, short]) == [STUDY]
    assert "1 studies have fewer than 2 frames and are left out (e.g. t)" in caplog.text
    with pytest.raises(UserError, match="no study has 2 frames"):
        Frames(horizon=1).cases([short])


def test_windows_hold_their_files_values_and_times_and_stay_with_the_patient() -> None:
    found = Frames(horizon=1, length=3, step=2).cases([STUDY])
    assert [window.case_id for window in found] == ["s_w0000", "s_w0002"]
    assert found[1].images == FILES[2:5]
    assert (found[1].target, found[1].times) == ([2.0, 3.0, 4.0], (2.0, 4.0, 8.0))
    assert {window.group for window in found} == {"p"}
    assert len(Frames(length=2).cases([STUDY])) == 2  # none overlap


@settings(max_examples=40, deadline=None)
@given(total=st.integers(10, 40), length=st.integers(2, 5), step=st.integers(1, 4))
def test_what_is_predicted_of_a_single_study_is_never_seen_by_an_earlier_part(
    total: int, length: int, step: int
) -> None:
    record = Record("s", (Path("s.nii"),), frames=tuple(range(total)))
    frames = Frames(horizon=1, length=length, step=step, shares=[0.5, 0.25, 0.25])
    found = frames.cases([record])
    ends = dict(zip(PARTS, (round(total * 0.5), round(total * 0.75), total), strict=True))
    starts = dict(zip(PARTS, (0, *ends.values()), strict=False))
    for window in found:
        assert window.split is not None
        assert window.frames is not None
        assert len(window.frames) == length
        assert starts[window.split] <= window.frames[-1] == max(window.frames) < ends[window.split]
    assert len({(window.group, window.split) for window in found}) == len({window.split for window in found})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": -1}, "horizon: -1 is less than 0"),
        ({"horizon": 2, "length": 2}, "length: 2 is less than 3"),
        ({"step": 1}, "step: there are no windows"),
        ({"length": 2, "shares": [0.5, 0.5]}, "add up to 1"),
        ({"last": 0}, "last: 0 is less than 1"),
    ],
)
def test_options_that_fit_no_study_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"dataset.sequence.{message.split(':')[0]}|{message}") as caught:
        Frames(**options)
    assert message in str(caught.value)


def test_the_network_sees_the_frames_before_those_to_predict() -> None:
    made = item(Frames(horizon=2), STUDY, target=encode(STUDY, [], "next_value"))
    assert made["image"][:, 0, 0, 0].tolist() == [0, 1, 2]
    assert made["values"].tolist() == [0, 1, 2]
    assert made["target"].tolist() == [3, 4]
    assert made["times"].tolist() == [-4, -3, -2]  # before the first that is to be predicted, at 4
    assert int(made["frames"]) == 3


def test_the_last_frames_alone_can_be_seen() -> None:
    made = item(Frames(horizon=1, last=1), STUDY, target=encode(STUDY, [], "next_value"))
    assert (made["image"][:, 0, 0, 0].tolist(), made["values"].tolist(), made["times"].tolist()) == ([3], [3], [-4])


def test_the_next_frames_are_the_target_where_there_is_no_value() -> None:
    made = item(Frames(horizon=2), Record("s", FILES), channels=2)
    assert made["image"].shape == (3, 2, 2, 3)
    assert made["target"][:, 0, 0].tolist() == [3, 3, 4, 4]


def test_without_labels_every_frame_is_seen_and_the_next_is_a_usual_gap_away() -> None:
    made = item(Frames(horizon=2), STUDY, labelled=False)
    assert made["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert made["values"].tolist() == [0, 1, 2, 3, 4]
    assert made["times"].tolist() == [-9, -8, -7, -5, -1]  # the median gap is 1
    assert "target" not in made


def test_a_class_of_the_whole_study_counts_time_from_its_last_frame() -> None:
    made = item(Frames(), STUDY, target=torch.tensor([1.0]))
    assert made["times"].tolist() == [-8, -7, -6, -4, 0]
    assert made["target"].tolist() == [1]


def test_studies_of_several_lengths_make_a_batch_filled_up_with_zeros() -> None:
    frames = Frames(horizon=1)
    cases = [
        {"case_id": str(n), "image": torch.ones(n, 2, 2), **frames.facts(part(STUDY, 0, n), 1, True)} for n in (2, 4)
    ]
    batch = collate([{**case, "target": torch.arange(float(n))} for case, n in zip(cases, (2, 4), strict=True)])
    assert batch["image"].shape == (2, 3, 1, 2, 2)
    assert batch["image"].sum(dim=(2, 3, 4)).tolist() == [[4, 0, 0], [4, 4, 4]]
    assert batch["frames"].tolist() == [1, 3]
    assert batch["values"].tolist() == [[0, 0, 0], [0, 1, 2]]
    assert batch["target"].tolist() == [[1], [3]]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), total=st.integers(2, 5))
def test_augmentation_moves_all_frames_alike(seed: int, total: int) -> None:
    moves: dict[str, Any] = {"flip": 0.5, "turn": 0.5, "affine": 0.7, "rotate": 20, "scale": 0.2, "shift": 0.1}
    tones: dict[str, Any] = {"brightness": 0.5, "contrast": 0.5, "gamma": 0.5, "low_resolution": 0.3, "blur": 0.3}
    one = torch.randn(1, 12, 12, generator=torch.Generator().manual_seed(seed))
    folded = Augmentation(2, **moves, **tones)({"image": one.repeat(total, 1, 1)}, seed)["image"]
    for frame in folded[1:]:
        torch.testing.assert_close(frame, folded[0])


def test_one_scale_for_the_study_is_taken_from_the_frames_that_are_seen() -> None:
    frames = torch.randn(4, 6, 6) * torch.tensor([1.0, 2.0, 1.0, 50.0])[:, None, None] + 7
    seen, known = frames[:3], ZScore()(frames[:3].reshape(1, -1)).reshape(3, 6, 6)
    found = on_one_scale(frames, 1, 1, ZScore())
    torch.testing.assert_close(found[:3], known)
    torch.testing.assert_close(found[3], (frames[3] - seen.mean()) / seen.std(unbiased=False), rtol=1e-4, atol=1e-4)
    assert float(ZScore()(frames[3:].clone()).std()) == pytest.approx(
        1.0, rel=0.02
    )  # by itself it would lose its range


@pytest.mark.parametrize("normalize", [ZScore(), ScaleIntensity(), ClipZScore([0.0], [5.0], [2.0], [1.5])])
def test_what_is_to_be_predicted_does_not_change_what_is_seen(normalize: Any) -> None:
    frames = torch.rand(4, 5, 5) * 9
    other = torch.cat([frames[:3], frames[3:] * 40])
    one, two = (on_one_scale(image, 1, 1, normalize) for image in (frames, other))
    torch.testing.assert_close(one[:3], two[:3])


def test_each_channel_has_its_own_scale_over_all_frames() -> None:
    frames = torch.stack([torch.randn(4, 4) * scale for _ in range(3) for scale in (1.0, 30.0)])
    found = on_one_scale(frames, 2, 0, ZScore()).unflatten(0, (3, 2))
    for channel in (0, 1):
        assert float(found[:, channel].std(unbiased=False)) == pytest.approx(1.0, rel=1e-4)


def test_time_points_of_a_file_are_its_frames_and_a_window_reads_its_own(tmp_path: Path) -> None:
    path = four_d(tmp_path / "s.nii.gz")
    voxels = np.asarray(nib.load(path).dataobj)
    (record,) = expand.frames([Record("s", (path,))], spatial_dims=3)
    assert record.frames == (0, 1, 2, 3, 4, 5)
    window = Frames(length=2).cases([record])[1]
    scan = read_frames(window, spatial_dims=3, channels=1)
    np.testing.assert_array_equal(scan.array, np.moveaxis(voxels, -1, 0)[2:4])
    assert scan.spacing == pytest.approx((2, 3, 4))


def test_a_flat_series_of_three_axes_is_frames_of_two(tmp_path: Path) -> None:
    path = four_d(tmp_path / "s.nii.gz", (5, 4, 3))
    (record,) = expand.frames([Record("s", (path,))], spatial_dims=2)
    scan = read_frames(record, spatial_dims=2, channels=1)
    assert scan.array.shape == (3, 5, 4)
    np.testing.assert_array_equal(scan.array[1], np.asarray(nib.load(path).dataobj)[..., 1])


def test_a_frame_on_another_grid_is_named(tmp_path: Path) -> None:
    one, other = four_d(tmp_path / "t0.nii.gz", (5, 4, 3)), four_d(tmp_path / "t1.nii.gz", (5, 4, 2))
    with pytest.raises(UserError, match=r"case s: .*t1.nii.gz: frame 1 has shape \(5, 4, 2\), the first"):
        read_frames(Record("s", (one, other)), spatial_dims=3, channels=1)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (1.0, "is no list of a value a frame"),
        ([1.0, 2.0], "2 values for 5 frames"),
        ([1.0] * 4 + [float("nan")], "is no finite number"),
    ],
)
def test_values_that_are_not_one_a_frame_are_named(target: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"case s: .*{message}"):
        encode(Record("s", FILES, target=target), [], "next_value")


@pytest.mark.parametrize(
    ("target", "others", "message"),
    [
        ("index", {"plane": "axial"}, "dataset.plane: axial is for still images"),
        ("index", {"plane": None, "times": "each"}, "dataset.times: each is for still images"),
        ("mask", {}, "task.target=mask has one label map, of a still image"),
    ],
)
def test_what_cannot_be_had_beside_frames_is_named(target: str, others: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Frames().alone(target, **others)


def test_shares_of_one_study_are_said_to_prove_little(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        Frames(horizon=1, length=2, step=1, shares=[0.4, 0.2, 0.4]).cases([STUDY])
    assert "scores say how it goes on, nothing of other patients" in caplog.text
