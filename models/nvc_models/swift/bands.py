"""How much of the prediction is kept: all, its low frequencies, or the mean of each block.

Where the frame before foretells little, its detail is wrong, and what is wrong in the prediction
has to be coded away. So the encoder chooses for every 16x16 pixels, as others choose intra blocks:
what a prediction by means leaves to be coded is the picture itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import FixedPointwise
from nvc_models.swift.dct import dct
from nvc_models.swift.interpolation import QuarterRows
from nvc_models.swift.motion_cost import ResidualBits, of_large_blocks
from nvc_models.swift.planes import BLOCK, CHANNELS, LUMA

ALL, LOW, MEAN = 0.0, 1.0, -1.0
"""Values of the choice."""
LOW_LUMA, LOW_CHROMA = 3, 1
"""Highest sums of horizontal and vertical frequency that are low, of blocks of 8x8 and 4x4."""


def low_frequencies(side: int, highest: int) -> Tensor:
    """Which coefficients of a square's DCT are low, (side**2,) of truth values; the mean's is."""
    frequency = torch.arange(side)
    return (frequency[:, None] + frequency).flatten() <= highest


class Bands(nn.Module):
    """Reduces moved blocks to the bands that the encoder chose."""

    def __init__(self) -> None:
        super().__init__()
        rows = torch.zeros(0, CHANNELS)
        for first, side, highest in (
            (0, BLOCK, LOW_LUMA),
            (LUMA, BLOCK // 2, LOW_CHROMA),
            ((LUMA + CHANNELS) // 2, BLOCK // 2, LOW_CHROMA),
        ):
            kept = dct(side)[low_frequencies(side, highest)]
            plane = torch.zeros(len(kept), CHANNELS)
            plane[:, first : first + side**2] = kept
            rows = torch.cat((rows, plane))
        is_mean = (rows.sum(1).abs() > 1e-3).float()[:, None]
        self.down, self.up = FixedPointwise(rows), FixedPointwise(rows.T)
        # A row for each band: how much of it stays where the choice is LOW, and where it is MEAN.
        self.shares = FixedPointwise(torch.cat((torch.ones_like(is_mean), is_mean), 1))

    def forward(self, moved: Tensor, choice: Tensor) -> Tensor:
        """Map blocks (B, 96, H/8, W/8) and choices (B, 1, H/16, W/16); blocks of ALL stay exact."""
        choice = F.interpolate(choice.clamp(MEAN, LOW), scale_factor=2.0, mode="nearest")
        low, mean = choice.clamp(min=0.0), (-choice).clamp(min=0.0)
        shares = self.shares(torch.cat((low, mean), 1))
        kept: Tensor = self.up(self.down(moved) * shares)
        return moved * (1.0 - low - mean) + kept


class BandSearch(nn.Module):
    """Chooses the bands whose prediction leaves the least to code; encoders only."""

    CHOICE_BITS = 4.0
    """What a choice other than ALL costs."""

    def __init__(self, bits: ResidualBits) -> None:
        super().__init__()
        self.bits = bits
        low = low_frequencies(BLOCK, LOW_LUMA).float()
        self.low: Tensor
        self.mean: Tensor
        self.register_buffer("low", low.view(-1, 1, 1), persistent=False)
        self.register_buffer("mean", torch.eye(LUMA)[0].view(-1, 1, 1), persistent=False)

    def forward(self, luma: Tensor, before: QuarterRows, vectors: Tensor) -> Tensor:
        """Choose (B, 1, H/16, W/16), for luma (B, 1, H, W) moved from luma before.

        Both are in steps of the quantiser; ``vectors`` (B, 2, H/8, W/8) in pixels.
        """
        moved = before.blocks(vectors).flatten(1, 3)
        wanted, found = (self.bits.transform(x) for x in (F.pixel_unshuffle(luma, BLOCK), moved))
        every, low, mean = (
            of_large_blocks(self.bits.total(self.bits.worth(wanted - kept)))
            for kept in (found, found * self.low, found * self.mean)
        )
        pays = (torch.minimum(low, mean) + self.CHOICE_BITS < every).to(low.dtype)
        return pays * torch.where(low <= mean, LOW, MEAN)
