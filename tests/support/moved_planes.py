"""Planes moved by vectors, for the tests of the swift family's motion."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nvc_models.swift.interpolation import Positions, QuarterRows


def texture(height: int, width: int) -> Tensor:
    """A smooth random picture (1, 1, H, W) in [0, 1]."""
    noise = torch.rand(1, 1, height // 8, width // 8, generator=torch.Generator().manual_seed(3))
    return F.interpolate(noise, size=(height, width), mode="bicubic").clamp(0, 1)


def constant(dx: float, dy: float, height: int, width: int) -> Tensor:
    """The same vector for every block, (1, 2, H/8, W/8)."""
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, height // 8, width // 8)


def moved(plane: Tensor, vectors: Tensor) -> Tensor:
    """A plane (B, 1, H, W) moved as luma is by vectors (B, 2, H/8, W/8)."""
    return F.pixel_shuffle(QuarterRows(plane).blocks(vectors).flatten(1, 3), 8)


def moved_chroma(planes: Tensor, vectors: Tensor) -> Tensor:
    """Planes (B, C, H, W) moved as chroma is by vectors (B, 2, H/side, W/side), in their pixels."""
    side = planes.shape[-1] // vectors.shape[-1]
    positions = Positions(planes.shape[-2:], vectors[:, :1], vectors[:, 1:], side)
    return F.pixel_shuffle(positions.linear(planes).flatten(1, 3), side)
