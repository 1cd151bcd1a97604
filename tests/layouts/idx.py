"""MNIST's idx files (LeCun's description of the format: http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np

CODES = {">u1": 0x08, ">i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx_bytes(array: np.ndarray[Any, Any], code: str = ">u1") -> bytes:
    """An array as an idx file."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[code], array.ndim, *array.shape)
    return header + np.ascontiguousarray(array, dtype=code).tobytes()


def write_idx(path: Path, array: np.ndarray[Any, Any], code: str = ">u1") -> Path:
    content = idx_bytes(array, code)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_mnist(root: Path, end: str = ".gz", train: int = 40, test: int = 20) -> Path:
    """Digit k is a bar in column 2 k; row r of the train part shows r % 10, of the test part (r + 1) % 10."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name, count, shift in (("train", train, 0), ("t10k", test, 1)):
        labels = (np.arange(count) + shift) % 10
        images = rng.integers(0, 50, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 2 * label : 2 * label + 3] = 220
        write_idx(root / f"{name}-images-idx3-ubyte{end}", images)
        write_idx(root / f"{name}-labels-idx1-ubyte{end}", labels)
    return root
