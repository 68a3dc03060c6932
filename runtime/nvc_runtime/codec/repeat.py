"""Repeats: frames so like the last coded one that showing that again is as good as coding them.

Film at 24 frames a second in video of 30, slides, pauses: nothing is sent for them but that they
are there.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from nvc_runtime.codec.samples import Frame

BLOCK: Final = 16
"""Rows and columns of the blocks that are compared: what moves may be small."""

MAX_SHARE: Final = 1 / 16
"""Of the mean squared error of the whole coded frame, what any block may have changed by since: if
all have, and change and error have nothing to do with each other, the frame is worse by 0.26 dB."""

MAX_CHANGE: Final = 1.0
"""Mean square, in 8-bit steps, that no block may have changed by more than, however bad the coded
frame is: coding it again could make it better."""


class RepeatDetector:
    """Compares sources, uint8 (H, W, 3), with that of the frame that was coded last."""

    def __init__(self) -> None:
        self._coded: Frame | None = None
        self._allowed = 0.0

    def accept(self, source: Frame, psnr_db: float) -> None:
        """Take note of a frame that was coded, with this PSNR over all RGB samples."""
        self._coded = source.copy(order="K")
        share = MAX_SHARE * 255.0**2 / 10.0 ** (psnr_db / 10.0)
        self._allowed = min(share, MAX_CHANGE)

    def is_repeat(self, source: Frame) -> bool:
        """Return whether the frame coded last may stand for this one."""
        if self._coded is None:
            return False
        left, right = source.transpose(2, 0, 1), self._coded.transpose(2, 0, 1)
        planes, height, width = left.shape
        starts = np.arange(0, width, BLOCK)
        widths = np.minimum(BLOCK, width - starts)
        for top in range(0, height, BLOCK):
            rows = slice(top, top + BLOCK)
            difference = np.subtract(left[:, rows], right[:, rows], dtype=np.int32)
            squares = np.einsum("ijk,ijk->k", difference, difference)
            samples = planes * difference.shape[1] * widths
            if not (np.add.reduceat(squares, starts) <= self._allowed * samples).all():
                return False
        return True
