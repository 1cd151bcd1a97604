"""InfoNCE beside its formula, and its queue."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medexp.errors import UserError
from medexp.losses.info_nce import InfoNCE


def test_it_is_the_cross_entropy_of_ones_own_key() -> None:
    torch.manual_seed(0)
    query, key, queue = torch.randn(3, 4), torch.randn(3, 4), torch.randn(5, 4)
    wanted = []
    for place in range(3):
        similar = [F.cosine_similarity(query[place], other, dim=0) / 0.5 for other in (*key, *queue)]
        wanted.append(torch.logsumexp(torch.stack(similar), dim=0) - similar[place])
    torch.testing.assert_close(InfoNCE(0.5)(query, key, queue), torch.stack(wanted).mean())
    assert InfoNCE(0.5)(query, key) < InfoNCE(0.5)(query, key, queue)  # fewer to be told from


def test_equal_views_that_lie_apart_cost_almost_nothing() -> None:
    assert InfoNCE(0.1)(torch.eye(4), torch.eye(4)) < 1e-3
    assert InfoNCE(0.1)(torch.ones(4, 2), torch.ones(4, 2)) == pytest.approx(float(torch.tensor(4.0).log()))


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"loss\.temperature: 0 is not above 0"):
        InfoNCE(0)
