"""Pretraining from pairs of views: what every task keeps, the teacher and its queue, the probes, and what is saved of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from monai.losses import BarlowTwinsLoss, ContrastiveLoss
from torch import Tensor

from medexp.data.cases import collate
from medexp.errors import UserError
from medexp.losses.info_nce import InfoNCE
from medexp.metrics.features import EffectiveRank
from medexp.models.probes import Linear, NearestNeighbours
from medexp.models.simple_cnn import SimpleCNN
from medexp.tasks.agreement import Agreement
from medexp.tasks.base import Task
from medexp.transfer.weights import Weights

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
Make, Fit = Callable[..., Task], Callable[..., pl.Trainer]
METHODS: dict[str, Callable[[], dict[str, Any]]] = {
    "simclr": lambda: {"loss": ContrastiveLoss(0.5)},
    "moco": lambda: {"loss": InfoNCE(0.5), "momentum": 0.9, "queue": 5},
    "barlow": lambda: {"loss": BarlowTwinsLoss(0.01)},
}


def losses(task: Task, trainer: Fit, items: list[dict[str, Any]], **options: Any) -> list[float]:
    """Training loss of each step."""
    seen: list[float] = []

    class Ears(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            seen.append(float(outputs["loss"]))

    trainer(task, items, callbacks=[Ears()], **options)
    return seen


@pytest.fixture(params=METHODS)
def options(request: pytest.FixtureRequest) -> Callable[[], dict[str, Any]]:
    return partial(of, request.param)


def of(method: str) -> dict[str, Any]:
    torch.manual_seed(0)
    net = SimpleCNN(2, 1, 3, channels=(4, 4), hidden=8, dropout=0.5)
    probes = {"knn": NearestNeighbours(2), "linear": Linear()}
    own = {
        "spatial_dims": 2,
        "in_channels": 1,
        "classes": ["a", "b", "c"],
        "provides": "class",
        "image_size": [16, 16],
        "probes": probes,
    }
    shared = {"metrics": {"rank": EffectiveRank()}, "out_channels": 3, "projector": [6, 4]}
    return {"kind": Agreement, "net": net, **own, **shared, **METHODS[method]()}


@pytest.fixture
def items() -> list[dict[str, Any]]:
    torch.manual_seed(1)
    found = []
    for place in range(6):
        image = torch.randn(1, 16, 16) + place % 3
        views = {key: image + 0.1 * torch.randn(1, 16, 16) for key in ("first", "second")}
        found.append({"image": image, **views, "case_id": str(place), "target": torch.tensor([place % 3])})
    return found


class Data(pl.LightningDataModule):
    """Items as both splits; labels of the training split as given."""

    def __init__(self, items: list[dict[str, Any]], batch: int = 3, known: bool = True) -> None:
        super().__init__()
        self.items, self.batch, self.known = items, batch, known

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.items, self.batch, collate_fn=collate)  # type: ignore[arg-type]

    val_dataloader = train_dataloader

    def training_targets(self) -> Tensor:
        targets = torch.stack([item["target"] for item in self.items])
        return targets if self.known else torch.full_like(targets, -1)

    def training_cases(self) -> Any:
        return iter(self.train_dataloader())


def fitted(task: Task, data: Data, tmp_path: Path, **options: Any) -> pl.Trainer:
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, num_sanity_val_steps=0, default_root_dir=tmp_path, log_every_n_steps=1,
        **{"max_epochs": 1, **quiet, **options},
    )  # fmt: skip
    task.learn(data)  # type: ignore[operator]
    if options.get("limit_train_batches") == 0:
        trainer.validate(task, datamodule=data, verbose=False)
    else:
        trainer.fit(task, datamodule=data)
    return trainer


def test_it_trains_what_has_a_part_in_the_features_and_nothing_else(
    make: Make, fit: Fit, options: Any, items: Any
) -> None:
    task = make(**options())
    before = {name: value.clone() for name, value in task.state_dict().items()}
    logged = fit(task, items).callback_metrics
    assert {"train/loss", "val/loss", "lr", "val/rank"} == logged.keys()
    assert all(torch.isfinite(value) for value in logged.values())
    for name, value in task.named_parameters():
        if value.ndim > 1 and not name.startswith("teacher."):
            assert torch.equal(before[name], value) == name.startswith("net.head"), name


def test_a_step_draws_the_same_whatever_was_drawn_before(make: Make, fit: Fit, options: Any, items: Any) -> None:
    runs = []
    for noise in (1, 2):
        task = make(**options(), seed=5)
        torch.manual_seed(noise)
        runs.append(losses(task, fit, items, epochs=2))
    assert len(runs[0]) == 6
    assert runs[0] == runs[1]


def test_a_resumed_run_has_the_teacher_and_the_queue_of_the_unbroken_one(
    make: Make, fit: Fit, options: Any, items: Any, tmp_path: Path
) -> None:
    unbroken = make(**options())
    wanted = losses(unbroken, fit, items, epochs=2)
    fit(make(**options()), items, epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(99)
    resumed = make(**options())
    assert losses(resumed, fit, items, epochs=2, resume=tmp_path / "half.ckpt") == wanted[3:]
    for name, value in unbroken.state_dict().items():
        assert name.startswith("probing.") or torch.equal(value, resumed.state_dict()[name]), name


def test_the_teacher_follows_the_network_that_training_began_with(make: Make, fit: Fit, items: Any) -> None:
    task = make(**of("moco"), optimizer=partial(torch.optim.SGD, lr=0.0))
    torch.nn.init.constant_(task.net.features[0][0].weight, 0.25)  # type: ignore[union-attr,index]  # weights from elsewhere
    fit(task, items)
    for name in ("net", "projector"):
        for own, followed in zip(getattr(task, name).parameters(), task.teacher[name].parameters(), strict=True):  # type: ignore[index]
            torch.testing.assert_close(own, followed)
    moved = make(**of("moco"), optimizer=partial(torch.optim.SGD, lr=0.1))
    fit(moved, items[:2])
    start = make(**of("moco"))
    assert torch.equal(moved.teacher["projector"][0].weight, start.projector[0].weight)  # type: ignore[index]
    assert not moved.teacher["projector"][0].weight.requires_grad  # type: ignore[index]


def test_the_queue_keeps_the_latest_projections_in_turn(make: Make, fit: Fit, items: Any) -> None:
    task = make(**of("moco"))
    fit(task, items)  # 3 batches of 2 into a queue of 5
    assert int(task.queued) == 6  # type: ignore[operator]
    assert (task.queue.norm(dim=1) > 0).all()  # type: ignore[operator]


def test_validation_compares_all_cases_whatever_the_batches(
    make: Make, options: Any, items: Any, tmp_path: Path
) -> None:
    seen = []
    for batch in (2, 3, 6):
        task = make(**options())
        seen.append(
            float(fitted(task, Data(items, batch), tmp_path, limit_train_batches=0).callback_metrics["val/loss"])
        )
    assert seen[0] == pytest.approx(seen[1], rel=1e-5) == pytest.approx(seen[2], rel=1e-5)


def test_probes_are_logged_where_classes_are_known(make: Make, items: Any, tmp_path: Path) -> None:
    logged = fitted(make(**of("simclr")), Data(items), tmp_path).callback_metrics
    assert {"val/knn", "val/linear"} <= logged.keys()
    assert float(logged["val/knn"]) > 0.6  # brightness tells the classes, and validation is on the training cases here
    logged = fitted(make(**of("simclr")), Data(items, known=False), tmp_path).callback_metrics
    assert not {"val/knn", "val/linear"} & logged.keys()


def test_labels_change_nothing_but_the_probes(make: Make, options: Any, items: Any, tmp_path: Path) -> None:
    states = []
    for known in (True, False):
        task = make(**options())
        fitted(task, Data(items, known=known), tmp_path, max_epochs=2)
        states.append({name: value for name, value in task.state_dict().items() if not name.startswith("probing.")})
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_prediction_is_what_each_probe_says_and_the_features(make: Make, items: Any, tmp_path: Path) -> None:
    task = make(**of("simclr"))
    blank = task.eval().predict_step(collate(items), 0)
    task.train()
    assert blank[:, :6].isnan().all()
    fitted(task, Data(items), tmp_path)
    found = task.eval().predict_step(collate(items), 0)
    assert found.shape == (6, 2 * 3 + 8)
    torch.testing.assert_close(found[:, :3].sum(dim=1), torch.ones(6))


def test_a_checkpoint_gives_the_same_predictions_and_no_probe_of_other_weights(
    make: Make, options: Any, items: Any, tmp_path: Path
) -> None:
    task = make(**options())
    trainer = fitted(task, Data(items), tmp_path)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = make(**options())
    other.load_state_dict(torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"])
    with torch.no_grad():
        found = [one.eval().predict_step(collate(items), 0) for one in (task, other)]
    assert torch.equal(*found)
    unseen = make(**options())
    trainer = fitted(unseen, Data(items), tmp_path, limit_val_batches=0)
    trainer.save_checkpoint(tmp_path / "b.ckpt")
    state = torch.load(tmp_path / "b.ckpt", weights_only=True)["state_dict"]
    assert state["probing.probes.knn.bank"].numel() == 0


def test_what_had_no_part_is_not_loaded_elsewhere(make: Make, fit: Fit, items: Any, tmp_path: Path) -> None:
    task = make(**of("simclr"))
    torch.nn.init.constant_(task.net.dense[1].bias, 0.5)  # type: ignore[union-attr,index,operator,arg-type]
    fit(task, items).save_checkpoint(tmp_path / "a.ckpt")
    torch.manual_seed(3)
    net = SimpleCNN(2, 1, 3, channels=(4, 4), hidden=8)
    head = net.head.weight.clone()
    report = Weights(str(tmp_path / "a.ckpt"), in_channels=1).into(net)
    assert report is not None
    fates = {fate.tensor: fate for fate in report.fates}
    assert fates["head.weight"].reason == "had no part in the training of the source"
    assert torch.equal(net.head.weight, head)
    assert torch.equal(net.dense[1].weight, task.net.dense[1].weight)  # type: ignore[union-attr,index,operator]
    assert report.count("loaded") == len(net.state_dict()) - 2


@pytest.mark.parametrize(
    ("given", "said"),
    [({"projector": []}, r"task\.projector: \[\]"), ({"momentum": 1.0}, r"task\.momentum: 1\.0 is not")],
)
def test_values_that_mean_nothing_are_refused(make: Make, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make(**{**of("simclr"), **given})


def test_an_image_alone_has_nothing_to_be_told_from(
    make: Make, options: Callable[[], dict[str, Any]], items: list[dict[str, Any]]
) -> None:
    task: Any = make(**options())
    with pytest.raises(UserError, match=r"dataset\.split: 1 training case, but an image is told from others; give 2"):
        task.learn(Data(items[:1]))
    task.learn(Data(items[:2]))
