"""The piecewise Gaussian constraint: scale indices that keep away from level boundaries.

This project's reading of Tian et al. (MM'23), Eq. 12-15. Within each level the index is to be
Gaussian about the level's middle; the loss is the negative logarithm of that density, without its
constant, of the elements that lie near a boundary. It is added to the codec's loss while everything
but the entropy networks is frozen, and makes fewer elements need calibration. Boundaries that part
two skipped levels need no calibration, and are left alone: the paper's mask, too, leaves out what
lies near 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nvc_models.levels import LEVELS

DEVIATION = 1.0
"""The paper's delta, in levels."""
RADIUS = 0.3
"""The paper's eta: how near to a boundary an element has to be, in levels."""


def boundary_energy(
    index: Tensor, *, skip_level: int = -1, deviation: float = DEVIATION, radius: float = RADIUS
) -> Tensor:
    """Return the energy of each scale index, [0, L - 1/2], in the same shape.

    It is 0 for an element that lies no nearer than ``radius`` to a boundary n above the skip level,
    and else ``(I - m)^2 / (2 deviation^2)`` with m the middle of the element's own level.
    """
    boundary = torch.round(index).detach()
    distance = (index - boundary).abs()
    first = max(skip_level + 1, 1)
    near = (distance < radius) & (boundary >= first) & (boundary <= LEVELS.count - 1)
    return near * (0.5 - distance).square() / (2 * deviation * deviation)


def constraint_loss(
    indices: Sequence[Tensor], weight: float, *, skip_level: int = -1
) -> Tensor | float:
    """Return the mean energy over all elements of some index tensors, times ``weight``.

    0.0 without any arithmetic if the weight is 0. The paper's weight (beta) is 1.
    """
    if not weight or not indices:
        return 0.0
    energies = [boundary_energy(index, skip_level=skip_level) for index in indices]
    elements = sum(energy.numel() for energy in energies)
    return weight * torch.stack([energy.sum() for energy in energies]).sum() / elements
