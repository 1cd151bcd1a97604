"""Random patches, lightly augmented, from the store and through three of MONAI's ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from monai.data import CacheDataset, DataLoader, Dataset
from monai.transforms import Compose, NormalizeIntensity
from torch.utils.data import DataLoader as TorchLoader

from medexp.data.cases import TrainCases, collate
from medexp.data.checks.facts import facts_of
from medexp.data.order import EpochOrder
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.store.keep import Keeper
from medexp.run.bench import pipelines
from medexp.run.bench.rounds import interleaved
from medexp.transforms.augmentation import Augmentation

CLASSES = ["background", "one", "two"]


def preparation_of_bench() -> Preparation:
    """What MONAI's chain does, as medexp does it."""
    normalize: Any = NormalizeIntensity(channel_wise=True)
    return Preparation(3, 1, "RAS", pipelines.SPACING, None, normalize)


def patches_a_second(records: Sequence[Record], store: Path, rounds: int, patches: int, workers: int) -> dict[str, Any]:
    """Rates and ratios. The pipeline without a cache is so slow that it draws fewer patches a round."""
    few = max(len(records), patches // 20)
    options = {"batch_size": 2, "num_workers": workers, "persistent_workers": workers > 0}
    counts, contestants = {"medexp": patches}, {"medexp": _medexp(records, store, patches, options)}
    for name, data in monai_datasets(records).items():
        counts[name] = few if isinstance(data, Dataset) and not isinstance(data, CacheDataset) else patches
        contestants[name] = _drain(DataLoader(data, shuffle=True, **options), counts[name])
    timings = interleaved(contestants, rounds)
    rates = {name: counts[name] / timing.median for name, timing in timings.items()}
    others = {name: rate for name, rate in rates.items() if name != "medexp"}
    return {"a_second": rates, "ratios": {name: rates["medexp"] / rate for name, rate in others.items()}}


def _medexp(records: Sequence[Record], store: Path, patches: int, options: dict[str, Any]) -> Callable[[], None]:
    keeper = Keeper(
        preparation_of_bench(),
        lambda record, image, label: facts_of(record, image, label, CLASSES, "mask"),
        with_label=True,
        folder=store,
        name="bench",
    )
    kept = keeper.keep(records, set())
    cases = [({"case_id": record.case_id}, case) for record, case in zip(records, kept, strict=True)]
    train = TrainCases(cases, 0, pipelines.PATCH, 0.5, Augmentation(3, **pipelines.LIGHT))
    order, epochs = EpochOrder(len(cases), 0), count()
    loader = TorchLoader(train, sampler=order, collate_fn=collate, **options)

    def drain() -> None:
        done = 0
        while done < patches:
            order.set_epoch(next(epochs))
            for batch in loader:
                batch["image"].float()  # as the data module does once the batch has arrived
                done += len(batch["case_id"])

    return drain


def monai_datasets(records: Sequence[Record]) -> dict[str, Any]:
    """Three of MONAI's ways: everything for each patch, volumes cached, and volumes cached as a careful user does."""
    pairs = [{"image": str(record.images[0]), "label": str(record.label)} for record in records]
    chain = list(pipelines.chain().transforms)
    plain = Compose(chain + pipelines.random(indexed=False))
    tuned = Compose(chain + pipelines.tuned() + pipelines.random(indexed=True))
    return {
        "MONAI, no cache": Dataset(pairs, plain),
        "CacheDataset": CacheDataset(pairs, plain, progress=False),
        "CacheDataset, tuned": CacheDataset(pairs, tuned, progress=False, copy_cache=False),
    }


def _drain(loader: Any, patches: int) -> Callable[[], None]:
    def drain() -> None:
        done = 0
        while done < patches:
            for batch in loader:
                done += len(batch["image"])

    return drain
