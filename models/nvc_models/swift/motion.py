"""Motion of the swift family, in blocks of 8x8 pixels.

Vectors (B, 2, H/8, W/8), in pixels, say where each block comes from in the frame before: channel 0
horizontally (positive: from the right), channel 1 vertically. They are multiples of 1/4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import FixedPointwise
from nvc_models.swift.interpolation import PHASES, Positions, QuarterRows
from nvc_models.swift.planes import BLOCK

VECTORS = 8
"""Channels of the coded vectors: two components of four blocks at each latent position."""


class VectorTransform(nn.Module):
    """Vectors of the 2x2 blocks at a latent position as one vector and differences, whole numbers.

    The vector of the first block; how those to its right and below differ; how the last differs
    from what these make likely. Blocks that move together leave three of four coefficients 0.
    """

    UNIT = 1.0 / PHASES
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


class Compensation(nn.Module):
    """Moves the frame before by vectors.

    ``overlap``: luma of each block is blended, to its edges, with what the vectors of its four
    neighbours give (overlapped block motion compensation, Orchard and Sullivan, 1994).
    """

    SHARE = 0.35
    """Of a neighbour's vector at the edge; it falls to nothing at the middle of the block."""

    def __init__(self, *, overlap: bool) -> None:
        super().__init__()
        self.overlap = overlap
        place = (torch.arange(BLOCK) + 0.5) / BLOCK
        share = self.SHARE * (1.0 - 2.0 * torch.minimum(place, 1.0 - place))
        self.across: Tensor
        self.down: Tensor
        self.register_buffer("across", share.view(BLOCK, 1, 1), persistent=False)
        self.register_buffer("down", share.view(BLOCK, 1, 1, 1), persistent=False)

    def forward(self, luma: Tensor, chroma: Tensor, vectors: Tensor) -> Tensor:
        """Move luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) by vectors (B, 2, H/8, W/8).

        Luma is interpolated from eight samples each way, chroma from two. Returns blocks of both,
        (B, 96, H/8, W/8).
        """
        reference = QuarterRows(luma)
        fine = reference.blocks(vectors)
        if self.overlap:
            fine = self._blend(fine, reference, vectors)
        x, y = (vectors * 0.5).chunk(2, 1)
        coarse = Positions(chroma.shape[-2:], x, y, BLOCK // 2).linear(chroma)
        return torch.cat((fine.flatten(1, 3), coarse.flatten(1, 3)), 1)

    def _blend(self, own: Tensor, reference: QuarterRows, vectors: Tensor) -> Tensor:
        """Blend (B, 1, 8, 8, h, w) with what the neighbours' vectors give."""
        around = F.pad(vectors, (1, 1, 1, 1), mode="replicate")
        first, second = (0, BLOCK // 2), (BLOCK // 2, BLOCK)
        above = reference.blocks(around[:, :, :-2, 1:-1], rows=first)
        below = reference.blocks(around[:, :, 2:, 1:-1], rows=second)
        left = reference.blocks(around[:, :, 1:-1, :-2], columns=first)
        right = reference.blocks(around[:, :, 1:-1, 2:], columns=second)
        vertical, horizontal = torch.cat((above, below), 2), torch.cat((left, right), 3)
        return own + (vertical - own) * self.down + (horizontal - own) * self.across
