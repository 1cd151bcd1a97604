"""The box of tissue: what is cut off, what comes back, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.inferers.foreground import ForegroundBox
from medexp.inferers.whole import WholeImage


class Counting(nn.Module):
    """Logits of two classes from the image's own values; remembers the sizes it met."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape))
        return torch.cat([-image[:, :1], image[:, :1]], dim=1)


def body(size: tuple[int, ...], start: int, stop: int, air: float = -1.0) -> Tensor:
    inputs = torch.full((1, 1, *size), air)
    inside = (slice(start, stop),) * len(size)
    inputs[(..., *inside)] = torch.rand((stop - start,) * len(size), generator=torch.Generator().manual_seed(0)) + 0.1
    return inputs


@pytest.mark.parametrize("size", [(20, 24), (20, 24, 22)])
def test_only_the_box_is_looked_at_and_all_around_is_background(size: tuple[int, ...]) -> None:
    inputs, net = body(size, 6, 14), Counting()
    logits = ForegroundBox(SimpleInferer(), margin=2)(inputs, net)
    assert net.sizes == [(1, 1, *(12,) * len(size))]
    assert logits.shape == (1, 2, *size)
    inside = (slice(4, 16),) * len(size)
    assert torch.equal(logits[(..., *inside)], Counting()(inputs)[(..., *inside)])
    chance = torch.softmax(logits, 1)
    outside = torch.ones(size, dtype=torch.bool)
    outside[inside] = False
    assert (chance[0, 0][outside] == 1).all()
    assert chance[0, 1][inside].min() > 0


def test_tissue_at_the_border_or_everywhere_is_the_inferer_itself() -> None:
    inputs, net = torch.randn(2, 1, 12, 14, generator=torch.Generator().manual_seed(0)), Counting()
    windows = SlidingWindowInferer(8, 4, 0.5, "gaussian")
    assert torch.equal(ForegroundBox(windows)(inputs, net), windows(inputs, net))
    empty = torch.zeros(1, 1, 12, 14)
    assert torch.equal(ForegroundBox(windows)(empty, net), windows(empty, net))


def test_windows_without_tissue_are_skipped() -> None:
    inputs, windows = body((48, 48, 48), 8, 24), SlidingWindowInferer(16, 1, 0.5, "gaussian")
    whole, part = Counting(), Counting()
    logits = ForegroundBox(windows, margin=0)(inputs, part)
    expected = windows(inputs, whole)
    assert (len(whole.sizes), len(part.sizes)) == (125, 1)
    assert torch.equal(logits.argmax(1), expected.argmax(1))


@pytest.mark.parametrize(("start", "stop", "box"), [(0, 3, (0, 10)), (9, 11, (5, 15)), (18, 20, (10, 20))])
def test_the_box_is_as_wide_as_a_window_within_the_image(start: int, stop: int, box: tuple[int, int]) -> None:
    inputs = body((20, 20), start, stop)
    for window in (10, [10, 10]):
        found = ForegroundBox(SlidingWindowInferer(window, 2), margin=0).box(inputs)
        assert found == [slice(*box)] * 2
    assert ForegroundBox(SlidingWindowInferer(64, 2), margin=0).box(inputs) == [slice(0, 20)] * 2


def test_tissue_of_any_channel_and_any_image_of_a_batch_counts() -> None:
    inputs = torch.zeros(2, 2, 16, 16) + torch.tensor([-3.0, 5.0]).view(1, 2, 1, 1)  # an air of its own a channel
    inputs[0, 0, 4, 5], inputs[1, 1, 9, 12] = 1.0, 6.0
    assert ForegroundBox(SimpleInferer(), margin=0).box(inputs) == [slice(4, 10), slice(5, 13)]
    assert ForegroundBox(SimpleInferer(), margin=3).box(inputs) == [slice(1, 13), slice(2, 16)]


def test_a_threshold_leaves_noise_in_the_air_out() -> None:
    inputs = body((24, 24), 8, 16, air=0.0) + 0.05 * torch.rand(24, 24)
    assert ForegroundBox(SimpleInferer(), margin=0).box(inputs) == [slice(0, 24)] * 2
    assert ForegroundBox(SimpleInferer(), above=0.09, margin=0).box(inputs) == [slice(8, 16)] * 2


def test_it_stands_around_whole_images_too() -> None:
    inputs, net = body((30, 30), 8, 17), Counting()
    logits = ForegroundBox(WholeImage(8), margin=1)(inputs, net)
    assert net.sizes == [(1, 1, 16, 16)]
    assert logits.shape == (1, 2, 30, 30)


@pytest.mark.parametrize("margin", [-1, 1.5, True])
def test_a_bad_margin_is_named(margin: object) -> None:
    with pytest.raises(UserError, match=r"inferer\.margin: got .*0 or more"):
        ForegroundBox(SimpleInferer(), margin=margin)  # type: ignore[arg-type]


@pytest.mark.parametrize("above", ["air", float("nan"), True])
def test_a_bad_threshold_is_named(above: object) -> None:
    with pytest.raises(UserError, match=r"inferer\.above: got .*null, or an intensity"):
        ForegroundBox(SimpleInferer(), above=above)  # type: ignore[arg-type]
