"""Motion search of the swift family: block matching, from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.swift.interpolation import Positions, QuarterRows
from nvc_models.swift.motion_cost import (
    ResidualBits,
    SubpixelWindow,
    block_bits,
    of_large_blocks,
    vector_bits,
)
from nvc_models.swift.planes import BLOCK

AROUND = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (1, -1), (-1, 1), (1, 1))
"""Steps (x, y) to the neighbours of a block or of a vector: sides first, then corners."""
SIDES = AROUND[:4]


@dataclass(frozen=True)
class _Pictures:
    """What vectors are compared with, in steps of the quantiser."""

    blocks: Tensor
    """Luma of the frame in blocks of 8x8, (B, 64, H/8, W/8)."""
    wanted: Tensor
    """The same as :class:`ResidualBits` transforms it."""
    before: QuarterRows
    """Luma before, (B, 1, H, W)."""

    @property
    def rows(self) -> Tensor:
        """The frame as :meth:`Positions.whole` gives blocks, (B, 1, 8, 8, H/8, W/8)."""
        b, _, h, w = self.blocks.shape
        return self.blocks.view(b, 1, BLOCK, BLOCK, h, w)


class MotionSearch(nn.Module):
    """Finds vectors; encoders only, so that nothing depends on its last bit. Needs no training.

    Blocks of 16x16: full searches at low resolutions, then ever smaller whole steps and the
    vectors of neighbours, by absolute differences of luma. Then quarter pixels, by the bits that
    :class:`ResidualBits` expects and those of the vectors, again with the neighbours' vectors: what
    is smooth costs little. Blocks of 8x8 choose near their 16x16's and its neighbours' vectors;
    four that gain too little by moving apart move together.
    """

    FULL_SEARCHES = ((4, 5), (8, 7))
    """At one in so many pixels, and how far in these: the first finds more, the second farther."""
    BIT_COST = 4.3e-4
    """Mean difference of a 16x16 block that is worth a bit, in steps of the quantiser."""
    LENGTH_BITS = 1.0
    """For each step of the full search."""
    STILL_BITS = 6.0
    """What no motion saves."""
    ROW_STEP = 2
    """Every so many rows are compared for whole pixels."""
    ROUNDS = 2
    """How often vectors are compared with those of their neighbours."""
    SPLIT_BITS = 8.0
    """What four vectors cost more than one, besides their differences."""
    TIE, TIE_BITS = 1e-6, 1.0 / 64
    """Added to a cost for each candidate before: of equals the first is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.bits = ResidualBits()
        self.window = SubpixelWindow(self.bits)

    def forward(self, luma: Tensor, before: QuarterRows) -> Tensor:
        """Vectors (B, 2, H/8, W/8) in pixels, to luma (B, 1, H, W) from luma before.

        Both are in steps of the quantiser, see :class:`SearchStep`.
        """
        blocks, reference = F.pixel_unshuffle(luma, BLOCK), before.plane
        pictures = _Pictures(blocks, self.bits.transform(blocks), before)
        coarse = [self._full_search(luma, reference, *of) for of in self.FULL_SEARCHES]
        whole = self._whole_pixels(pictures, *coarse)
        around = _repeat(whole)
        bits = self.window(pictures.wanted, reference, around)
        together = self._together(pictures, whole, of_large_blocks(bits))
        return self._split(pictures, together, self.window.candidates(around), bits)

    def _full_search(self, frame: Tensor, reference: Tensor, scale: int, reach: int) -> Tensor:
        """Vectors (B, 2, H/16, W/16) of the least error of luma (B, 1, H, W), of 32x32 pixels.

        At 1/``scale`` of the resolution, 4 or 8; a channel for each displacement.
        """
        frame, reference = F.avg_pool2d(frame, scale), F.avg_pool2d(reference, scale)
        side, (h, w) = 2 * reach + 1, frame.shape[-2:]
        padded = F.pad(reference, (reach,) * 4, mode="replicate")
        rows = torch.cat([padded[:, :, i : i + h] for i in range(side)], 1)
        moved = torch.cat([rows[..., i : i + w] for i in range(side)], 1)
        at_eighth = F.avg_pool2d((frame - moved).abs(), BLOCK // scale)
        error = F.avg_pool2d(at_eighth, 4, 2, 1, count_include_pad=False)
        steps = torch.arange(side, device=frame.device, dtype=error.dtype) - reach
        dx, dy = steps.repeat_interleave(side), steps.repeat(side)
        length = (dx.abs() + dy.abs()).view(1, -1, 1, 1)
        bits = self.LENGTH_BITS * length + self.STILL_BITS * (length > 0)
        cost = error + self.BIT_COST * bits
        return scale * _pick(cost, torch.stack((dx, dy), 1).view(1, -1, 2, 1, 1), self.TIE)

    def _whole_pixels(self, pictures: _Pictures, *coarse: Tensor) -> Tensor:
        """Vectors (B, 2, H/16, W/16) in whole pixels, from coarse ones."""
        likely, still = _mean_around(coarse[0]), torch.zeros_like(coarse[0])
        best = self._least(pictures, likely, still, torch.stack(coarse, 1), still=True)
        for steps in (2.0, 1.0):
            best = self._least(pictures, likely, best, _steps(best, steps))
        best = self._least(pictures, likely, best, _neighbours(best))
        return self._least(pictures, likely, best, _steps(best, 1.0))

    def _least(
        self,
        pictures: _Pictures,
        likely: Tensor,
        best: Tensor,
        others: Tensor,
        *,
        still: bool = False,
    ) -> Tensor:
        """Of vectors (B, 2, h, w) and others (B, K, 2, h, w) those of least absolute difference.

        ``still``: the first is no motion, which costs less to send.
        """
        candidates = torch.cat((best[:, None], others), 1)
        x, y = (_repeat(candidates[:, :, i]) for i in range(2))
        reference = pictures.before.plane
        moved = Positions(reference.shape[-2:], x, y, BLOCK).whole(reference, self.ROW_STEP)
        difference = (pictures.rows[:, :, :: self.ROW_STEP] - moved).abs().mean((2, 3))
        costs = F.avg_pool2d(difference, 2) + self.BIT_COST * vector_bits(candidates, likely)
        if still:
            first, rest = costs[:, :1], costs[:, 1:]
            costs = torch.cat((first - self.STILL_BITS * self.BIT_COST, rest), 1)
        return _pick(costs, candidates, self.TIE)

    def _together(self, pictures: _Pictures, whole: Tensor, bits: Tensor) -> Tensor:
        """Vectors (B, 2, H/16, W/16) in quarter pixels.

        ``bits`` (B, K, H/16, W/16): those of the windows round the whole ones.
        """
        near = self.window.candidates(whole)
        best = _pick(bits + vector_bits(near, _mean_around(whole)), near, self.TIE_BITS)
        for _ in range(self.ROUNDS):
            likely = _mean_around(best)
            rounded = torch.round(likely * 4.0) * 0.25
            others = torch.cat((best[:, None], _neighbours(best), rounded[:, None]), 1)
            theirs = of_large_blocks(self._block_bits(pictures, _repeat_each(others)))
            candidates = torch.cat((others, near), 1)
            costs = torch.cat((theirs, bits), 1) + vector_bits(candidates, likely)
            best = _pick(costs, candidates, self.TIE_BITS)
        return best

    def _split(self, pictures: _Pictures, together: Tensor, near: Tensor, bits: Tensor) -> Tensor:
        """Vectors (B, 2, H/8, W/8), from those of blocks of 16x16 (B, 2, H/16, W/16).

        ``near`` (B, K, 2, H/8, W/8) and ``bits``: windows round the whole vectors, and their bits.
        """
        start = _repeat(together)
        others = torch.cat((start[:, None], _repeat_each(_neighbours(together))), 1)
        theirs = self._block_bits(pictures, others)
        candidates = torch.cat((others, near), 1)
        costs = torch.cat((theirs, bits), 1) + vector_bits(candidates, start)
        apart = _pick(costs, candidates, self.TIE_BITS)
        gain = of_large_blocks(theirs[:, :1] - costs.amin(1, keepdim=True))
        chosen = (gain > self.SPLIT_BITS).to(gain.dtype)
        return start + (apart - start) * _repeat(chosen)

    def _block_bits(self, pictures: _Pictures, vectors: Tensor) -> Tensor:
        return block_bits(self.bits, pictures.wanted, pictures.before, vectors)


def _steps(vectors: Tensor, step: float) -> Tensor:
    """Vectors (B, 2, h, w) one step aside, (B, 8, 2, h, w)."""
    offsets = torch.tensor(AROUND, device=vectors.device, dtype=vectors.dtype) * step
    return vectors[:, None] + offsets.view(1, -1, 2, 1, 1)


def _neighbours(vectors: Tensor) -> Tensor:
    """Vectors of the blocks at the four sides, (B, 4, 2, h, w)."""
    h, w = vectors.shape[-2:]
    padded = F.pad(vectors, (1, 1, 1, 1), mode="replicate")
    return torch.stack([padded[..., 1 + y : 1 + y + h, 1 + x : 1 + x + w] for x, y in SIDES], 1)


def _mean_around(vectors: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(vectors, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _repeat(x: Tensor) -> Tensor:
    """Twice as many blocks each way: (B, C, h, w) to (B, C, 2h, 2w)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _repeat_each(vectors: Tensor) -> Tensor:
    """Twice as many blocks each way: (B, K, 2, h, w) to (B, K, 2, 2h, 2w)."""
    return torch.stack([_repeat(v) for v in vectors.unbind(1)], 1)


def _pick(costs: Tensor, candidates: Tensor, tie: float) -> Tensor:
    """Of candidates (B, K, 2, h, w) those of the least costs (B, K, h, w), as (B, 2, h, w).

    Of equals the first: ``tie`` is added for each before. (Not argmin: OpenVINO computes it wrongly
    on CPUs with AVX only.)
    """
    order = torch.arange(costs.shape[1], device=costs.device, dtype=costs.dtype)
    costs = costs + tie * order.view(1, -1, 1, 1)
    chosen = (costs <= costs.amin(1, keepdim=True)).to(costs.dtype)
    share = chosen / chosen.sum(1, keepdim=True)
    return (candidates * share[:, :, None]).sum(1)
