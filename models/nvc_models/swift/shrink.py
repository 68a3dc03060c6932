"""A loop filter for luma: shrinkage of transforms whose blocks lie across the codec's own.

What quantisation and block matching leave behind lies at the edges of blocks. In a DCT of blocks
that straddle those edges it is many small coefficients, while the picture is a few large ones: a
Wiener-like gain ``c^2 / (c^2 + t^2)`` removes the one and keeps the other (compare Nosratinia,
"Enhancement of JPEG-compressed images by re-application of JPEG", 2001). Thresholds ``t`` are
learned, a number for every coefficient, shift and quality.

What equals a block of the frame before is left alone, as H.264's filter leaves it: it has been
filtered, and would lose a little more of its detail with every frame that repeats it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import FixedConv, FixedPointwise
from nvc_models.latent import QualityGain
from nvc_models.rate import LOG_STEP_HIGH, LOG_STEP_LOW
from nvc_models.swift.dct import dct
from nvc_models.swift.planes import BLOCK, LUMA

Shifts = Sequence[tuple[int, int]]
"""Where the transform's blocks start within those of 8x8 pixels: row, column."""
START_STRENGTH = 0.8
"""Of the corrections by all shifts."""
LOG_RATIO = math.log(0.06)
"""Thresholds start at this share of the quantisation step."""


class Shrinkage(nn.Module):
    """Filters luma, with ``S`` shifts. Samples outside of the picture take no part."""

    def __init__(self, shifts: Shifts) -> None:
        super().__init__()
        self.shifts = shifts
        rows = dct(BLOCK)
        self.transform = FixedConv(rows.view(LUMA, 1, BLOCK, BLOCK), stride=BLOCK)
        self.back = FixedPointwise(rows.T)

    def forward(
        self, luma: Tensor, energy: Tensor, gain: Tensor, strength: Tensor | None = None
    ) -> Tensor:
        """Filter (B, 1, H, W); ``energy`` and ``gain`` (B, 64 S, 1, 1) see :class:`Thresholds`.

        ``strength`` (B, 1, H/8, W/8): what share of it each block gets; None: all.
        """
        count = len(self.shifts)
        thresholds = zip(self.shifts, energy.chunk(count, 1), gain.chunk(count, 1), strict=True)
        changes = [self._change(luma, *of_shift) for of_shift in thresholds]
        change = sum(changes[1:], changes[0])
        if strength is not None:
            change = change * F.interpolate(strength, scale_factor=float(BLOCK), mode="nearest")
        return luma - change

    def _change(self, luma: Tensor, shift: tuple[int, int], energy: Tensor, gain: Tensor) -> Tensor:
        """Find what the filter takes away by one shift, (B, 1, H, W)."""
        row, column = shift
        c = self.transform(luma[:, :, row : row - BLOCK, column : column - BLOCK])
        inside = F.pixel_shuffle(self.back(c * (gain / (c * c + energy))), BLOCK)
        return F.pad(inside, (column, BLOCK - column, row, BLOCK - row))


class Thresholds(nn.Module):
    """Squared thresholds of :class:`Shrinkage` by quality, and these times a strength."""

    def __init__(self, shifts: Shifts) -> None:
        super().__init__()
        channels = LUMA * len(shifts)
        self.threshold = QualityGain(channels, LOG_STEP_LOW + LOG_RATIO, LOG_STEP_HIGH + LOG_RATIO)
        self.strength = nn.Parameter(torch.full((channels,), START_STRENGTH / len(shifts)))

    def forward(self, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Map quality (B,), [0, 63], to energy and gain, (B, 64 S, 1, 1) each."""
        energy: Tensor = self.threshold(quality).square()
        return energy, energy * self.strength.view(1, -1, 1, 1)

    def tables(self) -> tuple[Tensor, Tensor]:
        """Energy and gain of every quality, float32 (64, 64 S) each."""
        energy = self.threshold.table().square()
        return energy, (energy * self.strength.detach().cpu()).float()


class BlockStrength(nn.Module):
    """What share of the filter each block of 8x8 pixels gets, 0 to 1.

    All where a symbol was coded; some where it was interpolated, or comes from elsewhere than the
    blocks around it; nothing where it is a copy.
    """

    START_APART, START_BETWEEN = 1.0, 0.4

    def __init__(self, places: Sequence[tuple[int, int]]) -> None:
        """``places``: row and column, 0 or 1, of the block that each channel of a latent is of."""
        super().__init__()
        self.apart = nn.Parameter(torch.tensor(self.START_APART))
        self.between = nn.Parameter(torch.tensor(self.START_BETWEEN))
        matrix = torch.zeros(4, len(places))
        for channel, (row, column) in enumerate(places):
            matrix[2 * row + column, channel] = 1.0
        self.total = FixedPointwise(matrix)

    def of_vectors(self, vectors: Tensor) -> Tensor:
        """Share (B, 1, H/8, W/8), may be above 1, for vectors (B, 2, H/8, W/8) in pixels."""
        spread = F.max_pool2d(vectors, 3, 1, 1) + F.max_pool2d(-vectors, 3, 1, 1)
        apart = spread.amax(1, keepdim=True).clamp(max=1.0)
        fraction = (vectors - vectors.floor()).amax(1, keepdim=True)
        return self.apart * apart + self.between * (fraction * BLOCK).clamp(max=1.0)

    def forward(self, moved: Tensor, symbols: Tensor) -> Tensor:
        """Add to the share of vectors that of symbols (B, C, H/16, W/16), whole numbers."""
        coded = F.pixel_shuffle(self.total(symbols.abs()), 2)
        return (coded + moved).clamp(0.0, 1.0)
