"""MS-SSIM in numpy, and the mean quality of a clip.

Wang, Simoncelli, Bovik: Multi-scale structural similarity for image quality assessment, 2003:
five scales, an 11x11 Gaussian window with sigma 1.5, K1 = 0.01, K2 = 0.03.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nvc_errors import UsageError
from nvc_runtime.codec.samples import psnr_db
from nvc_runtime.video import Frame

Planes: TypeAlias = NDArray[np.float64]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MIN_SIDE = 11 << (len(WEIGHTS) - 1)
"""The window must fit into the coarsest scale."""

PSNR_LIMIT_DB = 100.0
"""Stands for identical frames in a mean."""

_SIZE, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


class Quality:
    """Mean quality of the frames of a clip, each compared with its source."""

    def __init__(self, *, with_ms_ssim: bool) -> None:
        self._with_ms_ssim = with_ms_ssim
        self._psnr: list[float] = []
        self._ms_ssim: list[float] = []

    def add(self, frame: Frame, source: Frame) -> None:
        """Compare a frame, uint8 (H, W, 3)."""
        self._psnr.append(min(psnr_db(frame, source), PSNR_LIMIT_DB))
        if self._with_ms_ssim:
            self._ms_ssim.append(ms_ssim(frame, source))

    @property
    def frames(self) -> int:
        """Frames compared so far."""
        return len(self._psnr)

    @property
    def psnr_rgb_db(self) -> float:
        """Mean of the frames' PSNR over all RGB samples."""
        return sum(self._psnr) / len(self._psnr)

    @property
    def ms_ssim(self) -> float | None:
        """Mean of the frames' MS-SSIM, if asked for."""
        return sum(self._ms_ssim) / len(self._ms_ssim) if self._ms_ssim else None


def ms_ssim(a: Frame, b: Frame) -> float:
    """MS-SSIM of two frames, uint8 (H, W, 3): mean over R, G, B.

    The window moves within the picture only. Odd sizes lose their last row or column when they
    are halved. Raises ``UsageError`` for frames below 176 samples a side.
    """
    if a.shape != b.shape or min(a.shape[:2]) < MIN_SIDE:
        raise UsageError(
            f"MS-SSIM needs two frames of one size, at least {MIN_SIDE}x{MIN_SIDE}; found "
            f"{a.shape} and {b.shape}"
        )
    x, y = (frame.transpose(2, 0, 1).astype(np.float64) for frame in (a, b))
    product = np.ones(3)
    for scale, weight in enumerate(WEIGHTS):
        luminance, contrast = _ssim_parts(x, y)
        last = scale == len(WEIGHTS) - 1
        terms = luminance * contrast if last else contrast
        # Structure can be negative, and has no fractional power then.
        product *= np.maximum(terms.mean(axis=(1, 2)), 0.0) ** weight
        if not last:
            x, y = _halve(x), _halve(y)
    return float(product.mean())


def ms_ssim_db(value: float) -> float:
    """MS-SSIM on the scale in which curves are drawn: -10 log10(1 - value)."""
    return -10.0 * math.log10(max(1.0 - value, 1e-10))


def _ssim_parts(x: Planes, y: Planes) -> tuple[Planes, Planes]:
    """Luminance and contrast-structure terms at every window position, (3, h, w) each."""
    mean_x, mean_y = _window(x), _window(y)
    squares = mean_x * mean_x + mean_y * mean_y
    cross = mean_x * mean_y
    variances = _window(x * x) + _window(y * y) - squares
    covariance = _window(x * y) - cross
    luminance: Planes = (2 * cross + _C1) / (squares + _C1)
    contrast: Planes = (2 * covariance + _C2) / (variances + _C2)
    return luminance, contrast


def _window(planes: Planes) -> Planes:
    """Gaussian mean around every position where the window fits."""
    taps = np.exp(-0.5 * ((np.arange(_SIZE) - _SIZE // 2) / _SIGMA) ** 2)
    taps /= taps.sum()
    rows, columns = planes.shape[1] - _SIZE + 1, planes.shape[2] - _SIZE + 1
    vertical = sum(tap * planes[:, k : k + rows] for k, tap in enumerate(taps))
    both: Planes = sum(tap * vertical[:, :, k : k + columns] for k, tap in enumerate(taps))
    return both


def _halve(planes: Planes) -> Planes:
    """Mean of 2x2 samples."""
    even = planes[:, : planes.shape[1] // 2 * 2, : planes.shape[2] // 2 * 2]
    halved: Planes = 0.25 * (
        even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]
    )
    return halved
