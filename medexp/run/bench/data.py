"""`medexp bench data`: patches a second and preparation, against MONAI's dictionary pipelines on the same files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medexp.run.bench.rounds import interleaved
from medexp.run.bench.volumes import write_volumes

SOURCE_SPACING = (0.8, 0.8, 2.0)  # mm of the files
SPACING = (1.0, 1.0, 2.0)  # mm that they are brought to
PATCH = (64, 64, 64)
LIGHT: dict[str, Any] = {"flip": 0.5, "affine": 0.3, "rotate": 10, "scale": 0.1, "noise": 0.1, "noise_std": 0.05}
MEMORY = (8, 64)  # volumes


def run(cases: int, size: tuple[int, int, int], rounds: int, patches: int, workers: int) -> dict[str, Any]:
    """All parts; see `medexp bench data --help` for what is compared."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        records = write_volumes(folder / "scans", cases, size, SOURCE_SPACING)
        result: dict[str, Any] = {"cases": cases, "size": list(size), "patch": list(PATCH), "workers": workers}
        result["preparation"] = preparation(records[: min(cases, 3)], rounds)
        result["patches"] = patches_a_second(records, folder / "store", rounds, patches, workers)
        result["read"] = patch_read(folder, rounds)
        result["memory"] = memory(folder / "memory")
    return result


def preparation(records: list[Any], rounds: int) -> dict[str, Any]:
    """Seconds a case to read, orient, resample and normalise image and label."""
    chain = _monai_chain()
    pairs = [{"image": str(r.images[0]), "label": str(r.label)} for r in records]
    ours = _preparation()

    def prepare() -> None:
        for record in records:
            ours.prepare(*ours.read(record, with_label=True))

    scans = [ours.read(record, with_label=True) for record in records]
    from monai.transforms import Compose

    loaded: list[Any] = [Compose(chain.transforms[:2])(pair) for pair in pairs]
    rest = Compose(chain.transforms[2:])
    timings = interleaved(
        {
            "MONAI with reading": lambda: [chain(pair) for pair in pairs],
            "medexp with reading": prepare,
            "MONAI": lambda: [rest(dict(pair)) for pair in loaded],
            "medexp": lambda: [ours.prepare(*scan) for scan in scans],
        },
        rounds,
    )
    each = {name: timing.median / len(records) for name, timing in timings.items()}
    ratios = {
        "with reading": each["MONAI with reading"] / each["medexp with reading"],
        "in memory": each["MONAI"] / each["medexp"],
    }
    return {"seconds_a_case": each, "ratios": ratios}


def patches_a_second(records: list[Any], store: Path, rounds: int, patches: int, workers: int) -> dict[str, Any]:
    """Random 64^3 patches, lightly augmented: from the store, and through three of MONAI's ways."""
    from monai.data import CacheDataset, DataLoader, Dataset
    from monai.transforms import Compose
    from torch.utils.data import DataLoader as TorchLoader

    from medexp.data.cases import TrainCases, collate
    from medexp.data.order import EpochOrder
    from medexp.transforms.augmentation import Augmentation

    pairs = [{"image": str(r.images[0]), "label": str(r.label)} for r in records]
    kept = _keep(records, store)
    cases = TrainCases([({"case_id": r.case_id}, k) for r, k in zip(records, kept, strict=True)], 0, PATCH, 0.5, Augmentation(3, **LIGHT))
    order = EpochOrder(len(cases), 0)
    options: dict[str, Any] = {"batch_size": 2, "num_workers": workers}
    ours = TorchLoader(cases, sampler=order, collate_fn=collate, persistent_workers=workers > 0, **options)
    chain = list(_monai_chain().transforms)
    plain, tuned = Compose(chain + _monai_random(tuned=False)), Compose(chain + _tuned() + _monai_random(tuned=True))
    steps = {
        "MONAI, no cache": Dataset(pairs, plain),
        "CacheDataset": CacheDataset(pairs, plain, progress=False),
        "CacheDataset, tuned": CacheDataset(pairs, tuned, progress=False, copy_cache=False),
    }
    loaders = {
        name: DataLoader(data, shuffle=True, persistent_workers=workers > 0, **options) for name, data in steps.items()
    }
    epochs = iter(range(10**9))

    def drain_ours(count: int) -> None:
        done = 0
        while done < count:
            order.set_epoch(next(epochs))
            for batch in ours:
                batch["image"].float()
                done += len(batch["case_id"])

    def drain(loader: Any, count: int) -> None:
        done = 0
        while done < count:
            for batch in loader:
                done += len(batch["image"])

    slow = max(len(records), patches // 20)
    counts = {"medexp": patches, "MONAI, no cache": slow, "CacheDataset": patches, "CacheDataset, tuned": patches}
    contestants: dict[str, Callable[[], Any]] = {"medexp": lambda: drain_ours(patches)}
    for name, loader in loaders.items():
        contestants[name] = lambda loader=loader, name=name: drain(loader, counts[name])  # type: ignore[misc]
    timings = interleaved(contestants, rounds)
    rates = {name: counts[name] / timing.median for name, timing in timings.items()}
    return {"a_second": rates, "ratios": {name: rates["medexp"] / rate for name, rate in rates.items() if name != "medexp"}}


def patch_read(folder: Path, rounds: int) -> dict[str, Any]:
    """A 64^3 float16 patch of a 256^3 volume: from the store, opened for each read, and from a tensor in memory."""
    from medexp.data.store import open_entry, write_entry

    array = np.random.default_rng(0).normal(size=(1, 256, 256, 256)).astype(np.float16)
    path = folder / "read.case"
    write_entry(path, {"image": array}, {})
    entry, tensor = open_entry(path), torch.from_numpy(array)
    corners = np.random.default_rng(1).integers(0, 192, (200, 3))

    def cuts() -> Any:
        return ((slice(None), *(slice(c, c + 64) for c in corner)) for corner in corners.tolist())

    timings = interleaved(
        {
            "memory": lambda: [tensor[cut].clone() for cut in cuts()],
            "store": lambda: [torch.from_numpy(entry.read("image", cut)) for cut in cuts()],
        },
        rounds,
    )
    milliseconds = {name: timing.median / len(corners) * 1000 for name, timing in timings.items()}
    return {"milliseconds": milliseconds, "ratio": milliseconds["store"] / milliseconds["memory"]}


def memory(folder: Path) -> dict[str, Any]:
    """Peak memory (MB) of a process that draws patches of few and of many volumes of 128^3."""
    peaks = {}
    for count in MEMORY:
        words = [sys.executable, "-m", "medexp.run.bench.peak", str(folder), str(count)]
        peaks[count] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["peak_mb"]
    return {"peak_mb": {str(count): peak for count, peak in peaks.items()}, "ratio": peaks[MEMORY[1]] / peaks[MEMORY[0]]}


def _preparation() -> Any:
    from monai.transforms import NormalizeIntensity

    from medexp.data.prepare import Preparation

    normalize: Any = NormalizeIntensity(channel_wise=True)
    return Preparation(3, 1, "RAS", SPACING, None, normalize)


def _keep(records: list[Any], store: Path) -> list[Any]:
    from medexp.data.facts import facts_of
    from medexp.data.keep import Keeper

    classes = ["background", "one", "two"]
    keeper = Keeper(_preparation(), lambda r, i, m: facts_of(r, i, m, classes, "mask"), True, folder=store, name="bench")
    return keeper.keep(records, set())


def _monai_chain() -> Any:
    import monai.transforms as mt

    keys = ["image", "label"]
    return mt.Compose(
        [
            mt.LoadImaged(keys, reader="NibabelReader"),
            mt.EnsureChannelFirstd(keys),
            mt.Orientationd(keys, axcodes="RAS", labels=None),
            mt.Spacingd(keys, pixdim=SPACING, mode=("bilinear", "nearest")),
            mt.NormalizeIntensityd("image", channel_wise=True),
        ]
    )


def _tuned() -> list[Any]:
    """What a careful user caches: plain tensors and the places of the foreground."""
    import monai.transforms as mt

    return [mt.EnsureTyped(["image", "label"], track_meta=False), mt.FgBgToIndicesd("label")]


def _monai_random(tuned: bool) -> list[Any]:
    import monai.transforms as mt

    keys = ["image", "label"]
    indices = {"fg_indices_key": "label_fg_indices", "bg_indices_key": "label_bg_indices"} if tuned else {}
    turn = np.deg2rad(LIGHT["rotate"])
    return [
        mt.RandCropByPosNegLabeld(keys, "label", PATCH, pos=1, neg=1, num_samples=1, **indices),  # type: ignore[arg-type]
        *(mt.RandFlipd(keys, prob=LIGHT["flip"], spatial_axis=axis) for axis in range(3)),
        mt.RandAffined(
            keys,
            prob=LIGHT["affine"],
            rotate_range=[turn] * 3,
            scale_range=[LIGHT["scale"]] * 3,
            mode=("bilinear", "nearest"),
            padding_mode="border",
        ),
        mt.RandGaussianNoised("image", prob=LIGHT["noise"], std=LIGHT["noise_std"]),
    ]
