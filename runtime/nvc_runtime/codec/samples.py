"""8-bit samples to network input and back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""uint8 (H, W, 3), RGB. Any memory layout; planes that follow each other are the fastest."""

SAMPLE_LEVELS = 256
STRIP = 32
"""Rows of a frame that are converted at a time, so that intermediate values stay in the cache."""


def input_from_frame(frame: Frame, padded: tuple[int, int]) -> NDArray[np.float32]:
    """Map a frame to float32 (1, 3, H', W') in [0, 1], padded by repeating the last row, column."""
    height, width, _ = frame.shape
    planes = frame.transpose(2, 0, 1)
    rows, columns = padded[0] - height, padded[1] - width
    if rows or columns:
        planes = np.pad(planes, ((0, 0), (0, rows), (0, columns)), mode="edge")
    scaled: NDArray[np.float32] = planes.astype(np.float32)
    scaled *= np.float32(1 / 255)
    return scaled[np.newaxis]


def sample_index(output: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Crop a reconstruction (1, 3, H', W') and map it to 255 x + 1/2: float32 (3, H, W).

    The floor of this index is the 8-bit sample; :mod:`nvc_calib` can make it exact.
    """
    index: NDArray[np.float32] = output[0, :, :height, :width] * np.float32(255)
    index += np.float32(0.5)
    return index


def frame_from_output(output: NDArray[np.float32], height: int, width: int) -> Frame:
    """Crop a reconstruction (1, 3, H', W') and round it to a frame (H, W, 3)."""
    planes = np.empty((3, height, width), np.uint8)
    for top in range(0, height, STRIP):
        strip = planes[:, top : top + STRIP]
        index = sample_index(output[:, :, top : top + STRIP], strip.shape[1], width)
        strip[...] = np.clip(index, 0, SAMPLE_LEVELS - 1, out=index)
    return frame_from_planes(planes)


def frame_from_planes(planes: NDArray[np.uint8]) -> Frame:
    """See planar samples (3, H, W) as a frame (H, W, 3); nothing is copied."""
    return planes.transpose(1, 2, 0)


def psnr_db(a: Frame, b: Frame) -> float:
    """PSNR of two frames over all RGB samples; infinite if they are equal."""
    left, right = a.transpose(2, 0, 1), b.transpose(2, 0, 1)
    squares = 0
    for top in range(0, a.shape[0], STRIP):
        rows = slice(top, top + STRIP)
        difference = np.subtract(left[:, rows], right[:, rows], dtype=np.int32)
        # The sum of a row fits 32 bits up to a width of 33,000.
        squares += int(np.einsum("ijk,ijk->ij", difference, difference).sum(dtype=np.int64))
    if not squares:
        return math.inf
    return 10.0 * math.log10(255.0**2 * a.size / squares)
