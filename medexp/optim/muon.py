"""Muon for kernels and matrices, AdamW for everything else, as one optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Quintic Newton-Schulz coefficients of K. Jordan, "Muon", kellerjordan.github.io/posts/muon
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class MuonAdamW(Optimizer):
    """Muon (Jordan 2024) where a parameter has two or more dimensions, AdamW (Loshchilov and Hutter 2019) elsewhere.

    torch.optim.Muon takes matrices alone; here a convolution kernel (out, in, *k) is one as (out, in * k). Muon's step
    is scaled by 0.2 sqrt(max(rows, columns)) to the size of AdamW's (Liu et al., "Muon is scalable for LLM training",
    2025), so one learning rate and one schedule serve both. Jordan leaves input and output layers to AdamW; here they
    are Muon's too, since a network does not say which of its layers those are.

    params: parameters or groups; a group with `matrices: False` (norms, biases, embeddings) is AdamW's in all shapes.
    momentum, nesterov, steps (of the Newton-Schulz iteration): Muon's. betas, eps: AdamW's.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        momentum: float = 0.95,
        nesterov: bool = True,
        steps: int = 5,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        for name, value in {"lr": lr, "weight_decay": weight_decay, "eps": eps}.items():
            if value < 0:
                raise ValueError(f"{name} is {value}; allowed: 0 or more")
        for name, value in {"momentum": momentum, "betas[0]": betas[0], "betas[1]": betas[1]}.items():
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}; allowed: from 0 to below 1")
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov, "steps": steps}
        super().__init__(params, {**defaults, "betas": tuple(betas), "eps": eps, "matrices": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both; returns the closure's loss where one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = self._muon if group["matrices"] and parameter.ndim > 1 else self._adamw
                    parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                    update(parameter, parameter.grad, group)
        return loss

    def _muon(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"].lerp_(gradient, 1.0 - group["momentum"])
        direction = gradient.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer
        matrix = orthogonal(direction.flatten(1), group["steps"])  # (out, in * k)
        scale = 0.2 * math.sqrt(max(matrix.shape))
        parameter.add_(matrix.reshape(parameter.shape), alpha=-group["lr"] * scale)

    def _adamw(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(
                step=torch.tensor(0.0), exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter)
            )
        state["step"] += 1  # a tensor on the CPU, as in torch: reading it does not wait for the GPU
        beta1, beta2 = group["betas"]
        count = state["step"].item()
        mean: Tensor = state["exp_avg"].lerp_(gradient, 1.0 - beta1)
        square: Tensor = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        scale = square.sqrt().div_(math.sqrt(1.0 - beta2**count)).add_(group["eps"])
        parameter.addcdiv_(mean, scale, value=-group["lr"] / (1.0 - beta1**count))


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The matrix (rows, columns) with its singular values brought near 1 by Newton-Schulz iterations; dtype is kept.

    In bfloat16 on a GPU, where it is fast and Jordan's analysis shows it to be enough; in float32 elsewhere.
    """
    a, b, c = COEFFICIENTS
    work = matrix.to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    tall = work.shape[0] > work.shape[1]
    if tall:
        work = work.T
    work = work / work.norm().clamp(min=1e-7)  # the iteration converges for singular values up to 1
    for _ in range(steps):
        gram = work @ work.T
        work = a * work + (b * gram + c * gram @ gram) @ work
    return (work.T if tall else work).to(matrix.dtype)
