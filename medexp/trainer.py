"""Lightning's Trainer, with what makes it fast as arguments of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.strategies import DDPStrategy

from medexp.callbacks.compiling import Compile
from medexp.callbacks.layout import ChannelsLast
from medexp.callbacks.recomputing import Recompute
from medexp.callbacks.small_convolutions import SmallConvolutions
from medexp.callbacks.throughput import Waits
from medexp.performance import fastest_precision

Precision = Literal[
    "auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true", "transformer-engine",
    "transformer-engine-float16", "bf16", "16", "32", "64", 16, 32, 64,
]  # fmt: skip
Mode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]


class Trainer(pl.Trainer):
    """Every argument of Lightning's Trainer, and:

    precision: "auto" is the fastest that this hardware supports (see medexp.performance.fastest_precision).
    matmul_precision: of float32 matrix products, see torch.set_float32_matmul_precision: "high" is TF32 on CUDA.
    (torch lets convolutions use TF32 on CUDA whatever is said here.)
    channels_last: weights and images lie in memory with the channels innermost (2D and 3D).
    activation_checkpointing: blocks of the network are computed again in the backward pass: less memory, more time.
    compile: torch.compile of the network for training, or its mode; where the first step fails, training goes on without.
    """

    def __init__(
        self,
        *,
        precision: Precision | None = None,
        matmul_precision: Literal["highest", "high", "medium"] = "highest",
        channels_last: bool = False,
        activation_checkpointing: bool = False,
        compile: bool | Mode = False,
        callbacks: Sequence[pl.Callback] = (),
        profiler: Profiler | str | None = None,
        **options: Any,
    ) -> None:
        torch.set_float32_matmul_precision(matmul_precision)
        own: list[pl.Callback] = [ChannelsLast()] if channels_last else []
        if activation_checkpointing:
            own.append(Recompute())
        if compile:
            own.append(Compile("default" if compile is True else compile))
        chosen: Any = fastest_precision(str(options.get("accelerator", "auto"))) if precision == "auto" else precision
        super().__init__(
            precision=chosen,
            callbacks=[SmallConvolutions(), *own, *callbacks],
            profiler=profiler or Waits(),
            **options,
        )

    def fit(self, model: pl.LightningModule, *args: Any, **options: Any) -> None:
        """Training. A task that steps its optimizers by itself also clips by itself, for Lightning refuses to clip for it;
        and each of its backward passes leaves out parameters, of which DDP has to know."""
        if not model.automatic_optimization:
            model.clipping = (self.gradient_clip_val, self.gradient_clip_algorithm)  # type: ignore[assignment]
            self.gradient_clip_val = None
            if isinstance(self.strategy, DDPStrategy):
                self.strategy._ddp_kwargs["find_unused_parameters"] = True
        super().fit(model, *args, **options)
