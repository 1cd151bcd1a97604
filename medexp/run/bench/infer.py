"""`medexp bench infer`: sliding windows over a volume against MONAI's own call, and the memory that class maps take.

`python -m medexp.run.bench.infer WHO SIZE CLASSES` prints the peak memory of one volume from scores to a class map.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer, SlidingWindowInferer
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from medexp.inferers.foreground import ForegroundBox
from medexp.inferers.parts import parts
from medexp.performance import fastest_precision, peak_memory
from medexp.run.bench.rounds import interleaved
from medexp.run.bench.tables import Row

WINDOW, CLASSES = 64, 3
AIR = -1.0  # of the normalised image
STEPS = 100  # of training, so that the network has something to be right or wrong about

Precision = Callable[[], AbstractContextManager[Any]]


def run(rounds: int, size: int = 192, memory_size: int = 192, memory_classes: int = 20) -> dict[str, Any]:
    """A network of conf/model (unet) on size^3 voxels, a third of them in the box around a body, windows of 64^3, Gaussian,
    overlap 0.5; and a network of one layer on memory_size^3 voxels, from the image to a class map.

    {"seconds": {name: Timing as JSON}, "ratios": {name: time of MONAI's calls over it}, "disagreement": {name: share of
    voxels that have another class than by MONAI in float32}, "dice": {name: of the organs, to the truth}, "box": share of
    the volume, "memory": {name: peak in MB}}.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    image, label = (tensor.to(device) for tensor in volume(size))
    return windows(trained(image, label, _precision(device)[0]), image, label, rounds) | {
        "size": size,
        "window": WINDOW,
        "memory": memory(memory_size, memory_classes),
        "memory_of": [memory_size, memory_classes],
    }


def windows(net: nn.Module, image: Tensor, label: Tensor, rounds: int) -> dict[str, Any]:
    """Times of all contestants, and what each of them finds. image: (1, 1, *spatial), label: (*spatial)."""
    sliding = {count: SlidingWindowInferer(WINDOW, count, 0.5, "gaussian") for count in (1, 4)}
    box = ForegroundBox(sliding[4])
    half, name = _precision(image.device)
    contestants: dict[str, tuple[Inferer, Precision]] = {
        "MONAI, fp32, 1 window": (sliding[1], nullcontext),
        "MONAI, fp32, 4 windows": (sliding[4], nullcontext),
        f"medexp, {name}": (sliding[4], half),
        f"medexp, {name}, foreground box": (box, half),
    }
    found: dict[str, Tensor] = {}

    def act(who: str, inferer: Inferer, precision: Precision) -> None:
        with torch.inference_mode(), precision():
            if who.startswith("MONAI"):
                found[who] = inferer(image, net)
            else:
                found[who] = torch.cat([scores for _, _, scores in parts(inferer, image, net)], dim=1)[None]
            if image.is_cuda:
                torch.cuda.synchronize()

    timings = interleaved({who: partial(act, who, *options) for who, options in contestants.items()}, rounds)
    chosen = {who: scores.max(dim=1).indices[0] for who, scores in found.items()}
    theirs = [who for who in timings if who.startswith("MONAI")]
    return {
        "seconds": {who: timing.as_json() for who, timing in timings.items()},
        "ratios": {
            who: {other: timings[other].median / timing.median for other in theirs}
            for who, timing in timings.items()
            if who not in theirs
        },
        "disagreement": {who: float((classes != chosen[theirs[-1]]).float().mean()) for who, classes in chosen.items()},
        "dice": {who: _dice(classes, label) for who, classes in chosen.items()},
        "box": float(np.prod([part.stop - part.start for part in box.box(image)]) / label.numel()),
    }


def volume(size: int) -> tuple[Tensor, Tensor]:
    """A trunk with organs in air: image (1, 1, *spatial), normalised, air clipped to one value; label (*spatial)."""
    rng, along = np.random.default_rng(0), np.linspace(-1, 1, size, dtype=np.float32)
    x, y = along[:, None, None], along[None, :, None]
    trunk = np.repeat((x / 0.5) ** 2 + (y / 0.5) ** 2 < 1, size, axis=2)
    label = np.zeros((size,) * 3, np.uint8)
    for index in range(12):
        centre, reach = rng.uniform((-0.3, -0.3, -0.9), (0.3, 0.3, 0.9)), rng.uniform(0.1, 0.2, 3)
        away = [((along - at) / far) ** 2 for at, far in zip(centre, reach, strict=True)]
        label[(away[0][:, None, None] + away[1][:, None] + away[2]) < 1] = index % (CLASSES - 1) + 1
    texture = interpolate(torch.from_numpy(rng.normal(0, 0.4, (1, 1, *[size // 2] * 3))).float(), size=(size,) * 3)
    image = torch.where(torch.from_numpy(trunk), torch.from_numpy(label * 1.2).float() + texture[0, 0], AIR)
    return image.clamp(min=AIR)[None, None], torch.from_numpy(label).long()


def trained(image: Tensor, label: Tensor, half: Precision) -> nn.Module:
    """The network after a few steps on patches of the volume: one around a voxel of an organ, one anywhere."""
    net = _network().to(image.device).train()
    optimizer, rng = torch.optim.AdamW(net.parameters(), lr=1e-2), np.random.default_rng(0)
    organs, room = label.nonzero().cpu().numpy(), np.maximum(np.asarray(label.shape) - WINDOW, 0)
    for _ in range(STEPS):
        places = [organs[rng.integers(len(organs))] - WINDOW // 2, rng.integers(0, room + 1)]
        cuts = [tuple(slice(start, start + WINDOW) for start in place.clip(0, room).tolist()) for place in places]
        with half():
            scores = net(torch.cat([image[:, :, *cut] for cut in cuts])).float()
        truth = torch.stack([label[cut] for cut in cuts])[:, None]
        loss = cross_entropy(scores, truth[:, 0]) + DiceLoss(softmax=True, to_onehot_y=True)(scores, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def memory(size: int, classes: int) -> dict[str, float]:
    """Peak memory (MB) of a process that makes a class map of a volume of size^3 voxels, once each way."""
    found = {}
    for who in ("medexp", "MONAI"):
        words = [sys.executable, "-m", "medexp.run.bench.infer", who, str(size), str(classes)]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        found[who] = json.loads(said)["peak_mb"]
    return found


def rows(result: Mapping[str, Any]) -> list[Row]:
    """Table of all parts."""
    seconds = {who: values["median_s"] for who, values in result["seconds"].items()}
    what, found = f"sliding windows, {result['size']}^3", []
    for who, ratios in result["ratios"].items():
        text = f"{what}, box of {result['box']:.0%}" if who.endswith("box") else what
        for other, ratio in ratios.items():
            found.append(
                (text, f"{seconds[who]:.2f} s ({who[8:]})", f"{seconds[other]:.2f} s ({other})", f"{ratio:.1f}x")
            )
    usual = list(result["ratios"][next(iter(result["ratios"]))])[-1]
    for who in result["ratios"]:
        ours, theirs = result["dice"][who], result["dice"][usual]
        text = f"Dice of organs; classes that differ: {result['disagreement'][who]:.1e}"
        found.append((text, f"{ours:.4f} ({who[8:]})", f"{theirs:.4f} ({usual})", f"{ours - theirs:+.4f}"))
    ours, theirs = result["memory"]["medexp"], result["memory"]["MONAI"]
    text = "peak memory, {}^3 of {} classes".format(*result["memory_of"])
    return [*found, (text, f"{ours:.0f} MB", f"{theirs:.0f} MB (MONAI)", f"{ours / theirs:.2f}x")]


def class_map(who: str, size: int, classes: int) -> int:
    """Largest class of the class map of a volume of noise, on its source grid. medexp's is resampled as well: the source
    is finer along its last axis."""
    torch.manual_seed(0)
    inferer, net = SlidingWindowInferer(WINDOW, 4, 0.5, "gaussian"), nn.Conv3d(1, classes, 1)
    rng = np.random.default_rng(0)
    if who == "MONAI":
        image = torch.from_numpy(rng.standard_normal((1, 1, *[size] * 3), dtype=np.float32))
        scores = inferer(image, net)
        assert isinstance(scores, Tensor)
        return int(torch.softmax(scores, dim=1).max(dim=1).indices.max())
    from medexp.data.preparation.source_grid import Grid, Way

    source = Grid((size, size, size + size // 4), np.diag([1.0, 1.0, 0.8, 1.0]), (1.0, 1.0, 0.8))
    way = Way(source, "RAS", None, (1.0, 1.0, 1.0))
    shape = [axis.new for axis in way._axes]
    image = torch.from_numpy(rng.standard_normal((1, 1, *shape), dtype=np.float32))
    found = parts(inferer, image, net)
    return int(way.back((first, torch.softmax(scores, dim=0)) for _, first, scores in found).max())


def main() -> None:
    who, size, classes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with torch.inference_mode():
        class_map(who, size, classes)
    sys.stdout.write(json.dumps({"peak_mb": round(peak_memory(torch.device("cpu")) / 1e6, 1)}))


def _network() -> nn.Module:
    from medexp import build
    from medexp.config import compose

    words = ["model=unet", "dataset.classes=[background,one,two]", "run_dir=bench"]
    return build.task(compose.resolve(compose.compose(words))).net


def _precision(device: torch.device) -> tuple[Precision, str]:
    """The fastest of this machine, and its name."""
    fastest = fastest_precision("gpu" if device.type == "cuda" else "cpu")
    kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(fastest)
    if kind is None:
        return nullcontext, "fp32"
    return lambda: torch.autocast(device.type, kind), fastest.partition("-")[0]


def _dice(chosen: Tensor, label: Tensor) -> float:
    pairs = [(chosen == index, label == index) for index in range(1, CLASSES)]
    return float(np.mean([float(2 * (one & two).sum() / (one.sum() + two.sum())) for one, two in pairs]))


if __name__ == "__main__":
    main()
