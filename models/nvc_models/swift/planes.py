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
CHANNELS = LUMA + 2 * (BLOCK // 2) ** 2
"""Samples of a block: 64 of luma and 2 x 16 of chroma."""
RED, BLUE = 0.299, 0.114
"""Weights of BT.601 for luma; the rest is green. What colours are worth, training decides."""
GREEN = 1.0 - RED - BLUE

DOWN_ROWS = (-1 / 4, 3 / 4, 3 / 4, -1 / 4)
DOWN_COLUMNS = (-1 / 8, 1 / 4, 3 / 4, 1 / 4, -1 / 8)
"""Low-pass filters that give back what :func:`rgb_from_planes` interpolated."""


def _downsampling() -> Tensor:
    """Kernel (2, 1, 4, 5) from differences to luma, blue and red, to chroma."""
    scale = torch.tensor([0.5 / (1.0 - BLUE), 0.5 / (1.0 - RED)])
    kernel = torch.einsum("c,y,x->cyx", scale, torch.tensor(DOWN_ROWS), torch.tensor(DOWN_COLUMNS))
    return kernel[:, None]


DOWN = _downsampling()


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

    Chroma is interpolated linearly: repeated and then averaged, which is faster than phases one by
    one.
    """
    around = F.pad(c, (0, 1, 1, 1), mode="replicate")
    repeated = F.interpolate(around, scale_factor=2.0, mode="nearest")
    smooth = F.avg_pool2d(F.avg_pool2d(repeated, 2, 1), (2, 1), 1)
    c = smooth[:, :, 1:-1, :-1]
    blue, red = c[:, 0:1] * (2.0 * (1.0 - BLUE)), c[:, 1:2] * (2.0 * (1.0 - RED))
    green = blue * (-BLUE / GREEN) + red * (-RED / GREEN)
    return y + 0.5 + torch.cat((red, green, blue), 1)


def blocks_from_planes(y: Tensor, c: Tensor) -> Tensor:
    """Blocks (B, 96, H/8, W/8) of luma (B, 1, H, W) and chroma (B, 2, H/2, W/2)."""
    return torch.cat((F.pixel_unshuffle(y, BLOCK), F.pixel_unshuffle(c, BLOCK // 2)), 1)


def planes_from_blocks(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of :func:`blocks_from_planes`."""
    return F.pixel_shuffle(blocks[:, :LUMA], BLOCK), F.pixel_shuffle(blocks[:, LUMA:], BLOCK // 2)
