from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medexp.optim.muon import MuonAdamW, orthogonal


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.3


def stepped(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for index in range(steps):
        torch.manual_seed(index)
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()


def test_matrices_take_torchs_muon_steps() -> None:
    muon = getattr(torch.optim, "Muon", None)
    if muon is None:
        pytest.skip("this torch has no torch.optim.Muon to compare with")
    torch.manual_seed(0)
    ours = nn.Linear(6, 4, bias=False)
    theirs = copy.deepcopy(ours)
    stepped(ours, MuonAdamW(ours.parameters(), lr=0.1, weight_decay=0.1))
    stepped(theirs, muon(theirs.parameters(), lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0.02, atol=0.005)  # torch iterates in bfloat16


@pytest.mark.parametrize("options", [{"matrices": False}, {}])
def test_the_rest_takes_torchs_adamw_steps(options: dict[str, bool]) -> None:
    torch.manual_seed(0)
    ours = nn.Linear(6, 4) if options else nn.BatchNorm1d(4)
    theirs = copy.deepcopy(ours)
    stepped(ours, MuonAdamW([{"params": list(ours.parameters()), **options}], lr=0.1, weight_decay=0.1))
    stepped(theirs, torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.1))
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reference)


@pytest.mark.parametrize("shape", [(4, 2, 3, 3, 3), (40, 1, 3, 3)])
def test_kernel_steps_as_the_matrix_of_its_outputs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    kernel = nn.ParameterList([nn.Parameter(torch.randn(shape))])
    matrix = nn.ParameterList([nn.Parameter(kernel[0].detach().flatten(1))])
    gradient = torch.randn(shape)
    kernel[0].grad, matrix[0].grad = gradient, gradient.flatten(1)
    MuonAdamW(kernel.parameters()).step()
    MuonAdamW(matrix.parameters()).step()
    torch.testing.assert_close(kernel[0].flatten(1), matrix[0])


def test_values_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match=r"momentum is 1\.5; allowed: from 0 to below 1"):
        MuonAdamW(nn.Linear(1, 1).parameters(), momentum=1.5)
    with pytest.raises(ValueError, match="lr is -1; allowed: 0 or more"):
        MuonAdamW(nn.Linear(1, 1).parameters(), lr=-1)
