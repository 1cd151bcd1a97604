"""Probes tell classes that can be told, and none that cannot."""

from __future__ import annotations

import pytest
import torch

from medexp.errors import UserError
from medexp.models.probes import Linear, NearestNeighbours, Probe


def groups(seed: int, apart: float = 6.0) -> tuple[torch.Tensor, torch.Tensor]:
    """60 cases of three classes."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(60) % 3
    centres = apart * torch.eye(5)[:3]
    return centres[labels] + torch.randn(60, 5, generator=draw), labels


@pytest.mark.parametrize("probe", [NearestNeighbours(5), Linear()])
def test_classes_that_lie_apart_are_told(probe: Probe) -> None:
    assert not probe.fitted
    probe.fit(*groups(0), 3)
    features, labels = groups(1)
    assert probe.fitted
    assert probe(features).shape == (60, 3)
    assert (probe(features).argmax(dim=1) == labels).float().mean() > 0.95
    none, labels = groups(2, apart=0.0)
    assert (probe(none).argmax(dim=1) == labels).float().mean() < 0.6


def test_votes_are_probabilities_and_the_nearest_decides() -> None:
    probe = NearestNeighbours(3, temperature=0.01)
    probe.fit(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]), torch.tensor([0, 1, 1]), 2)
    found = probe(torch.tensor([[5.0, 0.5]]))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1))
    assert found[0, 0] > 0.99


def test_fewer_cases_than_features_and_constant_features_have_a_solution() -> None:
    probe = Linear()
    features = torch.cat([torch.eye(4), torch.ones(4, 20)], dim=1)
    probe.fit(features, torch.tensor([0, 1, 0, 1]), 2)
    assert torch.isfinite(probe(features)).all()
    assert probe(features).argmax(dim=1).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("kind", [NearestNeighbours, Linear])
def test_a_fitted_probe_is_taken_from_a_state_of_any_size(kind: type[Probe]) -> None:
    one, other = kind(), kind()
    one.fit(*groups(0), 3)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(groups(1)[0]), other(groups(1)[0]))


@pytest.mark.parametrize("make", [lambda: NearestNeighbours(0), lambda: Linear(0.0), lambda: NearestNeighbours(5, 0)])
def test_values_that_mean_nothing_are_refused(make: object) -> None:
    with pytest.raises(UserError, match=r"task\.probes: "):
        make()  # type: ignore[operator]
