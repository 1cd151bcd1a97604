"""What every way to learn keeps, in every task that it is for: it trains, resumes as the unbroken run, and draws nothing that
the seed does not say."""

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

from medexp.data.cases import collate
from medexp.errors import UserError
from medexp.learning.base import Learning
from medexp.learning.co_teaching import CoTeaching
from medexp.learning.cross_pseudo import CrossPseudo
from medexp.learning.mean_teacher import MeanTeacher
from medexp.learning.pseudo import against, said
from medexp.learning.pseudo_labels import PseudoLabels
from medexp.learning.ramp import Ramp
from medexp.losses.binary_cross_entropy import BinaryCrossEntropy
from medexp.losses.cross_entropy import CrossEntropy
from medexp.models.simple_cnn import SimpleCNN
from medexp.tasks.base import Task
from medexp.tasks.classification import Classification
from medexp.tasks.segmentation import Segmentation

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*tensorboardX", "ignore:.*LeafSpec"
)
Make, Fit = Callable[..., Task], Callable[..., pl.Trainer]
Items = list[dict[str, Any]]
SIZE = (16, 16)


def cnn(outputs: int) -> nn.Module:
    return SimpleCNN(2, 1, outputs, channels=(4, 4), hidden=8, dropout=0.5)


def unet() -> nn.Module:
    return UNet(2, 1, 3, channels=(4, 8), strides=(2,), norm="batch", dropout=0.3)


def dynunet() -> nn.Module:
    options: dict[str, Any] = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
    return DynUNet(2, 1, 3, **options, filters=[4, 8, 8], deep_supervision=True, deep_supr_num=1)


def segmentation(net: Callable[[], nn.Module]) -> dict[str, Any]:
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    return {"kind": Segmentation, "net": net, "loss": loss, "out_channels": 3}


def classification(target: str) -> dict[str, Any]:
    outputs = 1 if target == "binary" else 3
    loss = CrossEntropy() if target == "index" else BinaryCrossEntropy()
    return {
        "kind": Classification, "net": partial(cnn, outputs), "loss": loss, "out_channels": outputs, "target": target
    }  # fmt: skip


def label_map(index: int) -> dict[str, Tensor]:
    return {"label": torch.randint(0, 3, (1, *SIZE)).byte()}


TASKS: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[int], dict[str, Tensor]]]] = {
    "mask": (partial(segmentation, unet), label_map),
    "deep": (partial(segmentation, dynunet), label_map),
    "index": (partial(classification, "index"), lambda i: {"target": torch.tensor([i % 3])}),
    "binary": (partial(classification, "binary"), lambda i: {"target": torch.tensor([float(i % 2)])}),
    "multilabel": (partial(classification, "multilabel"), lambda i: {"target": torch.eye(3)[i % 3]}),
}
Way = Callable[[Callable[[], nn.Module], str], Learning]
WAYS: dict[str, Way] = {
    "mean_teacher": lambda net, target: MeanTeacher(weight=2.0, ramp_up=2, decay=0.9),
    "pseudo_labels": lambda net, target: PseudoLabels(target, weight=2.0, ramp_up=2, threshold=0.3),
    "cross_pseudo": lambda net, target: CrossPseudo(net(), target, weight=2.0, ramp_up=2),
    "co_teaching": lambda net, target: CoTeaching(net(), forget_rate=0.5, ramp_up=1),
}
KINDS = {**{task: task for task in TASKS}, "deep": "mask"}
CLASSES = {
    "mean_teacher": MeanTeacher,
    "pseudo_labels": PseudoLabels,
    "cross_pseudo": CrossPseudo,
    "co_teaching": CoTeaching,
}
PAIRS = [(way, task) for way in WAYS for task in TASKS if KINDS[task] in CLASSES[way].kinds]


def built(make: Make, task: str, way: Way | None, **more: Any) -> Task:
    """A task whose networks are drawn in the same order each time."""
    torch.manual_seed(0)
    options = TASKS[task][0]()
    net = options.pop("net")
    first = net()
    learning = None if way is None else way(net, KINDS[task])
    return make(**options, net=first, learning=learning, **more)


def items_of(task: str, count: int = 4, labels: Callable[[int], dict[str, Tensor]] | None = None) -> Items:
    """Batches of one labelled and one unlabelled case come in pairs: see `paired`."""
    torch.manual_seed(1)
    give = labels or TASKS[task][1]
    found = [{"image": torch.randn(1, *SIZE), "case_id": str(i), **give(i)} for i in range(count)]
    bare = [
        {"image": torch.randn(1, *SIZE), "strong": torch.randn(1, *SIZE), "case_id": f"u{i}", "unlabelled": True}
        for i in range(count)
    ]
    return [item for pair in zip(found[::2], found[1::2], bare[::2], bare[1::2], strict=True) for item in pair]


class Data(pl.LightningDataModule):
    """Two labelled and two unlabelled cases a batch; validation on the labelled."""

    def __init__(self, items: Items) -> None:
        super().__init__()
        self.items = items

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.items, batch_size=4, collate_fn=collate)  # type: ignore[arg-type]

    def val_dataloader(self) -> Any:
        labelled = [item for item in self.items if "unlabelled" not in item]
        return torch.utils.data.DataLoader(labelled, batch_size=2, collate_fn=collate)  # type: ignore[arg-type]


def train(task: Task, items: Items, epochs: int = 2, resume: Path | None = None) -> tuple[pl.Trainer, list[float]]:
    """The trainer, and the loss of each step."""
    seen: list[float] = []

    class Ears(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            seen.append(float(outputs["loss"]))

    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, log_every_n_steps=1, num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[Ears()],
    )  # fmt: skip
    trainer.fit(task, datamodule=Data(items), ckpt_path=resume, weights_only=True if resume else None)
    return trainer, seen


def same(one: Task, other: Task) -> None:
    left, right = one.state_dict(), other.state_dict()
    assert left.keys() == right.keys()
    assert [name for name, value in left.items() if not torch.equal(value, right[name])] == []


@pytest.mark.parametrize(("way", "task"), PAIRS)
def test_a_way_trains_every_network_that_it_learns_with(make: Make, way: str, task: str) -> None:
    one = built(make, task, WAYS[way])
    before = {name: value.clone() for name, value in one.named_parameters()}
    _, losses = train(one, items_of(task))
    assert len(losses) == 4
    assert all(torch.isfinite(torch.tensor(losses)))
    still = [name for name, value in one.named_parameters() if value.ndim > 1 and torch.equal(value, before[name])]
    assert still == []


@pytest.mark.parametrize(("way", "task"), PAIRS)
def test_a_resumed_run_goes_on_as_the_unbroken_one(make: Make, way: str, task: str, tmp_path: Path) -> None:
    whole = built(make, task, WAYS[way])
    _, unbroken = train(whole, items_of(task))
    trainer, _ = train(built(make, task, WAYS[way]), items_of(task), epochs=1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(99)
    rest = built(make, task, WAYS[way])
    _, resumed = train(rest, items_of(task), resume=tmp_path / "half.ckpt")
    assert resumed == unbroken[2:]
    same(rest, whole)


@pytest.mark.parametrize(("way", "task"), PAIRS)
def test_at_weight_nothing_it_learns_as_the_task_does_alone(make: Make, way: str, task: str) -> None:
    def nothing(net: Callable[[], nn.Module], target: str) -> Learning:
        learning = WAYS[way](net, target)
        learning.ramp = Ramp(0.0, 0)  # type: ignore[assignment]
        if isinstance(learning, CoTeaching):
            learning.forget_rate = 0.0
        return learning

    one, alone = built(make, task, nothing), built(make, task, None)
    _, losses = train(one, items_of(task))
    _, supervised = train(alone, items_of(task))
    assert losses == supervised or (CLASSES[way].twin and len(losses) == len(supervised))  # those of two networks
    assert all(torch.equal(a, b) for a, b in zip(one.net.parameters(), alone.net.parameters(), strict=True))


@pytest.mark.parametrize("way", ["mean_teacher", "pseudo_labels", "cross_pseudo"])
def test_what_unlabelled_cases_add_is_told_beside_the_loss(make: Make, way: str) -> None:
    """Means of the epoch, from the first step on, in which the weight is small."""
    task = built(make, "index", WAYS[way])
    trainer, _ = train(task, items_of("index"))
    added = trainer.callback_metrics["train/unlabelled"]
    assert 0 < added < trainer.callback_metrics["train/loss"]
    shares = {"pseudo_labels": "train/confident", "cross_pseudo": "train/agreement"}
    if way in shares:
        assert 0 <= trainer.callback_metrics[shares[way]] <= 1


@pytest.mark.parametrize(("threshold", "share"), [(0.0, 1.0), (0.9999, 0.0)])
def test_the_share_of_images_that_have_a_pseudo_label_is_told(make: Make, threshold: float, share: float) -> None:
    task = built(make, "index", lambda net, target: PseudoLabels(target, ramp_up=0, threshold=threshold))
    trainer, _ = train(task, items_of("index"))
    assert trainer.callback_metrics["train/confident"] == share


def test_the_weight_rises_as_the_paper_has_it() -> None:
    ramp = Ramp(3.0, 10)
    assert [ramp(step) for step in (0, 5, 10, 99)] == pytest.approx([3 * 0.006738, 3 * 0.286505, 3, 3], rel=1e-4)
    assert Ramp(2.0, 0)(0) == 2
    for weight, steps, key in ((-1.0, 1, "weight"), (1.0, -1, "ramp_up")):
        with pytest.raises(UserError, match=rf"learning\.{key}: -1"):
            Ramp(weight, steps)


# Mean teacher


def test_the_teacher_is_the_average_of_the_weights_in_closed_form(make: Make) -> None:
    """After n steps with a share of d_n = min(decay, 1 - 1 / n): the mean of the first 1 / (1 - decay) steps, then exponential."""
    task = built(make, "mask", lambda net, target: MeanTeacher(decay=0.6))
    seen: list[Tensor] = []

    class Ears(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            seen.append(next(module.net.parameters()).detach().clone())

    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, log_every_n_steps=1, num_sanity_val_steps=0, callbacks=[Ears()],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, datamodule=Data(items_of("mask")))
    one, two, three, four = seen
    mean = (one + two) / 2
    wanted = 0.6 * (0.6 * mean + 0.4 * three) + 0.4 * four
    assert isinstance(task.learning, MeanTeacher)
    torch.testing.assert_close(next(task.learning.teacher.parameters()), wanted)


def test_the_teacher_keeps_counters_and_averages_running_statistics(make: Make) -> None:
    task = built(make, "mask", lambda net, target: MeanTeacher(decay=0.6))
    train(task, items_of("mask"), epochs=1)
    ours, theirs = task.learning.teacher.state_dict(), task.net.state_dict()  # type: ignore[union-attr]
    counters = [name for name, value in ours.items() if not value.is_floating_point()]
    assert counters
    assert all(torch.equal(ours[name], theirs[name]) for name in counters)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours if name.endswith("running_mean"))


def test_the_teacher_validates_and_predicts(make: Make) -> None:
    task = built(make, "index", WAYS["mean_teacher"]).eval()
    batch = collate([item for item in items_of("index") if "unlabelled" not in item])
    with torch.no_grad():
        nn.init.zeros_(list(task.net.parameters())[-2])
        expected = torch.softmax(task.learning.teacher(batch["image"]), dim=1)  # type: ignore[union-attr]
        assert torch.equal(task.predict_step(batch, 0), expected)
        assert not torch.equal(task.net(batch["image"]).softmax(dim=1), expected)


def test_the_teacher_begins_with_the_weights_that_training_does(make: Make) -> None:
    """Those of init.weights come after the networks are built."""
    task = built(make, "mask", WAYS["mean_teacher"], optimizer=partial(torch.optim.SGD, lr=0.0))
    with torch.no_grad():
        for parameter in task.net.parameters():
            parameter.fill_(0.01)
    train(task, items_of("mask"), epochs=1)
    assert all((parameter == 0.01).all() for parameter in task.learning.teacher.parameters())  # type: ignore[union-attr]


def test_the_difference_is_between_probabilities_of_the_two_views(make: Make) -> None:
    task = built(make, "deep", lambda net, target: MeanTeacher(weight=2.0, ramp_up=0))
    batch = collate(items_of("deep")[:4])
    bare = batch["unlabelled"]
    assert task.learning is not None
    found = task.learning.objective(task, batch)
    student = task.net(bare["strong"])[:, 0].softmax(dim=1)
    teacher = task.learning.teacher.eval()(bare["image"]).softmax(dim=1)  # type: ignore[union-attr,operator]
    wanted = task.step(batch).loss + 2.0 * (student - teacher).square().mean()
    torch.testing.assert_close(found, wanted)


def test_a_decay_that_keeps_everything_is_refused() -> None:
    with pytest.raises(UserError, match=r"learning\.decay: 1 is not from 0 to below 1"):
        MeanTeacher(decay=1)


# Pseudo-labels and cross pseudo supervision


def test_what_is_said_of_classes_and_of_labels() -> None:
    scores = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.1, 0.0]])
    labels, confidence = said(scores, "index")
    assert labels.tolist() == [0, 1]
    torch.testing.assert_close(confidence, scores.softmax(dim=1).amax(dim=1))
    labels, confidence = said(scores, "multilabel")
    assert labels.tolist() == [[1, 0, 0], [0, 1, 0]]
    torch.testing.assert_close(confidence[0], torch.sigmoid(torch.tensor([2.0, 0.0, 1.0])))
    losses = against(scores, torch.tensor([[1.0, 0, 0], [0, 1, 0]]), "multilabel")
    assert losses.shape == (2, 3)
    assert float(losses[0, 0]) == pytest.approx(float(-torch.sigmoid(torch.tensor(2.0)).log()))


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.999])
def test_what_is_not_sure_enough_teaches_nothing(make: Make, threshold: float) -> None:
    task = built(make, "mask", lambda net, target: PseudoLabels(target, 3.0, 0, threshold)).eval()
    task.training = True  # of the task alone: without dropout both passes are what they are here
    batch = collate(items_of("mask")[:4])
    bare = batch["unlabelled"]
    weak, strong = (task.net(bare[view]) for view in ("image", "strong"))
    confidence, labels = weak.softmax(dim=1).max(dim=1)
    losses = torch.nn.functional.cross_entropy(strong, labels, reduction="none")
    wanted = task.step(batch).loss + 3.0 * (losses * (confidence >= threshold)).mean()
    assert task.learning is not None
    found = task.learning.objective(task, batch)
    torch.testing.assert_close(found, wanted)
    taught = float((confidence >= threshold).float().mean())
    assert (taught == 1) == (threshold == 0)
    assert threshold < 0.9 or taught < 0.5


def test_two_networks_begin_differently_and_learn_what_the_other_says(make: Make) -> None:
    task = built(make, "deep", WAYS["cross_pseudo"])
    assert isinstance(task.learning, CrossPseudo)
    task.learning.ramp = Ramp(2.0, 0)
    pairs = zip(task.net.parameters(), task.learning.other.parameters(), strict=True)
    assert all(not torch.equal(one, two) for one, two in pairs if one.ndim > 1)
    batch = collate(items_of("deep")[:4])
    one, two = (net(batch["unlabelled"]["image"])[:, 0] for net in (task.net, task.learning.other))
    crossed = torch.nn.functional.cross_entropy(one, two.argmax(dim=1))
    crossed = crossed + torch.nn.functional.cross_entropy(two, one.argmax(dim=1))
    first = task.step(batch).loss
    task.net, task.learning.other = task.learning.other, task.net
    wanted = first + task.step(batch).loss + 2.0 * crossed
    task.net, task.learning.other = task.learning.other, task.net
    torch.testing.assert_close(task.learning.objective(task, batch), wanted)


# Co-teaching


class Table(nn.Module):
    """Scores by the number in the image's corner."""

    def __init__(self, scores: list[list[float]]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, image: Tensor) -> Tensor:
        return self.scores[image[:, 0, 0, 0].long()]


def test_each_network_learns_from_what_the_other_finds_easy(make: Make) -> None:
    right, wrong = [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]
    nets = [
        Table([right, right, wrong, wrong]),
        Table([wrong, right, right, wrong]),
    ]  # of class 0: easy are 0, 1 and 1, 2
    options = classification("index")
    del options["net"]
    task = make(**options, net=nets[0], learning=CoTeaching(nets[1], forget_rate=0.5, ramp_up=0))
    images = torch.arange(4.0).reshape(4, 1, 1, 1)
    assert task.learning is not None
    task.learning.objective(task, {"image": images, "target": torch.zeros(4, 1).long()}).backward()
    taught = [[bool(row.any()) for row in net.scores.grad] for net in nets]  # type: ignore[union-attr]
    assert taught == [[False, True, True, False], [True, True, False, False]]


def test_the_share_that_is_forgotten_rises_evenly_to_the_rate() -> None:
    way = CoTeaching(nn.Linear(1, 1), forget_rate=0.4, ramp_up=10)
    assert [way.forgotten(step) for step in (0, 5, 10, 50)] == pytest.approx([0, 0.2, 0.4, 0.4])
    assert CoTeaching(nn.Linear(1, 1), 0.3, 0).forgotten(0) == 0.3


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CoTeaching(nn.Linear(1, 1), forget_rate=1.0), "learning.forget_rate: 1.0"),
        (lambda: CoTeaching(nn.Linear(1, 1), ramp_up=-1), "learning.ramp_up: -1"),
        (lambda: PseudoLabels("mask", threshold=1.0), "learning.threshold: 1.0"),
    ],
)
def test_values_that_mean_nothing_are_refused(build: Callable[[], Learning], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()
