"""`medexp bench step`: what a training step costs: beside the network, by precision, and with the data path."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medexp import build
from medexp.config import compose
from medexp.config.check import check
from medexp.run.bench import flops, nnunet
from medexp.run.bench.endtoend import end_to_end
from medexp.run.bench.overhead import overhead
from medexp.run.bench.rounds import interleaved
from medexp.run.bench.tables import Row

MODELS = ("dynunet", "basic_unet", "unet")  # leaves of conf/model
BATCH = 2
NNUNET = "nnunet"  # where its numbers stand in the result
# precision and memory layout of each contestant; TF32 is the arithmetic of a GPU's matrix units on float32
VARIANTS = {"fp32": ("fp32", False), "bf16": ("bf16", False), "bf16, channels last": ("bf16", True)}
ON_GPU = {"TF32": ("tf32", False), "TF32, channels last": ("tf32", True)}


def run(
    rounds: int = 5, model: str = ",".join(MODELS), patch: int = 64, cases: int = 6, workers: int = 0
) -> dict[str, Any]:
    """What medexp adds to the step of a tiny net, steps of networks by precision, training of the first of them with its
    data, and where dynunet is among them, its step beside nnU-Net's. model: names of conf/model. patch: voxels along each
    axis. Raises UserError."""
    models = model.split(",")
    for name in models:
        check(config(name, patch), f"model={name}")
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "overhead": overhead(rounds),
            "precision": {name: precision(name, patch, rounds) for name in models},
            "end_to_end": end_to_end(Path(folder), models[0], rounds, cases, workers),
        }
    return {**found, NNUNET: beside_nnunet(patch, rounds)} if "dynunet" in models else found


def beside_nnunet(patch: int, rounds: int) -> dict[str, Any]:
    """Steps of DynUNet, whose widths nnU-Net's network gets too, see `nnunet.compare`."""
    cfg, batch = config("dynunet", patch), made_up(patch)
    steps = {name: stepper(cfg, batch, *VARIANTS[name]) for name in ("fp32", "bf16")}
    return nnunet.compare(steps, cfg["model"], batch, rounds)


def precision(model: str, patch: int, rounds: int) -> dict[str, Any]:
    """Forward, loss, backward and optimizer of a 3D network of conf/model on a batch of patches in memory.

    {"flops": of a step, "variants": {name: {"samples_a_second", "flops_a_second", "share_of_peak", "peak_mb", "spread"}},
    "ratios": speed over fp32}. The peak is that of a matrix product in the same precision.
    """
    cfg, batch = config(model, patch), made_up(patch)
    device = batch["image"].device
    variants = VARIANTS | (ON_GPU if device.type == "cuda" else {})
    work = flops.of_step(build.task(cfg).net.to("meta"), batch["image"].shape)
    steps = {name: stepper(cfg, batch, *variant) for name, variant in variants.items()}
    peaks = {}
    for name, step in steps.items():
        flops.restart_peak(device)
        step()
        peaks[name] = flops.peak_memory(device)
    timings = interleaved(steps, rounds)
    found = {}
    for name, timing in timings.items():
        best = peak_rate(variants[name][0], device)
        found[name] = {
            "samples_a_second": BATCH / timing.median,
            "flops_a_second": work / timing.median,
            "share_of_peak": work / timing.median / best,
            "peak_mb": None if (peak := peaks[name]) is None else round(peak / 1e6, 1),
            **timing.as_json(),
        }
    ratios = {name: timings["fp32"].median / timing.median for name, timing in timings.items()}
    return {"flops": work, "patch": patch, "batch": BATCH, "variants": found, "ratios": ratios}


def made_up(patch: int) -> dict[str, Tensor]:
    """A batch of noise and random labels of three classes, on the GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = (BATCH, 1, *[patch] * 3)
    return {"image": torch.randn(shape, device=device), "label": torch.randint(0, 3, shape, device=device)}


def config(model: str, patch: int) -> dict[str, Any]:
    """Of a segmentation of two classes in 3D patches by a network of conf/model. Raises UserError."""
    size = f"[{patch},{patch},{patch}]"
    words = [f"model={model}", f"dataset.patch_size={size}", f"dataset.batch_size={BATCH}", "run_dir=bench"]
    return compose.resolve(compose.compose([*words, "dataset.classes=[background,one,two]"]))


def stepper(cfg: dict[str, Any], batch: dict[str, Any], arithmetic: str, channels_last: bool) -> Callable[[], Tensor]:
    """One training step of a network of its own, without Lightning; it returns the loss."""
    device = batch["image"].device
    task = build.task(cfg).to(device).train()
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    task.net.to(memory_format=layout)  # type: ignore[call-overload]
    own = {**batch, "image": batch["image"].contiguous(memory_format=layout)}
    (optimizer,), _ = task.configure_optimizers()

    def step() -> Tensor:
        optimizer.zero_grad()
        with tf32(arithmetic == "tf32"):
            with torch.autocast(device.type, torch.bfloat16) if arithmetic == "bf16" else nullcontext():
                loss = task.step(own).loss
            loss.backward()
        optimizer.step()
        flops.wait(device)
        return loss.detach()

    return step


@cache
def peak_rate(arithmetic: str, device: torch.device) -> float:
    """FLOP/s of a matrix product in this precision."""
    with tf32(arithmetic == "tf32"):
        return flops.matmul_peak(torch.bfloat16 if arithmetic == "bf16" else torch.float32, device)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Whether a GPU may round float32 to TF32 within."""
    places: Any = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = on
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


def rows(result: dict[str, Any]) -> list[Row]:
    """Table of what the step adds to the network, and of what feeding it costs."""
    part = result["overhead"]
    added, spent = part["added"], part["milliseconds"]
    usual = f"{added['Lightning, self.log']:.2f} ms (Lightning, self.log)"
    bare = spent["bare loop"]
    found: list[Row] = [
        ("tiny net: added to a bare step", f"{added['medexp']:.2f} ms", usual, f"{part['ratio']:.2f}x"),
        (
            "tiny net: a step",
            f"{spent['medexp']:.2f} ms",
            f"{bare:.2f} ms (bare loop)",
            f"{spent['medexp'] / bare:.2f}x",
        ),
    ]
    whole = result["end_to_end"]
    rates = whole["samples_a_second"]
    for name, ratio in whole["ratios"].items():
        what = f"data and step, {whole['model']}, samples/s"
        found.append(
            (what, f"{rates['medexp']:.2f} ({whole['precision']})", f"{rates[name]:.2f} ({name})", f"{ratio:.1f}x")
        )
    return [*found, *nnunet.rows(result[NNUNET])] if NNUNET in result else found


def details(result: dict[str, Any]) -> tuple[str, list[Sequence[str]], Sequence[str]]:
    """Table of networks and precisions."""
    found: list[Sequence[str]] = []
    for model, part in result["precision"].items():
        for name, values in part["variants"].items():
            peak = values["peak_mb"]
            found.append(
                (
                    *(f"{model} {part['patch']}^3", name, f"{values['samples_a_second']:.2f}"),
                    *(f"{values['flops_a_second'] / 1e9:.0f}", f"{values['share_of_peak']:.0%}"),
                    *("-" if peak is None else f"{peak:.0f} MB", spread(values), f"{part['ratios'][name]:.2f}x"),
                )
            )
    heads = ("network", "precision", "samples/s", "GFLOP/s", "of matmul peak", "peak memory", "spread", "speed")
    return "forward, loss, backward and optimizer", found, heads


def spread(values: dict[str, float]) -> str:
    """Slowest and fastest round around the median."""
    return f"{values['min_s'] / values['median_s'] - 1:+.0%} {values['max_s'] / values['median_s'] - 1:+.0%}"
