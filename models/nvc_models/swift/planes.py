"""Pictures of the swift family: luma at full, chroma at half resolution, and blocks of both.

A block of 8x8 pixels is a position at 1/8 with 96 channels: 64 of luma, row by row, then 16 of
each chroma plane, blue first. Samples of [0, 1] in RGB are samples of [-0.5, 0.5] here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 8
LUMA = BLOCK * BLOCK
CHANNELS = LUMA + 2 * (BLOCK // 2) ** 2
"""Samples of a block: 64 of luma and 2 x 16 of chroma."""
RED, BLUE = 0.299, 0.114
"""Weights of BT.601 for luma; the rest is green. What colours are worth, training decides."""
GREEN = 1.0 - RED - BLUE


UP_ROWS = (-1 / 32, 7 / 32, 28 / 32, -2 / 32, 0.0)
UP_COLUMNS = ((0.0, 0.0, 1.0, 0.0, 0.0), (0.0, -1 / 16, 9 / 16, 9 / 16, -1 / 16))
"""Catmull-Rom interpolation of chroma: upper of two rows (the lower: reversed), both columns.

Samples lie between two rows and on the left one of two columns, as in H.264 and HEVC: videos that
come with half as much chroma lose nothing here, where they were interpolated like this.
"""
DOWN_ROWS = (0.0427, -0.1583, 0.6156, 0.6156, -0.1583, 0.0427)
DOWN_COLUMNS = (1 / 64, 0.0, -1 / 8, 1 / 4, 23 / 32, 1 / 4, -1 / 8, 0.0, 1 / 64)
"""Low-pass filters that give interpolated samples back (as biorthogonal wavelets do)."""


def _upsampling() -> Tensor:
    """Kernel (12, 2, 5, 5) from chroma to what it adds to grey, RGB of the 2x2 pixels."""
    blue, red = 2.0 * (1.0 - BLUE), 2.0 * (1.0 - RED)
    colours = [[0.0, red], [-blue * BLUE / GREEN, -red * RED / GREEN], [blue, 0.0]]
    rows = torch.tensor([UP_ROWS, UP_ROWS[::-1]])
    kernel = torch.einsum("cj,ay,bx->cabjyx", torch.tensor(colours), rows, torch.tensor(UP_COLUMNS))
    return kernel.reshape(12, 2, 5, 5)


def _downsampling() -> Tensor:
    """Kernel (2, 1, 6, 9) from differences to luma, blue and red, to chroma."""
    scale = torch.tensor([0.5 / (1.0 - BLUE), 0.5 / (1.0 - RED)])
    kernel = torch.einsum("c,y,x->cyx", scale, torch.tensor(DOWN_ROWS), torch.tensor(DOWN_COLUMNS))
    return kernel[:, None]


UP, DOWN = _upsampling(), _downsampling()


def luma(frame: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of RGB frames (B, 3, H, W), in [0, 1] as they are."""
    red, green, blue = frame[:, 0:1], frame[:, 1:2], frame[:, 2:3]
    return red * RED + green * GREEN + blue * BLUE


def planes_from_rgb(frame: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) of RGB frames (B, 3, H, W)."""
    y = luma(frame)
    difference = torch.cat((frame[:, 2:3] - y, frame[:, 0:1] - y), 1)
    around = F.pad(difference, (4, 4, 2, 2), mode="replicate")
    return y - 0.5, F.conv2d(around, DOWN.to(frame.device), stride=2, groups=2)


def rgb_from_planes(y: Tensor, c: Tensor) -> Tensor:
    """Inverse of :func:`planes_from_rgb`, not clamped."""
    around = F.pad(c, (2, 2, 2, 2), mode="replicate")
    return y + 0.5 + F.pixel_shuffle(F.conv2d(around, UP.to(c.device)), 2)


def blocks_from_planes(y: Tensor, c: Tensor) -> Tensor:
    """Blocks (B, 96, H/8, W/8) of luma (B, 1, H, W) and chroma (B, 2, H/2, W/2)."""
    return torch.cat((F.pixel_unshuffle(y, BLOCK), F.pixel_unshuffle(c, BLOCK // 2)), 1)


def planes_from_blocks(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of :func:`blocks_from_planes`."""
    return F.pixel_shuffle(blocks[:, :LUMA], BLOCK), F.pixel_shuffle(blocks[:, LUMA:], BLOCK // 2)
