"""Objects from heat maps and masks, and the better of two that are one."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data.box_utils import batched_nms
from torch import Tensor

from medexp.inferers.peaks import components, padded, peaks, suppressed


def test_a_peak_is_an_object_with_the_size_and_offset_found_there() -> None:
    maps = torch.zeros(2 + 4, 12, 10)
    maps[1, 5, 3], maps[1, 5, 4], maps[0, 9, 8], maps[0, 1, 1] = 0.9, 0.8, 0.4, 0.1
    maps[2:, 5, 3] = torch.tensor([4.0, 2.0, 0.25, -0.5])
    maps[2:, 9, 8] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    found = peaks(maps, 2, 0.2)
    torch.testing.assert_close(found, torch.tensor([[3.75, 2.0, 7.75, 4.0, 0.9, 1.0], [9.0, 8.0, 10.0, 9.0, 0.4, 0.0]]))
    assert peaks(maps, 2, 0.95).shape == (0, 6)


def test_peaks_in_three_dimensions() -> None:
    maps = torch.zeros(1 + 6, 6, 7, 8)
    maps[0, 2, 3, 4] = 0.7
    maps[1:, 2, 3, 4] = torch.tensor([2.0, 4.0, 6.0, 0.0, 0.0, 0.5])
    torch.testing.assert_close(peaks(maps, 3, 0.1), torch.tensor([[1.5, 1.5, 2.0, 3.5, 5.5, 8.0, 0.7, 0.0]]))


def rows(seed: int, count: int, axes: int) -> Tensor:
    torch.manual_seed(seed)
    lower = torch.rand(count, axes) * 20
    sides = torch.rand(count, axes) * 10 + 1
    scores = torch.rand(count).sort(descending=True).values
    return torch.cat([lower, lower + sides, scores[:, None], torch.randint(0, 2, (count, 1)).float()], dim=1)


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 40),
    axes=st.sampled_from([2, 3]),
    limit=st.sampled_from([0.0, 0.2, 0.5]),
)
def test_overlapping_objects_of_a_class_are_suppressed_as_monai_does(
    seed: int, count: int, axes: int, limit: float
) -> None:
    objects = rows(seed, count, axes)
    kept = suppressed(objects, limit)
    wanted = batched_nms(objects[:, :-2], objects[:, -2], objects[:, -1].long(), limit) if count else []
    assert torch.equal(kept, objects[torch.as_tensor(wanted).long()])


def test_centres_within_a_better_object_are_suppressed_however_their_sizes_differ() -> None:
    objects = torch.tensor(
        [[0.0, 0, 10, 10, 0.9, 0], [4, 4, 5, 5, 0.8, 0], [9, 0, 13, 10, 0.7, 0], [4, 4, 5, 5, 0.6, 1]]
    )
    assert suppressed(objects, 1.0, "centre")[:, -2].tolist() == torch.tensor([0.9, 0.7, 0.6]).tolist()
    assert len(suppressed(objects, 0.3, "overlap")) == 4
    assert len(suppressed(objects, 0.3, "overlap", most=2)) == 2


def test_each_connected_component_is_an_object_scored_by_its_mean_chance() -> None:
    chances = torch.zeros(3, 8, 8)
    chances[1, 1:3, 1:4] = 0.6
    chances[1, 1, 1] = 0.9
    chances[2, 5:8, 5:6] = 0.8
    chances[1, 7, 0] = 0.3
    found = components(chances, 0.5)
    torch.testing.assert_close(found, torch.tensor([[5.0, 5, 8, 6, 0.8, 1], [1, 1, 3, 4, 0.65, 0]]))
    assert components(torch.zeros(2, 4, 4, 4), 0.5).shape == (0, 8)


def test_lists_of_different_lengths_are_filled_with_objects_of_score_zero() -> None:
    both = padded([rows(0, 3, 2), rows(1, 1, 2)])
    assert both.shape == (2, 3, 6)
    assert (both[1, 1:] == 0).all()
