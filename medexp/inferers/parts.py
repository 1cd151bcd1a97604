"""The scores of an image in parts, each as soon as it is finished, so that those of all classes at full size never lie in
memory: 512^3 voxels of 20 classes are 10.7 GB in float32, and a sliding window needs no more of them than it is thick."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import Inferer, SlidingWindowInferer
from torch import Tensor
from torch.nn.functional import pad

from medexp.errors import UserError

AT_ONCE = 2**25  # values of a part (float32: 128 MB), where a single row has no more
Network = Callable[..., Tensor]
Part = tuple[
    int, int, Tensor
]  # image of the batch, index along its first axis, scores (K, voxels from there on, *rest)


def parts(inferer: Inferer, inputs: Tensor, network: Network) -> Iterator[Part]:
    """What `inferer(inputs, network)` gives, (B, K, *spatial), along the first spatial axis: image after image, from its
    first voxel to its last. Only sliding windows, and what is built around them, are computed in parts.

    The windows, their batches and the order of every sum are MONAI's, so the values are as well, to the last bit.
    Raises UserError for a network whose scores are not a value a voxel.
    """
    if hasattr(inferer, "parts"):
        yield from inferer.parts(inputs, network)
    elif isinstance(inferer, SlidingWindowInferer) and windowed(inferer):
        yield from _Windows(inferer, inputs).run(network)
    else:
        yield from sliced(inferer(inputs, network))


def sliced(scores: Tensor) -> Iterator[Part]:
    """Scores (B, K, *spatial) that are there already, in parts."""
    for place, image in enumerate(scores):
        yield from ((place, rows.start, image[:, rows]) for rows in thin(image.shape[1], image[:, 0].numel()))


def windowed(inferer: Inferer) -> bool:
    """Whether the inferer hands the network windows: MONAI's sliding window itself (its subclasses cut otherwise), or one
    that gives parts."""
    return hasattr(inferer, "parts") or (type(inferer) is SlidingWindowInferer and not inferer.with_coord)


def thin(count: int, row: int) -> Iterator[slice]:
    """`count` rows of `row` values each, in slices of at most AT_ONCE values."""
    step = max(AT_ONCE // max(row, 1), 1)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


class _Windows:
    """MONAI's `sliding_window_inference` for one tensor of images."""

    def __init__(self, inferer: SlidingWindowInferer, inputs: Tensor) -> None:
        size, dims = inputs.shape[2:], inputs.ndim - 2
        given = [inferer.roi_size] * dims if isinstance(inferer.roi_size, int) else inferer.roi_size
        self.window = tuple(want if want and want > 0 else have for want, have in zip(given or size, size, strict=True))
        missing = [max(want - have, 0) for want, have in zip(self.window, size, strict=True)]
        widths = [width for lack in missing[::-1] for width in (lack // 2, lack - lack // 2)]  # the last axis first
        if any(missing):
            options = {"value": inferer.cval} if inferer.padding_mode == "constant" else {}
            inputs = pad(inputs, widths, mode=str(inferer.padding_mode), **options)
        self.inputs, self.inferer = inputs, inferer
        self.inside = [slice(lack // 2, lack // 2 + have) for lack, have in zip(missing, size, strict=True)]
        overlaps = inferer.overlap if isinstance(inferer.overlap, Sequence) else [inferer.overlap] * dims
        self.windows = dense_patch_slices(inputs.shape[2:], self.window, self._steps(overlaps))
        self.network_device = torch.device(inferer.sw_device or inputs.device)
        self.device = torch.device(inferer.device or inputs.device)  # where windows are put together

    def run(self, network: Network) -> Iterator[Part]:
        count, total = self.inferer.sw_batch_size, len(self.windows) * len(self.inputs)
        weight = self._weight()
        stitch: _Stitch | None = None
        for start in range(0, total, count):
            group = [divmod(index, len(self.windows)) for index in range(start, min(start + count, total))]
            cut = [self.inputs[place : place + 1, :, *self.windows[index]] for place, index in group]
            scores = network(torch.cat(cut).to(self.network_device))
            self._check(scores)
            scores *= weight
            for (place, index), score in zip(group, scores.to(self.device), strict=True):
                if stitch is None:
                    stitch = _Stitch(self, len(score), weight.to(self.device))
                window = self.windows[index]
                yield from ((place, first, done) for first, done in stitch.finish(window[0].start))
                stitch.add(window, score)
                if index == len(self.windows) - 1:
                    yield from ((place, first, done) for first, done in stitch.finish(self.inputs.shape[2]))
                    stitch.reached = 0

    def _steps(self, overlaps: Sequence[float]) -> list[int]:
        pairs = zip(self.window, self.inputs.shape[2:], overlaps, strict=True)
        return [window if window == size else max(int(window * (1 - overlap)), 1) for window, size, overlap in pairs]

    def _weight(self) -> Tensor:
        kept = self.inferer.roi_weight_map
        how = {"mode": self.inferer.mode, "sigma_scale": self.inferer.sigma_scale, "device": self.network_device}
        made = compute_importance_map(self.window, **how) if kept is None else kept  # type: ignore[arg-type]
        return made.to(self.network_device, self.inputs.dtype)[None]  # (1, *window)

    def _check(self, scores: Tensor) -> None:
        if not isinstance(scores, Tensor) or tuple(scores.shape[2:]) != self.window:
            seen = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise UserError(
                f"inferer: the network turned a window of {self.window} into {seen}, which is not a value a voxel; use "
                "inferer=simple for a network without spatial output"
            )


class _Stitch:
    """The weighted sum of windows and of their weights, as thick as a window: a row that is finished makes room for the
    next one that is begun."""

    def __init__(self, windows: _Windows, channels: int, weight: Tensor) -> None:
        self.thick = windows.window[0]
        size = (self.thick, *windows.inputs.shape[3:])
        kind = {"dtype": windows.inputs.dtype, "device": windows.device}
        self.scores, self.weights = torch.zeros((channels, *size), **kind), torch.zeros((1, *size), **kind)  # type: ignore[call-overload]
        self.weight, self.inside, self.reached = weight, windows.inside, 0

    def add(self, window: Sequence[slice], score: Tensor) -> None:
        """score: (K, *window), weighted."""
        for rows, place in self._places(window[0].start, window[0].stop):
            of = slice(rows.start - window[0].start, rows.stop - window[0].start)
            self.scores[:, place, *window[1:]] += score[:, of]
            self.weights[:, place, *window[1:]] += self.weight[:, of]

    def finish(self, until: int) -> Iterator[tuple[int, Tensor]]:
        """The rows that no window from row `until` on touches; of the image, without what it was padded with."""
        around, rest = self.inside[0], (..., *self.inside[1:])
        for rows, place in self._places(self.reached, until):
            for part in thin(place.stop - place.start, self.scores[:, 0].numel()):
                first = rows.start + part.start
                low, high = max(first, around.start), min(rows.start + part.stop, around.stop)
                if low < high:
                    cut = slice(place.start + low - rows.start, place.start + high - rows.start)
                    yield low - around.start, (self.scores[:, cut] / self.weights[:, cut])[rest]
            self.scores[:, place], self.weights[:, place] = 0, 0
        self.reached = max(self.reached, until)

    def _places(self, start: int, stop: int) -> Iterator[tuple[slice, slice]]:
        """Rows of the image, and where they lie here: one after the other, round and round."""
        while start < stop:
            place = start % self.thick
            count = min(stop - start, self.thick - place)
            yield slice(start, start + count), slice(place, place + count)
            start += count
