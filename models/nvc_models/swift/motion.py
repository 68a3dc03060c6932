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
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import FixedPointwise
from nvc_models.swift.planes import BLOCK

VECTORS = 8
"""Channels of the coded vectors: two components of four blocks at each latent position."""


class VectorTransform(nn.Module):
    """Vectors of the 2x2 blocks at a latent position as one vector and differences, whole numbers.

    The vector of the first block; how those to its right and below differ; how the last differs
    from what these make likely. Blocks that move together leave three of four coefficients 0.
    """

    UNIT = 0.25
    """Pixels."""

    def __init__(self) -> None:
        super().__init__()
        there = torch.tensor([[1, 0, 0, 0], [-1, 1, 0, 0], [-1, 0, 1, 0], [1, -1, -1, 1]])
        back = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]])
        there, back = (torch.kron(torch.eye(2), matrix.float()) for matrix in (there, back))
        first_vector = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
        self.analysis = FixedPointwise(there[first_vector] / self.UNIT)
        self.synthesis = FixedPointwise(back[:, first_vector] * self.UNIT)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map vectors (B, 2, H/8, W/8) in pixels to coefficients (B, 8, H/16, W/16) in quarters."""
        y: Tensor = self.analysis(F.pixel_unshuffle(vectors, 2))
        return y

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Map coefficients (B, 8, H/16, W/16) to vectors (B, 2, H/8, W/8)."""
        return F.pixel_shuffle(self.synthesis(coefficients), 2)


Taps = tuple[Tensor, ...]
Bends = tuple[tuple[float, float], ...]

CUBIC: Bends = ((-0.625, 0.625), (1.0, -1.375))
"""Cubic convolution of four samples (Keys, 1981) with a = -5/8, a little sharper than its -1/2."""
SIX: Bends = ((0.163, -0.11), (-0.755, 0.481), (0.8915, -0.97))
EIGHT: Bends = ((-0.074, 0.089), (0.332, -0.325), (-0.995, 0.825), (1.1555, -1.426))
"""Six and eight samples: as sharp as can be where no frequency is amplified at quarter pixels.

A picture is moved again in every frame, and a filter that amplifies, as Lanczos' and HEVC's do by
up to 3 %, lets the last bits in which two platforms differ grow from frame to frame. Fitted by
least squares over frequencies up to 0.6 of the highest, weighted as in pictures.
"""
BENDS = {4: CUBIC, 6: SIX, 8: EIGHT}
"""Interpolation by the number of samples in a row that it takes."""


def linear_taps(fraction: Tensor) -> Taps:
    """Weights of the samples at 0 and 1 for a place in [0, 1) between them."""
    return 1.0 - fraction, fraction


def bent_taps(bends: Bends, fraction: Tensor) -> Taps:
    """Weights of as many samples on both sides of a place in [0, 1) between the middle ones.

    Those of linear interpolation, and for each sample on the left, the outermost first, and its
    counterpart on the right a cubic ``f (1 - f) (c + l f)`` of the distance ``f``. Their sum is 1.
    """
    rest = 1.0 - fraction
    bend = fraction * rest
    left = [bend * (c + slope * fraction) for c, slope in bends]
    right = [bend * (c + slope * rest) for c, slope in bends]
    return (*left[:-1], rest + left[-1], fraction + right[-1], *reversed(right[:-1]))


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
        return self.fetch(plane, range(0, self.side, row_step), range(self.side))

    def linear(self, plane: Tensor) -> Tensor:
        """Fetch (B, C, H, W) between samples; returns (B, C or K, side, side, H/side, W/side)."""
        patch = self.fetch(plane, range(self.side + 1), range(self.side + 1))
        return self._filter(patch, linear_taps)

    def bent(
        self,
        plane: Tensor,
        bends: Bends,
        rows: tuple[int, int] | None = None,
        columns: tuple[int, int] | None = None,
    ) -> Tensor:
        """Fetch between samples by :func:`bent_taps`, of each block all or some rows and columns.

        Returns (B, C or K, rows, columns, H/side, W/side).
        """
        first, last = len(bends) - 1, len(bends)
        (top, bottom), (left, right) = rows or (0, self.side), columns or (0, self.side)
        patch = self.fetch(
            plane, range(top - first, bottom + last), range(left - first, right + last)
        )
        return self._filter(patch, partial(bent_taps, bends))

    def fetch(self, plane: Tensor, rows: range, columns: range) -> Tensor:
        """Fetch these samples of every block, counted from its corner."""
        height, width = self.size
        b, _, h, w = self.left.shape
        across = torch.arange(w, device=plane.device, dtype=torch.float32) * float(self.side)
        down = torch.arange(h, device=plane.device, dtype=torch.float32) * float(self.side)
        x = _steps(columns, plane).view(1, -1, 1, 1) + across + self.left[:, :, None, None]
        y = _steps(rows, plane).view(-1, 1, 1, 1) + down.view(h, 1) + self.top[:, :, None, None]
        lines = _inside(y, height) * _number(y, width)
        index = lines.int() + _inside(x, width).int()
        flat = plane.flatten(2)
        places = index.reshape(b, 1, -1)
        if plane.is_cuda:  # 32 bits serve exported graphs; PyTorch on a GPU ran with 64 only
            places = places.long()
        if flat.shape[1] > 1:
            places = places.expand(-1, flat.shape[1], -1)
        return torch.gather(flat, 2, places).view(b, -1, len(rows), len(columns), h, w)

    def _filter(self, patch: Tensor, taps: Callable[[Tensor], Taps]) -> Tensor:
        for dim, fraction in ((2, self.below), (3, self.right_of)):
            weights = taps(fraction[:, :, None, None])
            count = patch.shape[dim] - len(weights) + 1
            filtered = patch.narrow(dim, 0, count) * weights[0]
            for i, weight in enumerate(weights[1:], 1):
                filtered = filtered + patch.narrow(dim, i, count) * weight
            patch = filtered
        return patch


def _steps(numbers: range, like: Tensor) -> Tensor:
    start, step = float(numbers.start), float(numbers.step)
    count = torch.arange(len(numbers), device=like.device, dtype=torch.float32)
    return count * step + start


def _inside(position: Tensor, size: int) -> Tensor:
    """Places (B, K, i, j, h, w) of a row or column, the nearest inside for those beyond."""
    return position.clamp(min=0.0).minimum(_number(position, size) - 1.0)


def _number(like: Tensor, size: int) -> Tensor:
    """Return a size as a tensor of one element: a number would stay the exported picture's."""
    return torch.full_like(like[:1, :1, :1, :1, :1, :1], size * 1.0)


class Compensation(nn.Module):
    """Moves the frame before by vectors.

    ``taps``: samples in a row that luma is interpolated from, 4, 6 or 8; chroma is from two.
    ``overlap``: luma of each block is blended, to its edges, with what the vectors of its four
    neighbours give (overlapped block motion compensation, Orchard and Sullivan, 1994). Theirs is
    from two samples fewer, not less than 4: most of the cost, and a small share of the picture.
    """

    SHARE = 0.35
    """Of a neighbour's vector at the edge; it falls to nothing at the middle of the block."""

    def __init__(self, taps: int, *, overlap: bool) -> None:
        super().__init__()
        self.bends, self.overlap = BENDS[taps], overlap
        self.neighbour_bends = BENDS[max(taps - 2, min(BENDS))]
        place = (torch.arange(BLOCK) + 0.5) / BLOCK
        share = self.SHARE * (1.0 - 2.0 * torch.minimum(place, 1.0 - place))
        self.across: Tensor
        self.down: Tensor
        self.register_buffer("across", share.view(BLOCK, 1, 1), persistent=False)
        self.register_buffer("down", share.view(BLOCK, 1, 1, 1), persistent=False)

    def forward(self, luma: Tensor, chroma: Tensor, vectors: Tensor) -> Tensor:
        """Move luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) by vectors (B, 2, H/8, W/8).

        Returns blocks of both, (B, 96, H/8, W/8).
        """
        x, y = vectors[:, :1], vectors[:, 1:]
        fine = Positions(luma.shape[-2:], x, y, BLOCK).bent(luma, self.bends)
        if self.overlap:
            fine = self._blend(fine, luma, vectors)
        coarse = Positions(chroma.shape[-2:], x * 0.5, y * 0.5, BLOCK // 2).linear(chroma)
        return torch.cat((fine.flatten(1, 3), coarse.flatten(1, 3)), 1)

    def _blend(self, own: Tensor, luma: Tensor, vectors: Tensor) -> Tensor:
        """Blend (B, 1, 8, 8, h, w) with what the neighbours' vectors give."""
        around = F.pad(vectors, (1, 1, 1, 1), mode="replicate")
        first, second = (0, BLOCK // 2), (BLOCK // 2, BLOCK)

        def moved(by: Tensor, **part: tuple[int, int]) -> Tensor:
            positions = Positions(luma.shape[-2:], by[:, :1], by[:, 1:], BLOCK)
            return positions.bent(luma, self.neighbour_bends, **part)

        above = moved(around[:, :, :-2, 1:-1], rows=first)
        below = moved(around[:, :, 2:, 1:-1], rows=second)
        left = moved(around[:, :, 1:-1, :-2], columns=first)
        right = moved(around[:, :, 1:-1, 2:], columns=second)
        vertical, horizontal = torch.cat((above, below), 2), torch.cat((left, right), 3)
        return own + (vertical - own) * self.down + (horizontal - own) * self.across
