"""Training with its data path: medexp, and Lightning fed by MONAI's dictionary pipelines, on the same files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from torch import Tensor, nn

from medexp import build
from medexp.config import compose
from medexp.data.records import Record
from medexp.performance import fastest_precision
from medexp.run.bench import pipelines
from medexp.run.bench.patches import monai_datasets
from medexp.run.bench.rounds import interleaved
from medexp.run.bench.volumes import write_volumes
from medexp.run.quiet import quiet

SIZE, SOURCE_SPACING = (200, 200, 80), (0.8, 0.8, 2.0)  # voxels and mm of the files
BATCH = 2
Contestant = Callable[[int], None]  # trains for so many steps


def end_to_end(folder: Path, model: str, rounds: int, cases: int, workers: int, steps: int = 3) -> dict[str, Any]:
    """Samples a second of training, files prepared and caches filled beforehand where a contestant has any.

    All train the same network on patches of 64^3 from the same files under the same augmentations, clip gradients and
    log the loss. medexp as `medexp train` builds it, in bf16 where the hardware has it; Lightning in fp32 with `self.log`
    in every step. The pipeline without a cache reads its files for every patch: it takes fewer steps.
    """
    records = write_volumes(folder / "scans", cases, SIZE, SOURCE_SPACING)
    fast = fastest_precision("auto")
    contestants: dict[str, Contestant] = {"medexp": _medexp(folder, records, model, fast, workers)}
    counts = {"medexp": steps}
    cfg = configured(folder, model, "32-true", workers)
    for name, data in monai_datasets(records).items():
        contestants[f"Lightning, {name}"] = _lightning(cfg, data, workers)
        counts[f"Lightning, {name}"] = steps if isinstance(data, CacheDataset) else -(-steps // 2)
    with quiet():
        timings = interleaved({n: _bound(c, counts[n]) for n, c in contestants.items()}, rounds)
    rates = {name: BATCH * counts[name] / timing.median for name, timing in timings.items()}
    return {
        "model": model,
        "precision": fast,
        "steps": counts,
        "samples_a_second": rates,
        "rounds": {name: timing.as_json() for name, timing in timings.items()},
        "ratios": {name: rates["medexp"] / rate for name, rate in rates.items() if name != "medexp"},
    }


def _bound(contestant: Contestant, steps: int) -> Callable[[], None]:
    return lambda: contestant(steps)


def configured(folder: Path, model: str, precision: str, workers: int) -> dict[str, Any]:
    """The config of a user with these files; nothing is validated, tested or kept."""
    size = "[" + ",".join(map(str, pipelines.PATCH)) + "]"
    light = [f"augmentation.{key}={value}" for key, value in pipelines.LIGHT.items()]
    words = [
        *("dataset=nifti_folder", f"dataset.root={folder / 'linked'}", f"dataset.store={folder / 'store'}"),
        *("dataset.classes=[background,one,two]", f"dataset.spacing={list(pipelines.SPACING)}"),
        *(f"dataset.patch_size={size}", "dataset.foreground=0.5", f"dataset.batch_size={BATCH}"),
        *(f"dataset.num_workers={workers}", f"model={model}", "scheduler=constant", "augmentation=none", *light),
        *("trainer.max_epochs=-1", "trainer.limit_val_batches=0", "trainer.enable_checkpointing=false"),
        *(
            "callbacks.checkpoint=null",
            "callbacks.bar=null",
            f"trainer={'gpu' if torch.cuda.is_available() else 'cpu'}",
        ),
        *(f"trainer.precision={precision}", f"run_dir={folder / 'run'}"),
    ]
    return compose.resolve(compose.compose(words))


def _medexp(folder: Path, records: list[Record], model: str, precision: str, workers: int) -> Contestant:
    """`medexp train` without its validation and its checkpoints."""
    for kind, paths in (("images", [r.images[0] for r in records]), ("labels", [r.label for r in records])):
        (folder / "linked" / kind).mkdir(parents=True, exist_ok=True)
        for record, path in zip(records, paths, strict=True):
            link = folder / "linked" / kind / f"{record.case_id}.nii.gz"
            if path is not None and not link.exists():
                os.link(path, link)
    (folder / "run").mkdir(exist_ok=True)
    cfg = configured(folder, model, precision, workers)
    data = build.datamodule(cfg)
    data.split = {"train": [record.case_id for record in records], "val": [], "test": []}
    data.setup()
    task = build.task(cfg, data)

    def train(steps: int) -> None:
        cfg["trainer"]["max_steps"] = steps
        build.trainer(cfg).fit(task, datamodule=data)

    return train


class _Usual(pl.LightningModule):
    """A module as tutorials write it."""

    def __init__(self, net: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.net, self.loss = net, loss

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        scores = self.net(batch["image"])
        scores = scores.unbind(1) if scores.ndim > batch["image"].ndim else scores  # deep supervision
        loss: Tensor = self.loss(scores, batch["label"])
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=BATCH)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def _lightning(cfg: dict[str, Any], data: Dataset, workers: int) -> Contestant:
    task = build.task(cfg)
    module = _Usual(task.net, task.loss)
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options |= {"accelerator": cfg["trainer"]["accelerator"], "devices": 1, "gradient_clip_val": 1.0}
    threads = torch.get_num_threads()

    def train(steps: int) -> None:
        torch.set_num_threads(threads)  # medexp leaves cores to the workers
        trainer = pl.Trainer(max_epochs=-1, max_steps=steps, enable_model_summary=False, **options)
        trainer.fit(module, loader)

    return train
