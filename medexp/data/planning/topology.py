"""The U-Net that fits a patch: strides and kernels from spacing and size, and the memory that training it takes.

Rules after nnU-Net (Isensee et al., Nature Methods 18:203, 2021, doi:10.1038/s41592-020-01008-z, supplement 2): an axis
is halved while half of it still has 4 voxels or more and its voxels are not much longer than the shortest; kernels are 1
along an axis whose voxels are too long for its neighbours to tell anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

SMALLEST_EDGE = 4  # voxels of the smallest feature map along an axis that was halved
LONG_VOXEL = 2.0  # times the shortest: from here on an axis is not halved and gets kernels of 1
BASE_FILTERS, MOST_FILTERS = 32, {2: 512, 3: 320}
LEAST_STAGES = 3  # what monai.networks.nets.DynUNet asks for
HEADS = 2  # deep supervision, as in conf/model/dynunet.yaml

# Values that training keeps, counted from DynUNet's layers: a convolution keeps its output (the norm's input) and the
# activation's. Two convolutions a stage; the decoder keeps the upsampled map joined with the skip (twice the filters).
ENCODER_MAPS, DECODER_MAPS = 4, 6
# What is held only for a moment, measured: gradients at the top of the decoder, in maps of its size; or the loss of the
# deep-supervision heads (float32), in score maps of the patch's size a head. The larger of the two counts.
BACKWARD_MAPS, LOSS_MAPS = 4.3, 4.7
WEIGHT_BYTES = 16  # weight, gradient and two moments of Adam
GIB = 2**30


@dataclass(frozen=True)
class Topology:
    """One entry a stage, an entry an axis. patch_size is a multiple of the product of the strides."""

    patch_size: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_size: tuple[tuple[int, ...], ...]

    @property
    def filters(self) -> tuple[int, ...]:
        """Features a stage: 32, doubled, at most 320 (3D) or 512 (2D)."""
        most = MOST_FILTERS[len(self.patch_size)]
        return tuple(min(BASE_FILTERS * 2**stage, most) for stage in range(len(self.strides)))

    @property
    def heads(self) -> int:
        """Deep-supervision heads beside the output; DynUNet wants fewer than it has upsampling layers."""
        return min(HEADS, len(self.strides) - 2)

    @property
    def divisor(self) -> tuple[int, ...]:
        """What the patch must be a multiple of."""
        return tuple(prod(stride[axis] for stride in self.strides) for axis in range(len(self.patch_size)))

    @property
    def maps(self) -> tuple[float, ...]:
        """Voxels of a stage's feature maps."""
        sizes, voxels = [], float(prod(self.patch_size))
        for stride in self.strides:
            voxels /= prod(stride)
            sizes.append(voxels)
        return tuple(sizes)


def topology(spacing: Sequence[float], size: Sequence[float]) -> Topology:
    """The network for patches of about `size` voxels of `spacing` mm; the patch grows to a multiple of the strides.

    Differs from nnU-Net: at least three stages, since DynUNet has no fewer (the last ones without stride where the
    patch is tiny). The decoder of DynUNet takes a stage's kernel from the stage below; nnU-Net's from the same one.
    """
    axes = range(len(size))
    lengths, sizes = list(map(float, spacing)), [float(round(edge)) for edge in size]
    strides, kernels = [(1,) * len(sizes)], []
    kernel = [1] * len(sizes)
    while halved := _halved(lengths, sizes):
        kernel = [3 if lengths[axis] / min(lengths) < LONG_VOXEL else kernel[axis] for axis in axes]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in axes))
        for axis in halved:
            lengths[axis] *= 2
            sizes[axis] = ceil(sizes[axis] / 2)
    kernels.append((3,) * len(sizes))  # the bottleneck sees all neighbours
    while len(strides) < LEAST_STAGES:
        strides.append((1,) * len(sizes))
        kernels.append((3,) * len(sizes))
    divisor = [prod(stride[axis] for stride in strides) for axis in axes]
    patch = tuple(ceil(round(edge) / by) * by for edge, by in zip(size, divisor, strict=True))
    return Topology(patch, tuple(strides), tuple(kernels))


def _halved(lengths: Sequence[float], sizes: Sequence[float]) -> list[int]:
    """Axes that the next stage halves: large enough, and with voxels less than twice the shortest of the large enough."""
    large = [axis for axis, size in enumerate(sizes) if size >= 2 * SMALLEST_EDGE]
    if not large:
        return []
    shortest = min(lengths[axis] for axis in large)
    halved = [axis for axis in large if lengths[axis] / shortest < LONG_VOXEL]
    if len(halved) == 1 and sizes[halved[0]] < 3 * SMALLEST_EDGE:
        return []  # a stage for the last crumb of one axis is not worth its weights
    return halved


def parameters(net: Topology, in_channels: int, classes: int) -> int:
    """Weights of the DynUNet: convolutions without bias, instance norms with scale and offset, score layers with bias."""
    filters, dims = net.filters, len(net.patch_size)
    total = 0
    before = in_channels
    for count, kernel in zip(filters, net.kernel_size, strict=True):
        total += (before + count) * count * prod(kernel) + 4 * count
        before = count
    for stage in range(len(filters) - 1):
        upper, lower = filters[stage], filters[stage + 1]
        total += upper * lower * prod(net.strides[stage + 1])
        total += (2 * upper + upper) * upper * prod(net.kernel_size[stage + 1]) + 4 * upper
    assert dims in MOST_FILTERS
    return total + sum((filters[head] + 1) * classes for head in range(net.heads + 1))


def memory(net: Topology, in_channels: int, classes: int, batch_size: int, mixed: bool) -> float:
    """GiB that a training step takes at its peak: weights, kept activations, and what the loss or the backward pass holds.

    mixed: activations in 16 bits (trainer.precision bf16-mixed or 16-mixed), else 32. Held against the peak resident
    memory of training steps of DynUNet with DiceCE and AdamW on a CPU (torch 2.13, growth over the process with the
    untrained network, freed blocks returned at once): 3D patches of 40x56x40 to 96x96x64 and 24x112x112, 2D of 256x256
    and 384x384, batches of 2 to 8, 2 to 30 classes, both precisions, twelve in all: 0.97 to 1.03 of what was measured.
    """
    bytes_each = 2 if mixed else 4
    pairs = list(zip(net.filters, net.maps, strict=True))
    kept = sum(ENCODER_MAPS * count * voxels for count, voxels in pairs)
    kept += sum(DECODER_MAPS * count * voxels for count, voxels in pairs[:-1])
    backward = BACKWARD_MAPS * net.filters[0] * net.maps[0] * bytes_each
    loss = LOSS_MAPS * (net.heads + 1) * classes * net.maps[0] * 4
    each = kept * bytes_each + max(backward, loss)
    return (batch_size * each + WEIGHT_BYTES * parameters(net, in_channels, classes)) / GIB
