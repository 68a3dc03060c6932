"""How much two decodes of one video differ, frame after frame, without keeping them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nvc_runtime.video import Frame

PEAK = 255


class PixelDifference:
    """Counts differing 8-bit samples over pairs of frames.

    Attributes:
        frames: pairs compared.
        samples: samples compared.
        differing: those that are not equal.
        largest: greatest absolute difference, 0..255.

    """

    def __init__(self) -> None:
        self.frames = self.samples = self.differing = self.largest = 0
        self._squares = 0

    def add(self, frame: Frame, other: Frame) -> None:
        """Compare two frames, uint8 (H, W, 3) of one size.

        Raises:
            ValueError: the shapes differ.

        """
        if frame.shape != other.shape:
            raise ValueError(f"frames: found {frame.shape} and {other.shape}, expected one shape")
        self.frames += 1
        self.samples += frame.size
        if np.array_equal(frame, other):
            return
        counts = np.bincount(np.maximum(frame, other).ravel() - np.minimum(frame, other).ravel())
        self.differing += frame.size - int(counts[0])
        self.largest = max(self.largest, len(counts) - 1)
        self._squares += int(counts @ np.arange(len(counts), dtype=np.int64) ** 2)

    @property
    def share(self) -> float:
        """Differing samples over all samples, 0..1; 0 if none was compared."""
        return self.differing / max(1, self.samples)

    @property
    def psnr_db(self) -> float:
        """PSNR over all samples; infinite if none differs."""
        if not self._squares:
            return math.inf
        return 10 * math.log10(PEAK**2 * self.samples / self._squares)

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``psnr_db`` is None where it would be infinite."""
        return {
            "frames": self.frames,
            "samples": self.samples,
            "differing": self.differing,
            "share": self.share,
            "largest": self.largest,
            "psnr_db": round(self.psnr_db, 4) if self.differing else None,
        }
