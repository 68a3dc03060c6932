"""What a vector costs: bits for itself, and for what its prediction leaves to code."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import FixedPointwise
from nvc_models.latent import QUALITIES
from nvc_models.rate import LOG_STEP_HIGH, LOG_STEP_LOW, MAX_QUALITY
from nvc_models.swift.dct import dct
from nvc_models.swift.interpolation import FILTERS, PHASES, TAPS, Positions, QuarterRows
from nvc_models.swift.planes import BLOCK

CHANGE_BITS = ((6.0, 0.0), (2.64, 0.84), (0.88, 2.6), (0.24, 5.16), (0.06, 8.04))
"""For a difference to the likely vector in pixels: the least of lines (slope, start).

They follow 1.5 log2(1 + 4 x), but no logarithm is in the graph.
"""


class SearchStep(nn.Module):
    """Quantisation step that the search reckons with: by quality that of the analytic start."""

    def forward(self, quality: Tensor) -> Tensor:
        """Map quality (B,), [0, 63], to steps (B, 1, 1, 1)."""
        share = quality.float() / MAX_QUALITY
        step = torch.exp(LOG_STEP_LOW + (LOG_STEP_HIGH - LOG_STEP_LOW) * share)
        return step.view(-1, 1, 1, 1)

    def table(self) -> Tensor:
        """Return the steps of every quality, float32 (64, 1)."""
        return self.forward(torch.arange(QUALITIES)).view(QUALITIES, 1)


def vector_bits(vectors: Tensor, likely: Tensor) -> Tensor:
    """Bits (B, K, h, w) of vectors (B, K, 2, h, w), given the likely ones, (B, 2, h, w)."""
    change = (vectors - likely[:, None]).abs()
    lines = [change * slope + start for slope, start in CHANGE_BITS]
    return reduce(torch.minimum, lines).sum(2)


class ResidualBits(nn.Module):
    """Bits that blocks of 8x8 of a difference are worth: rate, and distortion at the loss's price.

    A coefficient costs its square, which is what leaving it out costs, up to what it takes to code
    one. (Large ones take more than that; to count it takes further passes over the largest tensor
    of a search.) Differences are in steps of the quantiser. One unit of squared error is worth
    6 / ln 2 bits, see :mod:`nvc_models.rate`.
    """

    PRICE = 6.0 / math.log(2.0)
    UNIT = math.sqrt(PRICE)
    """Of coefficients, for each step: their squares are bits."""
    SYMBOL_BITS = 7.0
    """Of a symbol other than 0."""
    LUMA_WEIGHT = math.sqrt(3.0)
    """Steps are those of RGB, and an error of luma is one of all three."""

    def __init__(self) -> None:
        super().__init__()
        self.transform = FixedPointwise(dct(BLOCK) * (self.LUMA_WEIGHT * self.UNIT))
        self.negative = FixedPointwise(-self.transform.weight[:, :, 0, 0])
        self.total = FixedPointwise(torch.ones(1, BLOCK**2))

    def forward(self, wanted: Tensor, blocks: Tensor) -> Tensor:
        """Bits (B, 1, h, w) of what is wanted, as ``transform`` gives it, without blocks.

        ``blocks`` (B, 64, h, w): luma in steps. The difference is a convolution's last addition.
        """
        bits: Tensor = self.total(self.worth(self.negative(blocks) + wanted))
        return bits

    def worth(self, coefficients: Tensor) -> Tensor:
        """Bits of each coefficient as ``transform`` gives it; same shape."""
        limit = math.sqrt(self.SYMBOL_BITS)
        limited = coefficients.clamp(-limit, limit)
        return limited * limited


class SubpixelWindow(nn.Module):
    """Bits of all quarter-pixel vectors up to half a pixel away from whole ones.

    Interpolation and transform are linear, so each block is fetched once, with the samples around
    it, and two matrices give the coefficients for every vector.
    """

    REACH = 2
    """Quarter pixels each way."""

    SIDE = BLOCK + TAPS
    FETCHED = range(-TAPS // 2, BLOCK + TAPS // 2)

    def __init__(self, bits: ResidualBits) -> None:
        super().__init__()
        self.bits = bits
        quarters = torch.arange(-self.REACH, self.REACH + 1)
        count = len(quarters)
        rows = torch.stack([self._interpolation(int(number)) for number in quarters])
        self.across = nn.ModuleList(
            FixedPointwise(torch.kron(torch.eye(self.SIDE), row)) for row in rows
        )
        weight = bits.transform.weight[:, :, 0, 0].view(-1, BLOCK, BLOCK)
        down = -torch.einsum("cij,kip->kcpj", weight, rows)
        self.down = FixedPointwise(down.reshape(count * BLOCK**2, self.SIDE * BLOCK))
        self.total = FixedPointwise(torch.kron(torch.eye(count), torch.ones(1, BLOCK**2)))
        shifts = quarters / PHASES
        x, y = shifts.repeat_interleave(count), shifts.repeat(count)
        self.steps: Tensor
        self.register_buffer("steps", torch.stack((x, y), 1), persistent=False)

    def _interpolation(self, quarters: int) -> Tensor:
        """Matrix (8, SIDE) from fetched samples in a row to those of a block moved so far."""
        whole, phase = divmod(quarters, PHASES)
        matrix = torch.zeros(BLOCK, self.SIDE)
        for i in range(BLOCK):
            matrix[i, i + 1 + whole :][:TAPS] = FILTERS[phase]
        return matrix

    def candidates(self, vectors: Tensor) -> Tensor:
        """All vectors (B, K, 2, h, w) of the windows round whole ones (B, 2, h, w)."""
        return vectors[:, None] + self.steps.view(1, -1, 2, 1, 1)

    def forward(self, wanted: Tensor, luma: Tensor, vectors: Tensor) -> Tensor:
        """Bits (B, K, H/8, W/8) of the candidates of whole vectors (B, 2, H/8, W/8).

        ``wanted``: the frame, as :class:`ResidualBits` transforms it; ``luma``: that before,
        (B, 1, H, W), in steps.
        """
        positions = Positions(luma.shape[-2:], vectors[:, :1], vectors[:, 1:], BLOCK)
        patch = positions.fetch(luma, self.FETCHED, self.FETCHED).flatten(1, 3)
        count = 2 * self.REACH + 1
        wanted = torch.cat([wanted] * count, 1)
        columns = (across(patch) for across in self.across)
        found = [self.total(self.bits.worth(self.down(column) + wanted)) for column in columns]
        return torch.cat(found, 1)


def block_bits(
    bits: ResidualBits, wanted: Tensor, reference: QuarterRows, vectors: Tensor
) -> Tensor:
    """Bits (B, K, H/8, W/8) of vectors (B, K, 2, H/8, W/8); else as :class:`SubpixelWindow`."""
    moved = (reference.blocks(vector).flatten(1, 3) for vector in vectors.unbind(1))
    return torch.cat([bits(wanted, blocks) for blocks in moved], 1)


def of_large_blocks(bits: Tensor) -> Tensor:
    """Add up the bits of the four blocks in each of 16x16: (B, K, 2h, 2w) to (B, K, h, w)."""
    return 4.0 * F.avg_pool2d(bits, 2)
