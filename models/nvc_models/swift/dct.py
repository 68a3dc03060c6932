"""The orthonormal DCT of a square of samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dct(side: int) -> Tensor:
    """Orthonormal DCT-II of a square of samples, row by row, as rows (side**2, side**2)."""
    places = torch.arange(side) + 0.5
    rows = torch.cos(math.pi / side * torch.arange(side)[:, None] * places) * math.sqrt(2 / side)
    rows[0] /= math.sqrt(2)
    return torch.kron(rows, rows)
