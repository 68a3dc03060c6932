"""Motion compensation of the swift family, in blocks of 8x8 pixels.

Vectors (B, 2, H/8, W/8), in pixels, say where each block comes from in the frame before: channel 0
horizontally (positive: from the right), channel 1 vertically. Pixels are fetched one by one, in
the order in which the transforms want them: a position at 1/8 for each block, a channel for each
of its pixels. So nothing is transposed, and coordinates are whole numbers plus a fraction, which
float32 holds as well at 4000 pixels as at 40. (``GridSample`` normalises them to [-1, 1] and loses
what the width takes; on CPUs it is slower, too.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import FixedPointwise
from nvc_models.swift.planes import BLOCK

VECTORS = 8
"""Channels of the coded vectors: two components of four blocks at each latent position."""


class VectorTransform(nn.Module):
    """Haar transform of the vectors of the 2x2 blocks at a latent position.

    Blocks that move together leave three of four coefficients 0.
    """

    def __init__(self) -> None:
        super().__init__()
        haar = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
        both = torch.kron(torch.eye(2), haar.float())
        means_first = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
        self.analysis = FixedPointwise(both[means_first] / 4.0)
        self.synthesis = FixedPointwise(both[:, means_first])

    def forward(self, vectors: Tensor) -> Tensor:
        """Map vectors (B, 2, H/8, W/8) to coefficients (B, 8, H/16, W/16), means first."""
        y: Tensor = self.analysis(F.pixel_unshuffle(vectors, 2))
        return y

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Map coefficients (B, 8, H/16, W/16) to vectors (B, 2, H/8, W/8)."""
        return F.pixel_shuffle(self.synthesis(coefficients), 2)


Taps = tuple[Tensor, ...]


def linear_taps(fraction: Tensor) -> Taps:
    """Weights of the samples at 0 and 1 for a place in [0, 1) between them."""
    return 1.0 - fraction, fraction


def cubic_taps(fraction: Tensor) -> Taps:
    """Weights of the samples at -1, 0, 1 and 2 (Keys, 1981; a = -1/2)."""
    rest = 1.0 - fraction
    bend = -0.5 * fraction * rest
    before, after = bend * rest, bend * fraction
    return before, rest - 2.0 * before + after, fraction + before - 2.0 * after, after


class Positions:
    """Where the pixels of all blocks come from: their vectors added to their places.

    A block is fetched with the samples around it that interpolation needs; as all its pixels
    have the same vector, each weight is one number for a block. ``K`` vectors at once, for the
    search, need planes of one channel.
    """

    def __init__(self, size: Sequence[int], x: Tensor, y: Tensor, side: int) -> None:
        """Take the size (H, W) of planes, and vectors (B, K, H/side, W/side) in their pixels."""
        self.size, self.side = size, side
        self.left, self.top = x.floor(), y.floor()
        self.right_of, self.below = x - self.left, y - self.top

    def whole(self, plane: Tensor, row_step: int = 1) -> Tensor:
        """Fetch (B, C, H, W) where vectors are whole numbers, every so many rows of each block.

        Returns (B, C or K, side / row_step, side, H/side, W/side).
        """
        return self.fetch(plane, 0, self.side, row_step)

    def linear(self, plane: Tensor) -> Tensor:
        """Fetch (B, C, H, W) between samples; returns (B, C or K, side, side, H/side, W/side)."""
        patch = self.fetch(plane, 0, self.side + 1)
        return self._filter(patch, linear_taps)

    def cubic(self, plane: Tensor) -> Tensor:
        """Fetch between samples by cubic convolution; as :meth:`linear`."""
        patch = self.fetch(plane, 1, self.side + 3)
        return self._filter(patch, cubic_taps)

    def fetch(self, plane: Tensor, before: int, count: int, row_step: int = 1) -> Tensor:
        """Fetch patches of ``count`` samples each way, the first ``before`` samples early."""
        height, width = self.size
        b, _, h, w = self.left.shape
        steps = torch.arange(count, device=plane.device, dtype=torch.float32) - float(before)
        across = torch.arange(w, device=plane.device, dtype=torch.float32) * float(self.side)
        down = torch.arange(h, device=plane.device, dtype=torch.float32) * float(self.side)
        rows = steps[::row_step]
        x = steps.view(1, count, 1, 1) + across + self.left[:, :, None, None]
        y = rows.view(len(rows), 1, 1, 1) + down.view(h, 1) + self.top[:, :, None, None]
        lines = _inside(y, height) * _number(y, width)
        index = lines.int() + _inside(x, width).int()
        flat = plane.flatten(2)
        places = index.reshape(b, 1, -1)
        if flat.shape[1] > 1:
            places = places.expand(-1, flat.shape[1], -1)
        return torch.gather(flat, 2, places).view(b, -1, len(rows), count, h, w)

    def _filter(self, patch: Tensor, taps: Callable[[Tensor], Taps]) -> Tensor:
        for dim, fraction in ((2, self.below), (3, self.right_of)):
            weights = taps(fraction[:, :, None, None])
            filtered = patch.narrow(dim, 0, self.side) * weights[0]
            for i, weight in enumerate(weights[1:], 1):
                filtered = filtered + patch.narrow(dim, i, self.side) * weight
            patch = filtered
        return patch


def _inside(position: Tensor, size: int) -> Tensor:
    """Places (B, K, i, j, h, w) of a row or column, the nearest inside for those beyond."""
    return position.clamp(min=0.0).minimum(_number(position, size) - 1.0)


def _number(like: Tensor, size: int) -> Tensor:
    """Return a size as a tensor of one element: a number would stay the exported picture's."""
    return torch.full_like(like[:1, :1, :1, :1, :1, :1], size * 1.0)


def predict(luma: Tensor, chroma: Tensor, vectors: Tensor) -> Tensor:
    """Move luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) by vectors (B, 2, H/8, W/8).

    Returns blocks of both, (B, 96, H/8, W/8).
    """
    x, y = vectors[:, :1], vectors[:, 1:]
    fine = Positions(luma.shape[-2:], x, y, BLOCK).cubic(luma)
    coarse = Positions(chroma.shape[-2:], x * 0.5, y * 0.5, BLOCK // 2).linear(chroma)
    return torch.cat((fine.flatten(1, 3), coarse.flatten(1, 3)), 1)
