"""Motion search of the swift family: block matching, from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.latent import QUALITIES
from nvc_models.swift.motion import Positions
from nvc_models.swift.planes import BLOCK, luma

AROUND = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (1, -1), (-1, 1), (1, 1))
"""Steps (x, y) to the neighbours of a block or of a vector: sides first, then corners."""
SIDES = AROUND[:4]


class BitCost(nn.Module):
    """What the search pays for a bit: mean difference of a 16x16 block, by quality.

    From 2.4e-4 at the lowest quality to 4e-5 at the highest: with the quantisers that such
    qualities have, this is what encoders of H.264 use.
    """

    LOW, HIGH = 2.4e-4, 4e-5

    def forward(self, quality: Tensor) -> Tensor:
        """Map quality (B,), [0, 63], to costs (B, 1, 1, 1)."""
        share = quality.float() / (QUALITIES - 1)
        cost: Tensor = self.LOW * (self.HIGH / self.LOW) ** share
        return cost.view(-1, 1, 1, 1)

    def table(self) -> Tensor:
        """Costs of every quality, float32 (64, 1)."""
        return self.forward(torch.arange(QUALITIES)).view(QUALITIES, 1)


@dataclass(frozen=True)
class _Level:
    """Blocks of one size: ``scale`` times 8 pixels each way."""

    frame: Tensor
    """Luma in blocks of 8x8, (B, 1, 8, 8, H/8, W/8)."""
    reference: Tensor
    """Luma (B, 1, H, W)."""
    likely: Tensor
    """Vectors that cost least to send, (B, 2, h, w)."""
    bit_cost: Tensor
    """What a bit spread over a block costs, (B, 1, 1, 1)."""
    scale: int
    row_step: int
    """Every so many rows are compared for whole pixels."""


class MotionSearch(nn.Module):
    """Finds vectors; encoders only, so that nothing depends on its last bit. Needs no training.

    Blocks of 16x16: full search at quarter resolution, then ever smaller steps, and the vectors of
    neighbours. Blocks of 8x8 start from what their 16x16 found, and from its neighbours'; four
    that gain too little by moving apart move together. Costs are mean absolute differences of luma
    in [0, 1], and what a vector costs to send.
    """

    REACH = 7
    LENGTH_BITS = 1.0
    """For each step of the full search."""
    STILL_BITS = 6.0
    """What no motion saves."""
    CHANGE_BITS = ((6.0, 0.0), (2.64, 0.84), (0.88, 2.6), (0.24, 5.16), (0.06, 8.04))
    """For a difference to the likely vector in pixels: the least of lines (slope, start).

    They follow 1.5 log2(1 + 4 x), but no logarithm is in the graph.
    """
    SPLIT_BITS = 5.0
    """What four vectors cost more than one, besides their differences."""
    TIE = 1e-7

    def forward(self, frame: Tensor, reference: Tensor, bit_cost: Tensor) -> Tensor:
        """Vectors (B, 2, H/8, W/8) in pixels, to a frame (B, 3, H, W) from luma (B, 1, H, W).

        ``bit_cost``: mean difference of a 16x16 block that is worth a bit, (B, 1, 1, 1).
        """
        y = luma(frame) - 0.5
        coarse = self._full_search(F.avg_pool2d(y, 4), F.avg_pool2d(reference, 4), bit_cost)
        b, _, h, w = y.shape
        blocks = F.pixel_unshuffle(y, BLOCK).view(b, 1, BLOCK, BLOCK, h // BLOCK, w // BLOCK)
        large = _Level(blocks, reference, _mean_around(coarse), bit_cost, 2, 2)
        best, cost = self._start(large, coarse)
        for step in (2.0, 1.0):
            best, cost = self._better(large, best, cost, _steps(best, step, AROUND), whole=True)
        best, cost = self._better(large, best, cost, _neighbours(best), whole=True)
        best, _ = self._better(large, best, cost, _steps(best, 1.0, AROUND), whole=True)

        large = replace(large, likely=_mean_around(best))
        cost = self._costs(large, best, whole=False)
        for step in (0.5, 0.25):
            best, cost = self._better(large, best, cost, _steps(best, step, SIDES))
        return self._split(large, best)

    def _split(self, large: _Level, together: Tensor) -> Tensor:
        """Vectors (B, 2, H/8, W/8), from those of blocks of 16x16 (B, 2, H/16, W/16)."""
        costly = 4.0 * large.bit_cost
        small = replace(large, likely=_repeat(together), bit_cost=costly, scale=1, row_step=1)
        start = _repeat(together)
        first = cost = self._costs(small, start)
        vectors = start
        around = torch.stack([_repeat(v) for v in _neighbours(together).unbind(1)], 1)
        vectors, cost = self._better(small, vectors, cost, around)
        for step in (0.5, 0.25):
            vectors, cost = self._better(small, vectors, cost, _steps(vectors, step, SIDES))
        gain = F.avg_pool2d(first - cost, 2)
        apart = (gain > self.SPLIT_BITS * large.bit_cost).to(gain.dtype)
        return start + (vectors - start) * _repeat(apart)

    def _full_search(self, frame: Tensor, reference: Tensor, bit_cost: Tensor) -> Tensor:
        """Vectors (B, 2, h/4, w/4) of the least error; a channel for each displacement."""
        side, (h, w) = 2 * self.REACH + 1, frame.shape[-2:]
        padded = F.pad(reference, (self.REACH,) * 4, mode="replicate")
        rows = torch.cat([padded[:, :, i : i + h] for i in range(side)], 1)
        moved = torch.cat([rows[..., i : i + w] for i in range(side)], 1)
        half = F.avg_pool2d((frame - moved).abs(), 2)
        error = F.avg_pool2d(half, 4, 2, 1, count_include_pad=False)
        steps = torch.arange(side, device=frame.device, dtype=error.dtype) - self.REACH
        dx, dy = steps.repeat_interleave(side), steps.repeat(side)
        length = (dx.abs() + dy.abs()).view(1, -1, 1, 1)
        bits = self.LENGTH_BITS * length + self.STILL_BITS * (length > 0)
        cost = error + bit_cost * bits
        return 4.0 * _pick(cost, torch.stack((dx, dy), 1).view(1, -1, 2, 1, 1))[0]

    def _start(self, level: _Level, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Return the better of a field (B, 2, h, w) and no motion, and its cost (B, 1, h, w)."""
        still = torch.zeros_like(coarse)
        cost = self._costs(level, still, whole=True) - self.STILL_BITS * level.bit_cost
        return self._better(level, still, cost, coarse[:, None], whole=True)

    def _better(
        self,
        level: _Level,
        best: Tensor,
        cost: Tensor,
        candidates: Tensor,
        *,
        whole: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return the best of vectors (B, 2, h, w), candidates (B, K, 2, h, w), and its cost.

        ``cost``: of the vectors, (B, 1, h, w).
        """
        costs = torch.cat((cost, self._costs(level, candidates, whole=whole)), 1)
        return _pick(costs, torch.cat((best[:, None], candidates), 1))

    def _costs(self, level: _Level, candidates: Tensor, *, whole: bool = False) -> Tensor:
        """Costs (B, K, h, w) of vectors (B, K, 2, h, w), or of one set of them (B, 2, h, w)."""
        if candidates.dim() == 4:
            candidates = candidates[:, None]
        x, y = candidates[:, :, 0], candidates[:, :, 1]
        vectors = (x, y) if level.scale == 1 else (_repeat(x), _repeat(y))
        positions = Positions(level.reference.shape[-2:], *vectors, BLOCK)
        moved = (
            positions.whole(level.reference, level.row_step)
            if whole
            else positions.linear(level.reference)
        )
        frame = level.frame[:, :, :: level.row_step] if whole else level.frame
        error = (frame - moved).abs().mean((2, 3))
        if level.scale > 1:
            error = F.avg_pool2d(error, level.scale)
        likely = level.likely[:, None]
        change = (candidates - likely).abs()
        lines = [change * slope + start for slope, start in self.CHANGE_BITS]
        bits = reduce(torch.minimum, lines).sum(2)
        return error + level.bit_cost * bits


def _steps(vectors: Tensor, step: float, directions: tuple[tuple[int, int], ...]) -> Tensor:
    """Vectors (B, 2, h, w) one step aside, (B, K, 2, h, w)."""
    offsets = torch.tensor(directions, device=vectors.device, dtype=vectors.dtype) * step
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


def _pick(costs: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Of candidates (B, K, 2, h, w) those of the least costs (B, K, h, w), and these (B, 1, h, w).

    Of equals the first. (Not argmin: OpenVINO computes it wrongly on CPUs with AVX only.)
    """
    order = torch.arange(costs.shape[1], device=costs.device, dtype=costs.dtype)
    costs = costs + MotionSearch.TIE * order.view(1, -1, 1, 1)
    least = costs.amin(1, keepdim=True)
    chosen = (costs <= least).to(costs.dtype)
    share = chosen / chosen.sum(1, keepdim=True)
    return (candidates * share[:, :, None]).sum(1), least
