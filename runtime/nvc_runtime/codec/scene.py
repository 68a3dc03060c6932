"""Scene cuts: where a picture has so little to do with the one before that it is better intra."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from nvc_runtime.codec.samples import Frame

BLOCK: Final = 16
"""Frames are compared as means of blocks of this many rows and columns: motion hardly counts."""

MIN_CHANGE: Final = 20.0
"""Mean difference of block means, in 8-bit steps, below which nothing is a cut."""

MIN_RATIO: Final = 2.0
"""A cut changes this many times more than the frame before it did: fast motion is none."""


class SceneCutDetector:
    """Finds cuts among frames uint8 (H, W, 3) that are shown to it one after the other."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._change = 0.0

    def is_cut(self, frame: Frame) -> bool:
        """Return whether a new scene begins at this frame; the first frame begins none."""
        means = block_means(frame)
        before, self._before = self._before, means
        if before is None:
            return False
        change = float(np.abs(means - before).mean())
        last, self._change = self._change, change
        return change > MIN_CHANGE and change > MIN_RATIO * last


def block_means(frame: Frame) -> NDArray[np.float32]:
    """Return the means of green over blocks, float32 (rows, columns); partial blocks count.

    Green carries most of the luma, and one plane is enough to tell scenes apart.
    """
    green = frame[:, :, 1]
    height, width = green.shape
    rows = np.add.reduceat(green, np.arange(0, height, BLOCK), axis=0, dtype=np.int64)
    sums = np.add.reduceat(rows, np.arange(0, width, BLOCK), axis=1)
    counts = np.outer(block_sizes(height), block_sizes(width))
    return (sums / counts).astype(np.float32)


def block_sizes(length: int) -> NDArray[np.int64]:
    """Return how many rows or columns each block has; the last may be smaller."""
    starts = np.arange(0, length, BLOCK)
    return np.minimum(BLOCK, length - starts)
