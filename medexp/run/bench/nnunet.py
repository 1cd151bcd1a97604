"""nnU-Net's training step beside medexp's: its own network, loss and optimizer, where they are installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from importlib import import_module, metadata
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from medexp.run.bench import flops
from medexp.run.bench.rounds import interleaved
from medexp.run.bench.tables import Row

NAME = "nnU-Net"
INSTALL = (
    "pip install --no-deps nnunetv2 dynamic-network-architectures"  # their own dependencies are many and not needed
)
PARTS = {
    "PlainConvUNet": "dynamic_network_architectures.architectures.unet",
    "DC_and_CE_loss": "nnunetv2.training.loss.compound_losses",
    "MemoryEfficientSoftDiceLoss": "nnunetv2.training.loss.dice",
    "DeepSupervisionWrapper": "nnunetv2.training.loss.deep_supervision",
}


def compare(
    steps: Mapping[str, Callable[[], Any]], model: Mapping[str, Any], batch: Mapping[str, Tensor], rounds: int
) -> dict[str, Any]:
    """Steps of medexp's DynUNet, by precision, in turns with nnU-Net's on the same batch.

    model: the DynUNet's arguments, whose widths, kernels and strides nnU-Net's network gets as well. Returns {"seconds",
    "ratios": how much faster than nnU-Net's, "arithmetic" of nnU-Net's, "version", "parameters" of its network}, or
    {"missing": why} where its packages are not installed.
    """
    try:
        parts = installed()
    except (ImportError, AttributeError) as error:
        return {"missing": " ".join(str(error).split())}
    net = network(parts, model).to(batch["image"].device)
    timings = interleaved({NAME: stepper(parts, net, model["strides"], batch), **steps}, rounds)
    return {
        "seconds": {name: timing.as_json() for name, timing in timings.items()},
        "ratios": {name: timings[NAME].median / timings[name].median for name in steps},
        "arithmetic": "fp32" if batch["image"].device.type == "cpu" else "fp16",
        "version": _version(),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }


def installed() -> SimpleNamespace:
    """nnU-Net's PARTS by name. Raises ImportError and AttributeError."""
    return SimpleNamespace(**{name: getattr(import_module(module), name) for name, module in PARTS.items()})


def network(parts: Any, model: Mapping[str, Any]) -> nn.Module:
    """nnU-Net's U-Net, two convolutions a stage, with the widths of a DynUNet of 3D images."""
    stages = len(model["filters"])
    built: nn.Module = parts.PlainConvUNet(
        model["in_channels"],
        *(stages, list(model["filters"]), nn.Conv3d, list(model["kernel_size"]), list(model["strides"])),
        *(2, model["out_channels"], 2),
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )
    return built


def stepper(parts: Any, net: nn.Module, strides: list[Any], batch: Mapping[str, Tensor]) -> Callable[[], Tensor]:
    """One step as nnUNetTrainer.train_step (2.8) takes it; it returns the loss.

    Dice and cross-entropy at every scale but the coarsest, halved from one to the next; SGD with Nesterov's momentum;
    gradients clipped at 12; 16 bits on a GPU and float32 on a CPU. Its loader makes the labels of the coarser scales:
    here they lie ready. Neither it nor medexp's step is compiled (nnU-Net compiles on a GPU, and not on a CPU).
    """
    image, device = batch["image"], batch["image"].device
    targets = _scales(batch["label"], strides[:-1])
    weights = [0.5**scale for scale in range(len(targets))]
    weights = [weight / sum(weights[:-1]) for weight in weights[:-1]] + [0.0] if len(weights) > 1 else weights
    dice: dict[str, Any] = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    both = parts.DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1, dice_class=parts.MemoryEfficientSoftDiceLoss)
    loss_of = parts.DeepSupervisionWrapper(both, weights)
    optimizer = torch.optim.SGD(net.train().parameters(), 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    context = partial(torch.autocast, device.type, torch.float16) if device.type == "cuda" else nullcontext

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with context():
            loss: Tensor = loss_of(net(image), targets)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 12)
        scaler.step(optimizer)
        scaler.update()
        flops.wait(device)
        return loss.detach()

    return step


def _scales(label: Tensor, strides: list[Any]) -> list[Tensor]:
    """Labels (B, 1, *spatial) of the output of each stage but the deepest, the finest first."""
    found, steps = [], [1] * (label.ndim - 2)
    for stride in strides:
        axes = stride if isinstance(stride, list | tuple) else [stride] * len(steps)
        steps = [before * now for before, now in zip(steps, axes, strict=True)]
        every: tuple[Any, ...] = (..., *(slice(None, None, step) for step in steps))
        found.append(label[every].float())
    return found


def _version() -> str | None:
    try:
        return metadata.version("nnunetv2")
    except metadata.PackageNotFoundError:
        return None


def rows(result: Mapping[str, Any]) -> list[Row]:
    """Lines of the table of `medexp bench step`."""
    if "missing" in result:
        return [("a step of nnU-Net's at equal widths", "-", f"not installed: {INSTALL}", "-")]
    seconds = result["seconds"]
    beside = f"{seconds[NAME]['median_s']:.2f} s ({NAME}, {result['arithmetic']})"
    return [
        ("a step of nnU-Net's at equal widths", f"{seconds[name]['median_s']:.2f} s ({name})", beside, f"{ratio:.1f}x")
        for name, ratio in result["ratios"].items()
    ]
