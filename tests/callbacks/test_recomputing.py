"""Blocks that are computed again in the backward pass: the same numbers from less memory."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medexp.callbacks.averaging import AverageWeights
from medexp.callbacks.recomputing import LAYERS, MOST, Recompute, blocks
from medexp.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")


class Unit(nn.Module):
    """Two convolutions, with what draws and what counts between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 4, 3), nn.Conv2d(4, 4, 3)
        self.norm, self.dropout, self.calls = nn.BatchNorm2d(4), nn.Dropout(0.3), 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        scores: Tensor = self.second(self.dropout(torch.relu(self.norm(self.first(image)))))
        return scores


class Net(nn.Module):
    def __init__(self, head: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.one, self.two, self.dense, self.head = Unit(1), Unit(4), nn.Linear(4, 3), head

    def forward(self, image: Tensor) -> Tensor:
        image = nn.functional.pad(image, (4, 4, 4, 4))
        scores: Tensor = self.dense(self.head(self.two(self.one(image))).mean(dim=(2, 3)))
        return scores


def around(net: nn.Module) -> Any:
    """As much of a task as the callback looks at."""
    task = SimpleNamespace(net=net)
    Recompute().setup(None, task, "fit")  # type: ignore[arg-type]
    return task


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "unet": (lambda: nets.UNet(3, 1, 2, (4, 8, 8), (2, 2), num_res_units=2, dropout=0.2), (2, 1, 8, 8, 8)),
    "dynunet": (
        lambda: nets.DynUNet(2, 1, 2, [3] * 3, [1, 2, 2], [2, 2], [4, 8, 8], deep_supervision=True, dropout=0.2),
        (2, 1, 16, 16),
    ),
    "segresnet": (lambda: nets.SegResNet(3, 8, 1, 2, dropout_prob=0.2, blocks_down=(1, 2), blocks_up=(1,)), (2, 1, 8, 8, 8)),
    "attention_unet, batch norm": (lambda: nets.AttentionUnet(2, 1, 2, (4, 8, 8), (2, 2), dropout=0.2), (2, 1, 16, 16)),
    "densenet, batch norm": (
        lambda: nets.DenseNet(2, 1, 2, 8, 4, (2, 2), dropout_prob=0.2),
        (2, 1, 32, 32),
    ),
    "vit": (
        lambda: nets.ViT(1, (16, 16), 8, 16, 32, 2, 2, spatial_dims=2, classification=True, dropout_rate=0.2),
        (2, 1, 16, 16),
    ),
    "swin_unetr": (
        lambda: nets.SwinUNETR(1, 2, spatial_dims=2, feature_size=12, depths=(1, 1, 1, 1), drop_rate=0.2, dropout_path_rate=0.2),
        (2, 1, 64, 64),
    ),
}  # fmt: skip


def learnt(make: Callable[[], nn.Module], shape: tuple[int, ...], recompute: bool) -> tuple[Any, ...]:
    """Outputs, gradients, buffers and the state of the generator after two passes."""
    torch.manual_seed(0)
    net, image = make().train(), torch.randn(shape)
    if recompute:
        around(net)
    torch.manual_seed(1)
    outputs = []
    for _ in range(2):
        found = net(image)
        heads = [one for one in tree_leaves(found) if isinstance(one, Tensor)]
        outputs += [head.detach().clone() for head in heads]
        torch.stack([head.square().mean() for head in heads]).sum().backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    return outputs, gradients, [buffer.clone() for buffer in net.buffers()], torch.get_rng_state()


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_dropout_statistics_and_draws_are_the_same_bit_for_bit(name: str) -> None:
    make, shape = NETWORKS[name]
    assert len(blocks(make())) > 1
    plain, other = learnt(make, shape, False), learnt(make, shape, True)
    assert len(plain[1]) == len(other[1]) > 5
    for expected, found in zip(tree_leaves(plain), tree_leaves(other), strict=True):
        assert torch.equal(found, expected)


def test_a_training_ends_with_the_same_weights_under_the_same_names(make: Any, fit: Any) -> None:
    torch.manual_seed(0)
    net = Net()
    plain, other = make(net=net), make(net=copy.deepcopy(net))
    fit(plain, [], epochs=2)
    fit(other, [Recompute()], epochs=2)
    assert list(other.state_dict()) == list(plain.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    # Once a training step and, in validation, once: nothing is computed again where nothing is learnt.
    assert plain.net.one.calls == 2 * (3 + 3)
    assert other.net.one.calls == 2 * (2 * 3 + 3)
    assert "forward" not in other.net.one.__dict__  # afterwards it is as it was written


def test_an_average_of_the_weights_is_a_network_of_its_own(make: Any, fit: Any) -> None:
    torch.manual_seed(0)
    net = Net()
    plain, other = make(net=net), make(net=copy.deepcopy(net))
    fit(plain, [AverageWeights(decay=0.5)])
    fit(other, [Recompute(), AverageWeights(decay=0.5)])
    for name, value in plain.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    copied = copy.deepcopy(around(net).net)
    assert copied.one.forward.__self__ is copied.one


def test_blocks_hold_a_few_layers_each_and_none_lies_within_another() -> None:
    for make, _ in NETWORKS.values():
        seen: set[nn.Module] = set()
        for block in blocks(make()):
            within = set(block.modules())
            assert 2 <= sum(isinstance(one, LAYERS) for one in within) <= MOST
            assert not within & seen
            seen |= within
    dynunet = NETWORKS["dynunet"][0]()
    assert {type(block).__name__ for block in blocks(dynunet)} == {"UnetBasicBlock", "UnetUpBlock"}  # not its nest


class Live(TorchDispatchMode):
    """The most bytes of tensors that were there at a time, of those made within."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.held[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.held = {key: held for key, held in self.held.items() if not held[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.held.values()))
        return made


@pytest.mark.parametrize(
    ("make", "share"),
    [
        (lambda: nets.DynUNet(3, 1, 2, [3] * 3, [1, 2, 2], [2, 2], [8, 16, 32]), 0.75),
        (lambda: nets.SegResNet(3, 8, 1, 2, blocks_down=(1, 2, 2), blocks_up=(1, 1)), 0.75),
    ],
    ids=["dynunet", "segresnet"],
)
def test_a_step_holds_less_at_a_time(make: Callable[[], nn.Module], share: float) -> None:
    peaks = []
    for recompute in (False, True):
        net, image = make().train(), torch.randn(2, 1, 32, 32, 32)
        if recompute:
            around(net)
        with Live() as live:
            net(image).square().mean().backward()
        peaks.append(live.peak)
    assert peaks[1] < share * peaks[0]


def test_a_network_that_writes_into_the_input_of_a_block_is_not_learnt_from() -> None:
    class Overwriting(Unit):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image.mul_(2.0))

    net = nn.Sequential(nn.Conv2d(1, 4, 1), Overwriting(4)).train()
    around(net)
    with pytest.raises(UserError, match="activation_checkpointing: Overwriting writes into its input") as caught:
        net(torch.randn(2, 1, 8, 8))
    assert "\n" not in str(caught.value)


def test_a_network_without_blocks_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    around(net)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        record.getMessage() == "trainer.activation_checkpointing: Sequential has no blocks of layers to compute again"
    )
