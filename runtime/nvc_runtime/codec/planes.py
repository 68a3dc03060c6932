"""A codec's luma and chroma as the 8-bit Y'CbCr of a video, without the way through RGB.

A program's planes (``docs/bundle.md``) are Y'CbCr by BT.601, chroma at half resolution, between two
rows and on the left of two columns: what most videos hold but for the matrix and the range. For
another matrix chroma is mixed where it is, and luma is corrected by chroma interpolated as the
codecs do it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvc_runtime.video import ColorSpace, Planes, VideoInfo
from nvc_runtime.video.yuv import MATRIX_WEIGHTS

CHROMA = "420"
"""Chroma format of the planes."""
STRIP = 64
"""Rows of luma that are converted at a time, so that intermediate values stay in the cache."""


class PlaneConverter:
    """Converts the planes of one video's frames. Its matrix must be one of ``MATRIX_WEIGHTS``."""

    def __init__(self, info: VideoInfo) -> None:
        self._height, self._width = info.height, info.width
        full = info.color.full_range
        self._luma_span, self._luma_offset = (255.0, 0.0) if full else (219.0, 16.0)
        self._chroma_span = 255.0 if full else 224.0
        mix = _mix(info.color)
        self._in_luma, self._in_chroma = mix[0, 1:], mix[1:, 1:]

    def convert(self, luma: NDArray[np.float32], chroma: NDArray[np.float32]) -> Planes:
        """Crop and round planes to the video's.

        Args:
            luma: float32 (1, 1, H', W'), -0.5 black, 0.5 white; not less than the video's size.
            chroma: float32 (1, 2, H'/2, W'/2), blue and red differences, -0.5 to 0.5.

        Returns:
            Y, U and V of the video, 4:2:0.

        """
        height, width = self._height, self._width
        rows, columns = (height + 1) // 2, (width + 1) // 2
        blue, red = (chroma[0, i, :rows, :columns] for i in (0, 1))
        y, u, v = np.empty((height, width), np.uint8), *np.empty((2, rows, columns), np.uint8)
        for plane, (of_blue, of_red) in zip((u, v), self._in_chroma, strict=True):
            mixed = _weigh(blue, of_blue, red, of_red)
            _round(mixed, self._chroma_span, 128.0, plane)
        correction = None
        if self._in_luma.any():
            correction = np.pad(_weigh(blue, self._in_luma[0], red, self._in_luma[1]), 1, "edge")
        for top in range(0, height, STRIP):
            strip = luma[0, 0, top : min(top + STRIP, height), :width]
            if correction is not None:
                pairs = (len(strip) + 1) // 2
                around = correction[top // 2 : top // 2 + pairs + 2]
                strip = strip + _interpolate(around)[: len(strip), :width]
            offset = self._luma_offset + 0.5 * self._luma_span
            _round(strip, self._luma_span, offset, y[top : top + STRIP])
        return y, u, v


def converter_for(info: VideoInfo) -> PlaneConverter | None:
    """Return the converter for a video, if its samples are like those of the planes."""
    fits = info.chroma == CHROMA and info.color.matrix in MATRIX_WEIGHTS
    return PlaneConverter(info) if fits else None


def _mix(color: ColorSpace) -> NDArray[np.float64]:
    """Matrix (3, 3) from Y'CbCr by BT.601 to that of a video, both of one range."""
    from_codec, from_video = (_to_rgb(matrix) for matrix in (6, color.matrix))
    return np.asarray(np.linalg.solve(from_video, from_codec).round(12), np.float64)


def _to_rgb(matrix: int) -> NDArray[np.float64]:
    """Matrix (3, 3) from Y'CbCr to R'G'B' (ITU-T H.273, section 8.3)."""
    red, blue = (float(weight) for weight in MATRIX_WEIGHTS[matrix])
    green = 1.0 - red - blue
    of_blue, of_red = 2.0 * (1.0 - blue), 2.0 * (1.0 - red)
    return np.array(
        [
            [1.0, 0.0, of_red],
            [1.0, -of_blue * blue / green, -of_red * red / green],
            [1.0, of_blue, 0.0],
        ]
    )


def _weigh(
    a: NDArray[np.float32], of_a: np.float64, b: NDArray[np.float32], of_b: np.float64
) -> NDArray[np.float32]:
    total = a * np.float32(of_a)
    total += b * np.float32(of_b)
    return total


def _interpolate(around: NDArray[np.float32]) -> NDArray[np.float32]:
    """Double the size of (h + 2, w + 2), linearly, to (2 h, 2 w)."""
    rows = np.empty((2 * (len(around) - 2), around.shape[1]), np.float32)
    near = around[1:-1] * np.float32(0.75)
    np.add(near, around[:-2] * np.float32(0.25), out=rows[::2])
    np.add(near, around[2:] * np.float32(0.25), out=rows[1::2])
    full = np.empty((len(rows), 2 * (around.shape[1] - 2)), np.float32)
    full[:, ::2] = rows[:, 1:-1]
    between = rows[:, 1:-1] + rows[:, 2:]
    np.multiply(between, np.float32(0.5), out=full[:, 1::2])
    return full


def _round(values: NDArray[np.float32], span: float, offset: float, out: NDArray[np.uint8]) -> None:
    """Store the nearest code values; ``offset`` is that of 0."""
    scaled = values * np.float32(span)
    scaled += np.float32(offset + 0.5)
    out[...] = np.clip(scaled, 0.0, 255.0, out=scaled)
