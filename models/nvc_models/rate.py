"""What a quality index means: the Lagrangian of the training loss, and the initial step size.

The loss is ``lambda * MSE + bits per pixel`` with the MSE of RGB samples in [0, 1]. Lambda grows
geometrically from 64 at quality 0 to 4096 at quality 63. For an orthonormal transform of RGB
blocks, setting d(loss)/d(step) = 0 at high rate gives ``step**2 = 18 / (lambda * ln 2)``: that
is where the learned gains start.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LAMBDA_LOW, LAMBDA_HIGH = 64.0, 4096.0
MAX_QUALITY = 63
LOG_STEP_LOW = 0.5 * math.log(18.0 / (LAMBDA_LOW * math.log(2.0)))
LOG_STEP_HIGH = 0.5 * math.log(18.0 / (LAMBDA_HIGH * math.log(2.0)))


def lagrangian(quality: Tensor) -> Tensor:
    """Lambda of each quality in (B,), [0, 63]."""
    ratio = math.log(LAMBDA_HIGH / LAMBDA_LOW)
    return LAMBDA_LOW * torch.exp(quality.float() * (ratio / MAX_QUALITY))
