"""Weights of fewer or other dimensions: colour to grey, one channel to several, two dimensions to three."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Inflation = Literal["repeat", "centre"]


def channels(weight: Tensor, count: int) -> Tensor:
    """A first kernel (out, in, *k) for `count` input channels.

    The sum over input channels is kept, so that an image that is the same in all of them gives what it gave: colour to
    grey sums; more channels repeat those there are, each divided by how often it comes; fewer share the sum evenly.
    """
    there = weight.shape[1]
    if count < there:
        return weight.sum(dim=1, keepdim=True).repeat_interleave(count, dim=1) / count
    order = torch.arange(count) % there
    times = torch.bincount(order, minlength=there).to(weight.dtype)[order]
    return weight[:, order] / times.view(1, -1, *[1] * (weight.ndim - 2))


def depth(weight: Tensor, size: int, how: Inflation = "repeat", stride: int | None = None) -> Tensor:
    """A kernel (out, in, h, w) as (out, in, h, w, size), which does to a stack of equal slices what it did to one.

    "repeat": the kernel in each slice, divided by their number (I3D: Carreira and Zisserman 2017, arXiv:1705.07750).
    "centre": in the middle slice, zero elsewhere: slices are first seen one by one.
    stride: of a transposed convolution along depth: a slice of its output gets size / stride of the kernel's slices, so
    it is divided by that; its kernel has no centre and is always repeated.
    """
    if how == "centre" and stride is None:
        inflated = weight.new_zeros((*weight.shape, size))
        inflated[..., size // 2] = weight
        return inflated
    share = size if stride is None else max(size / stride, 1.0)
    return weight.unsqueeze(-1).repeat(*[1] * weight.ndim, size) / share
