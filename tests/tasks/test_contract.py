"""What every task keeps: it trains, logs, predicts probabilities, and draws nothing that the seed does not say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet, UNet
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy, MultilabelAccuracy

from medexp.data.cases import collate
from medexp.losses.binary_cross_entropy import BinaryCrossEntropy
from medexp.losses.center_heatmap import CenterHeatmap
from medexp.losses.cox import Cox
from medexp.losses.cross_entropy import CrossEntropy
from medexp.losses.discrete_hazards import DiscreteHazards as DiscreteLikelihood
from medexp.losses.distance import MeanSquaredError
from medexp.metrics.average_precision import BoxAveragePrecision
from medexp.metrics.dice import CaseDice
from medexp.metrics.forecast import unpack
from medexp.metrics.heads import OfHead
from medexp.metrics.ordinal import QuadraticKappa
from medexp.metrics.regression import R2
from medexp.metrics.survival import CIndex
from medexp.models.hazards import DiscreteHazards, ProportionalHazards
from medexp.models.heads import PooledHeads
from medexp.models.simple_cnn import SimpleCNN
from medexp.tasks.base import Task
from medexp.tasks.classification import Classification
from medexp.tasks.detection import Detection
from medexp.tasks.instances import Instances
from medexp.tasks.multitask import MultiTask
from medexp.tasks.ordinal import Ordinal
from medexp.tasks.regression import Regression
from medexp.tasks.segmentation import Segmentation
from medexp.tasks.survival import Survival

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*tensorboardX", "ignore:.*LeafSpec"
)
Make, Fit = Callable[..., Task], Callable[..., pl.Trainer]
SIZE = (16, 16)


def cnn(out_channels: int) -> nn.Module:
    return SimpleCNN(2, 1, out_channels, channels=(4, 4), hidden=8, dropout=0.5)


def unet(dropout: float = 0.5) -> nn.Module:
    return UNet(2, 1, 3, channels=(4, 8), strides=(2,), norm="batch", dropout=dropout)


def dynunet() -> nn.Module:
    options: dict[str, Any] = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
    return DynUNet(2, 1, 3, **options, filters=[4, 8, 8], deep_supervision=True, deep_supr_num=1)


def segmentation(net: Callable[[], nn.Module]) -> dict[str, Any]:
    loss, metrics = DiceCELoss(to_onehot_y=True, softmax=True), {"dice": CaseDice(num_classes=3)}
    return {"kind": Segmentation, "net": net(), "loss": loss, "metrics": metrics, "out_channels": 3}


def classification(target: str) -> dict[str, Any]:
    channels = 1 if target == "binary" else 3
    metric = {
        "index": MulticlassAccuracy(num_classes=3),
        "binary": BinaryAccuracy(),
        "multilabel": MultilabelAccuracy(num_labels=3),
    }[target]
    loss = CrossEntropy() if target == "index" else BinaryCrossEntropy()
    net, metrics = cnn(channels), {"accuracy": metric}
    return {
        "kind": Classification, "net": net, "loss": loss, "metrics": metrics, "out_channels": channels, "target": target
    }  # fmt: skip


def detection(kind: type[Task]) -> dict[str, Any]:
    if kind is Instances:
        return {**segmentation(unet), "kind": Instances}
    net = UNet(2, 1, 5, channels=(4, 8), strides=(2,), norm="batch", dropout=0.5)
    metrics = {"map": BoxAveragePrecision(num_classes=1)}
    own = {"size": 5.0, "least": 0.001}
    return {"kind": Detection, "net": net, "loss": CenterHeatmap(), "metrics": metrics, "out_channels": 5, **own}


def survival(intervals: int) -> dict[str, Any]:
    own = {"head": ProportionalHazards() if intervals == 1 else DiscreteHazards(intervals), "horizons": [1.0, 2.0]}
    loss, metrics = Cox() if intervals == 1 else DiscreteLikelihood(), {"cindex": CIndex()}
    return {
        "kind": Survival, "net": cnn(intervals), "loss": loss, "metrics": metrics, "out_channels": intervals, **own
    }  # fmt: skip


def regression() -> dict[str, Any]:
    metrics = {"r2": R2()}
    return {"kind": Regression, "net": cnn(2), "loss": MeanSquaredError(), "metrics": metrics, "out_channels": 2}


def ordinal(coral: bool) -> dict[str, Any]:
    own = {"metrics": {"kappa": QuadraticKappa(3)}, "out_channels": 2, "coral": coral}
    return {"kind": Ordinal, "net": cnn(2), "loss": BinaryCrossEntropy(), **own}


def multitask() -> dict[str, Any]:
    targets = {"volume": "ml", "presence": ["healthy", "lesion"]}
    metrics = {"dice": OfHead("map", CaseDice(num_classes=3))}
    own = {"net": PooledHeads(unet(), 2, 1, targets, dropout=0.5), "targets": targets, "uncertainty": True}
    return {**segmentation(unet), **own, "kind": MultiTask, "metrics": metrics}


def a_box(index: int) -> dict[str, Tensor]:
    """An object, or none."""
    return {"boxes": torch.tensor([[2.0, 3, 8, 7]])[: index % 2], "box_classes": torch.zeros(index % 2)}


CASES: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[int], dict[str, Tensor]]]] = {
    "segmentation": (partial(segmentation, unet), lambda i: {"label": torch.randint(0, 3, (1, *SIZE)).byte()}),
    "deep supervision": (partial(segmentation, dynunet), lambda i: {"label": torch.randint(0, 3, (1, *SIZE)).byte()}),
    "index": (partial(classification, "index"), lambda i: {"target": torch.tensor([i % 3])}),
    "binary": (partial(classification, "binary"), lambda i: {"target": torch.tensor([float(i % 2)])}),
    "multilabel": (partial(classification, "multilabel"), lambda i: {"target": torch.eye(3)[i % 3]}),
    "boxes": (partial(detection, Detection), a_box),
    "cox": (partial(survival, 1), lambda i: {"target": torch.tensor([i + 1.0, float(i != 1)])}),
    "hazards": (partial(survival, 3), lambda i: {"target": torch.tensor([i / 4, float(i != 1)])}),
    "value": (regression, lambda i: {"target": torch.tensor([i - 1.5, 3.0 * i])}),
    "ordinal": (partial(ordinal, False), lambda i: {"target": torch.tensor([i % 3])}),
    "coral": (partial(ordinal, True), lambda i: {"target": torch.tensor([i % 3])}),
    "multitask": (
        multitask,
        lambda i: {"label": torch.randint(0, 3, (1, *SIZE)).byte(), "target": torch.tensor([i - 1.5, float(i % 2)])},
    ),
    "instances": (partial(detection, Instances), lambda i: {"label": torch.randint(0, 3, (1, *SIZE)).byte()}),
}


@pytest.fixture(params=CASES)
def options(request: pytest.FixtureRequest) -> Callable[[], dict[str, Any]]:
    def build() -> dict[str, Any]:
        torch.manual_seed(0)
        return CASES[request.param][0]()

    return build


@pytest.fixture
def items(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    name = request.node.callspec.params["options"]
    torch.manual_seed(1)
    return [{"image": torch.randn(1, *SIZE), "case_id": str(i), **CASES[name][1](i)} for i in range(4)]


def losses(task: Task, trainer: Fit, items: list[dict[str, Any]], **options: Any) -> list[float]:
    """Training loss of each step."""
    seen: list[float] = []

    class Ears(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            seen.append(float(outputs["loss"]))

    trainer(task, items, callbacks=[Ears()], **options)
    return seen


def test_a_task_trains_and_logs_what_it_promises(make: Make, fit: Fit, options: Any, items: Any) -> None:
    task = make(**options())
    before = [parameter.detach().clone() for parameter in task.net.parameters()]
    logged = fit(task, items).callback_metrics
    assert {"train/loss", "val/loss", "lr", f"val/{next(iter(task.metrics))}"} == logged.keys()
    assert all(torch.isfinite(value) for value in logged.values())
    assert logged["lr"] == pytest.approx(0.01)
    assert all(
        not torch.equal(old, new) for old, new in zip(before, task.net.parameters(), strict=True) if old.ndim > 1
    )


def test_predictions_are_probabilities(make: Make, options: Any, items: Any) -> None:
    task = make(**options()).eval()
    with torch.no_grad():
        found = task.predict_step(collate(items), 0)
    if isinstance(task, Detection | Instances):
        assert found.shape[::2] == (4, 6)  # objects: boxes, score, class
        assert ((found[..., 4] >= 0) & (found[..., 4] <= 1)).all()
        return
    if isinstance(task, Survival):
        forecast = unpack(found[0].numpy())
        assert ((forecast.survival >= 0) & (forecast.survival <= 1)).all()
        return
    if isinstance(task, Regression):
        assert found.shape == (
            4,
            2,
            2,
        )  # beside each value that of the mean predictor, which has seen no training split
        assert (found[:, 1] == 0).all()
        return
    if isinstance(task, MultiTask):  # a value and the mean predictor's, and a probability
        assert found.shape == (4, 3 + 3, *SIZE)
        torch.testing.assert_close(found[:, :3].sum(dim=1), torch.ones(4, *SIZE))
        return
    if isinstance(task, Ordinal):  # K - 1 outputs, K grades
        assert found.shape == (4, 3)
        torch.testing.assert_close(found.sum(dim=1), torch.ones(4))
        return
    spatial = SIZE if isinstance(task, Segmentation) else ()
    assert found.shape == (4, task.out_channels, *spatial)
    assert found.dtype == torch.float32
    assert 0 <= found.min() <= found.max() <= 1
    if not isinstance(task, Classification) or task.target == "index":
        torch.testing.assert_close(found.sum(dim=1), torch.ones(4, *spatial))


def test_validation_loss_is_the_mean_over_cases(make: Make, fit: Fit, options: Any, items: Any) -> None:
    task = make(**options())
    trainer = fit(task, items)
    task.eval()
    with torch.no_grad():
        parts = [float(task.step(collate(items[start : start + 2])).loss) for start in (0, 2)]
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(sum(parts) / 2, rel=1e-5)


def test_weight_decay_spares_norms_and_biases(make: Make, options: Any) -> None:
    task = make(**options())
    (optimizer,), _ = task.configure_optimizers()
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(task.parameters()))
    for name, parameter in task.named_parameters():
        assert decay[id(parameter)] == (0.1 if parameter.ndim > 1 else 0.0), name


def test_l1_adds_its_weight_times_the_sum_of_absolute_weights(make: Make, fit: Fit, options: Any, items: Any) -> None:
    plain, penalised = make(**options()), make(**options(), l1=0.01)
    weights = sum(p.abs().sum().item() for p in penalised.net.parameters() if p.ndim > 1)
    first = [losses(task, fit, items[:2])[0] for task in (plain, penalised)]
    assert first[1] - first[0] == pytest.approx(0.01 * weights, rel=1e-4)


def test_logged_losses_are_without_the_penalty(make: Make, fit: Fit, options: Any, items: Any) -> None:
    logged = [fit(make(**options(), l1=l1), items[:2]).callback_metrics["train/loss"] for l1 in (0.0, 10.0)]
    assert float(logged[0]) == pytest.approx(float(logged[1]), rel=1e-6)


def test_a_step_draws_the_same_whatever_was_drawn_before(make: Make, fit: Fit, options: Any, items: Any) -> None:
    runs = []
    for noise in (1, 2):
        task = make(**options(), seed=5)
        torch.manual_seed(noise)
        runs.append(losses(task, fit, items, epochs=2))
    assert len(runs[0]) == 4
    assert runs[0] == runs[1]


def test_a_resumed_run_goes_on_as_the_unbroken_one(
    make: Make, fit: Fit, options: Any, items: Any, tmp_path: Path
) -> None:
    unbroken = losses(make(**options()), fit, items, epochs=2)
    task = make(**options())
    fit(task, items, epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(99)
    resumed = losses(make(**options()), fit, items, epochs=2, resume=tmp_path / "half.ckpt")
    assert resumed == unbroken[2:]


def test_a_checkpoint_holds_nothing_but_values_and_gives_the_same_predictions(
    make: Make, fit: Fit, options: Any, items: Any, tmp_path: Path
) -> None:
    task = make(**options())
    fit(task, items).save_checkpoint(tmp_path / "a.ckpt")
    state = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    other = make(**options())
    other.load_state_dict(state)
    with torch.no_grad():
        found = [one.eval().predict_step(collate(items), 0) for one in (task, other)]
    assert torch.equal(*found)


def test_a_loss_that_is_not_finite_stops_the_run_with_the_next_move(
    make: Make, fit: Fit, options: Any, items: Any
) -> None:
    items[0]["image"] = torch.full((1, *SIZE), torch.nan)
    with pytest.raises(FloatingPointError, match=r"became nan in epoch 0; lower optimizer\.lr"):
        fit(make(**options()), items)


def test_dropout_differs_between_steps_and_seeds(make: Make, fit: Fit) -> None:
    torch.manual_seed(0)
    items = [{"image": torch.ones(1, *SIZE), "case_id": str(i), "target": torch.tensor([0])} for i in range(2)]

    def run(seed: int) -> list[float]:
        torch.manual_seed(0)
        task = make(**classification("index"), seed=seed, optimizer=partial(torch.optim.SGD, lr=0.0))
        return losses(task, fit, items, epochs=3)

    assert len(set(run(0))) > 1  # the weights stand still
    assert run(0) == run(0) != run(1)


def test_heads_of_deep_supervision_are_weighted_by_halves(make: Make) -> None:
    torch.manual_seed(0)
    task = make(**segmentation(dynunet))
    batch = {"image": torch.randn(2, 1, *SIZE), "label": torch.randint(0, 3, (2, 1, *SIZE)).byte()}
    heads = task.net(batch["image"])
    assert heads.shape == (2, 2, 3, *SIZE)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    wanted = loss(heads[:, 0], batch["label"]) + 0.5 * loss(heads[:, 1], batch["label"])
    torch.testing.assert_close(task.step(batch).loss, wanted)
    step = task.eval().step(batch)
    assert step.scores.shape == (2, 3, *SIZE)
    torch.testing.assert_close(step.loss, loss(step.scores, batch["label"]))


def test_a_frozen_network_part_is_left_as_it_is(make: Make, fit: Fit) -> None:
    task = make(**classification("index"))
    task.net.features.requires_grad_(False)  # type: ignore[union-attr,operator]
    before = [p.clone() for p in task.net.features.parameters()]  # type: ignore[union-attr,operator]
    fit(task, [{"image": torch.randn(1, *SIZE), "case_id": str(i), "target": torch.tensor([i])} for i in range(2)])
    assert all(map(torch.equal, before, task.net.features.parameters()))  # type: ignore[union-attr,operator]


def test_trainer_predicts_through_the_inferer(make: Make, fit: Fit) -> None:
    calls = []

    def inferer(image: Tensor, net: nn.Module) -> Tensor:
        calls.append(tuple(image.shape))
        return net(image)

    items = [{"image": torch.randn(1, *SIZE), "case_id": str(i), "target": torch.tensor([i])} for i in range(2)]
    task = make(**classification("index"), inferer=inferer)
    trainer = fit(task, items)
    assert calls == [(2, 1, *SIZE)]  # validation, and no training step
    trainer.predict(task, DataLoader(items, collate_fn=collate))  # type: ignore[arg-type]
    assert calls[1:] == [(1, 1, *SIZE)] * 2


class Told(nn.Module):
    """Scores that say what the network was given beside the image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor, covariates: Tensor | None = None) -> Tensor:
        self.seen.append(() if covariates is None else tuple(covariates.flatten().tolist()))
        return image.flatten(1).mean(dim=1, keepdim=True).expand(-1, 3) + self.weight


def test_a_network_is_given_of_the_batch_what_its_forward_names(make: Make) -> None:
    task = make(**{**classification("index"), "net": Told()})
    batch = {"image": torch.randn(2, 1, *SIZE), "target": torch.tensor([[0], [1]]), "case_id": ["a", "b"]}
    task.step(batch)
    task.step({**batch, "covariates": torch.tensor([[1.0], [2.0]]), "age": torch.tensor([3.0, 4.0])})
    assert task.net.seen == [(), (1.0, 2.0)]


def test_windows_of_a_case_share_what_it_is_given(make: Make) -> None:
    task = make(
        **{**classification("index"), "net": Told(), "inferer": lambda image, net: net(image.repeat(3, 1, 1, 1))}
    )
    task.eval().step(
        {"image": torch.randn(1, 1, *SIZE), "target": torch.zeros(3, 1).long(), "covariates": torch.ones(1, 1)}
    )
    assert task.net.seen == [(1.0, 1.0, 1.0)]
