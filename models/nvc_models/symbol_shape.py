"""How the symbols of a scale level are distributed, learned: a Laplace distribution, corrected.

A Laplace distribution of the right scale is near to what transforms of real pictures give, and not
quite it: zeros and large magnitudes are more frequent, what lies between is less. Tables are made
once, at export, so any distribution costs a decoder the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nvc_models.levels import LEVELS

MAGNITUDES = 8
"""Magnitudes 0 to 6, and all above, have a correction each."""


class SymbolShape(nn.Module):
    """Factors on the probabilities of magnitudes, for every level; all 1 to start with."""

    def __init__(self) -> None:
        super().__init__()
        self.log_factor = nn.Parameter(torch.zeros(LEVELS.count, MAGNITUDES))
        self.log_mass: Tensor
        self.register_buffer("log_mass", laplace_masses().log().float(), persistent=False)

    def log_factors(self) -> Tensor:
        """Logarithms of the factors such that each level's probabilities add up to 1.

        Shape (L, 8), natural.
        """
        total = torch.logsumexp(self.log_factor + self.log_mass, 1, keepdim=True)
        return self.log_factor - total

    def bits(self, symbols: Tensor, index: Tensor) -> Tensor:
        """Bits to add to those of a Laplace distribution, for symbols of scale indices."""
        level = index.detach().long().clamp(0, LEVELS.count - 1)
        magnitude = symbols.detach().abs().round().long().clamp(max=MAGNITUDES - 1)
        return self.log_factors().flatten()[level * MAGNITUDES + magnitude] / -math.log(2.0)


def laplace_masses() -> Tensor:
    """Probability of each magnitude, 0 to 6 and above, of every level's middle, float64 (L, 8)."""
    sigma = torch.tensor(LEVELS.representatives(), dtype=torch.float64)[:, None]
    edges = torch.arange(MAGNITUDES, dtype=torch.float64) - 0.5
    beyond = torch.exp(-math.sqrt(2.0) * edges.clamp(min=0.0) / sigma)
    return torch.cat((beyond[:, :-1] - beyond[:, 1:], beyond[:, -1:]), 1)
