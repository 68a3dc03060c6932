"""Repeats: frames so like the last coded one that showing that again is as good as coding them.

Film at 24 frames a second in video of 30, slides, pauses: nothing is sent for them but that they
are there.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from nvc_runtime.codec.samples import Frame
from nvc_runtime.codec.scene import BLOCK, block_sizes

MAX_SHARE: Final = 1 / 16
"""Of the mean squared error of the coded frame, what the whole frame may have changed by since: if
change and error have nothing to do with each other, the error grows by 0.26 dB."""

MAX_BLOCK_SHARE: Final = 1.0
"""The same for any one block: what moves may be small."""

MAX_CHANGE: Final = 4.0
"""Mean square, in 8-bit steps, that no block may have changed by more than, however bad the coded
frame is: coding it again could make it better."""


class RepeatDetector:
    """Compares sources, uint8 (H, W, 3), with that of the frame that was coded last."""

    def __init__(self) -> None:
        self._coded: Frame | None = None
        self._error = 0.0

    def accept(self, source: Frame, psnr_db: float) -> None:
        """Take note of a frame that was coded, with this PSNR over all RGB samples."""
        self._coded = source.copy(order="K")
        self._error = 255.0**2 / 10.0 ** (psnr_db / 10.0)

    def is_repeat(self, source: Frame) -> bool:
        """Return whether the frame coded last may stand for this one."""
        if self._coded is None:
            return False
        left, right = source.transpose(2, 0, 1), self._coded.transpose(2, 0, 1)
        planes, height, width = left.shape
        starts, widths = np.arange(0, width, BLOCK), block_sizes(width)
        allowed, total = min(MAX_BLOCK_SHARE * self._error, MAX_CHANGE), 0
        for top in range(0, height, BLOCK):
            rows = slice(top, top + BLOCK)
            difference = np.subtract(left[:, rows], right[:, rows], dtype=np.int32)
            squares = np.einsum("ijk,ijk->k", difference, difference)
            samples = planes * difference.shape[1] * widths
            if not (np.add.reduceat(squares, starts) <= allowed * samples).all():
                return False
            total += int(squares.sum())
        return total <= MAX_SHARE * self._error * left.size
