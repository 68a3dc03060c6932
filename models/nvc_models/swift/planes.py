"""Pictures of the swift family: luma at full, chroma at half resolution, and blocks of both.

A block of 8x8 pixels is a position at 1/8 with 96 channels: 64 of luma, row by row, then 16 of
each chroma plane, blue first. Samples of [0, 1] in RGB are samples of [-0.5, 0.5] here.

Chroma lies half way between two rows and on the left one of two columns, as in H.264 and HEVC:
videos that come with half as much chroma lose next to nothing here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 8
LUMA = BLOCK * BLOCK
CHROMA = (BLOCK // 2) ** 2
CHANNELS = LUMA + 2 * CHROMA
"""Samples of a block: 64 of luma and 2 x 16 of chroma."""
RED, BLUE = 0.299, 0.114
"""Weights of BT.601 for luma; the rest is green. What colours are worth, training decides."""
GREEN = 1.0 - RED - BLUE

DOWN_ROWS = (-1 / 4, 3 / 4, 3 / 4, -1 / 4)
DOWN_COLUMNS = (-1 / 8, 1 / 4, 3 / 4, 1 / 4, -1 / 8)
"""Low-pass filters that give back what :func:`rgb_from_planes` interpolates."""


def _downsampling() -> Tensor:
    """Kernel (2, 1, 4, 5) from differences to luma, blue and red, to chroma."""
    scale = torch.tensor([0.5 / (1.0 - BLUE), 0.5 / (1.0 - RED)])
    kernel = torch.einsum("c,y,x->cyx", scale, torch.tensor(DOWN_ROWS), torch.tensor(DOWN_COLUMNS))
    return kernel[:, None]


def _upsampling() -> Tensor:
    """Kernel (192, 60, 1, 1) from chroma in and around a block to what RGB differs from luma.

    Of inputs there are rows of four: the block's of blue and of red, those above, those below; then
    for each of these rows the sample to its right.
    """
    side = BLOCK // 2
    lines = [(plane, row) for plane in (0, 1) for row in range(side)]
    lines += [(plane, row) for row in (-1, side) for plane in (0, 1)]
    places = [(plane, row, x) for plane, row in lines for x in range(side)]
    places += [(plane, row, side) for plane, row in lines]
    planes = torch.zeros(2, BLOCK, BLOCK, len(places))
    for number, (plane, row, column) in enumerate(places):
        for i in range(BLOCK):
            nearest, next_one = i // 2, i // 2 + (1 if i % 2 else -1)
            down = 0.75 * (row == nearest) + 0.25 * (row == next_one)
            for j in range(BLOCK):
                across = 0.5 * (column == j // 2) + 0.5 * (column == (j + 1) // 2)
                planes[plane, i, j, number] = down * across
    blue, red = planes[0] * (2.0 * (1.0 - BLUE)), planes[1] * (2.0 * (1.0 - RED))
    green = blue * (-BLUE / GREEN) + red * (-RED / GREEN)
    return torch.stack((red, green, blue)).view(-1, len(places), 1, 1)


DOWN, UP = _downsampling(), _upsampling()


def luma(frame: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of RGB frames (B, 3, H, W), in [0, 1] as they are."""
    red, green, blue = frame[:, 0:1], frame[:, 1:2], frame[:, 2:3]
    return red * RED + green * GREEN + blue * BLUE


def planes_from_rgb(frame: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) of RGB frames (B, 3, H, W)."""
    y = luma(frame)
    difference = torch.cat((frame[:, 2:3] - y, frame[:, 0:1] - y), 1)
    around = F.pad(difference, (2, 2, 1, 1), mode="replicate")
    with torch.autocast(frame.device.type, enabled=False):
        chroma = F.conv2d(around, DOWN.to(frame.device), stride=2, groups=2)
    return y - 0.5, chroma


def rgb_from_planes(y: Tensor, c: Tensor) -> Tensor:
    """RGB frames (B, 3, H, W), not clamped; the inverse of :func:`planes_from_rgb`.

    Chroma is interpolated linearly, block by block, from its samples in the block and those of the
    blocks above, below and to the right that touch it; at the edges of the picture they repeat.
    """
    side = BLOCK // 2
    blocks = F.pixel_unshuffle(c, side)
    top = torch.cat((blocks[:, :side], blocks[:, CHROMA : CHROMA + side]), 1)
    bottom = torch.cat((blocks[:, CHROMA - side : CHROMA], blocks[:, -side:]), 1)
    above = torch.cat((top[:, :, :1], bottom[:, :, :-1]), 2)
    below = torch.cat((top[:, :, 1:], bottom[:, :, -1:]), 2)
    lines = torch.cat((blocks, above, below), 1)
    first, last = lines[:, ::side], lines[:, side - 1 :: side]
    right = torch.cat((first[..., 1:], last[..., -1:]), 3)
    with torch.autocast(c.device.type, enabled=False):
        around = torch.cat((lines, right), 1).float()
        colour = F.conv2d(around, UP.to(c.device))
    return F.pixel_shuffle(colour, BLOCK) + (y + 0.5)


def blocks_from_planes(y: Tensor, c: Tensor) -> Tensor:
    """Blocks (B, 96, H/8, W/8) of luma (B, 1, H, W) and chroma (B, 2, H/2, W/2)."""
    return torch.cat((F.pixel_unshuffle(y, BLOCK), F.pixel_unshuffle(c, BLOCK // 2)), 1)


def planes_from_blocks(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) of blocks (B, 96, H/8, W/8)."""
    chroma = F.pixel_shuffle(blocks[:, LUMA:], BLOCK // 2)
    return F.pixel_shuffle(blocks[:, :LUMA], BLOCK), chroma
