"""Scale levels: a fixed, log-spaced grid of Gaussian scales (Tian et al. MM'23, Eq. 2-5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc_errors import UsageError

MAX_LEVELS = 256
"""A level is stored as one byte."""


@dataclass(frozen=True)
class ScaleLevels:
    """``count`` scale levels, evenly spaced in ln sigma from ``sigma_min`` to ``sigma_max``.

    The scale index of sigma is ``I = (ln sigma - ln sigma_min) / step`` and its level is
    ``floor(I)``: level k holds the sigmas with index in [k, k + 1), so level 0 starts at
    ``sigma_min`` and the last level starts at ``sigma_max``.

    Raises ``UsageError`` unless 2 <= count <= 256 and 0 < sigma_min < sigma_max < infinity.
    """

    count: int = 32
    sigma_min: float = 0.01
    sigma_max: float = 64.0

    def __post_init__(self) -> None:
        if not 2 <= self.count <= MAX_LEVELS:
            raise UsageError(
                f"number of scale levels is {self.count}; it must be 2 to {MAX_LEVELS}"
            )
        if not 0.0 < self.sigma_min < self.sigma_max < math.inf:
            raise UsageError(
                f"scales from {self.sigma_min} to {self.sigma_max} do not form a range; "
                "give 0 < sigma_min < sigma_max"
            )

    @property
    def step(self) -> float:
        """Width of a level in ln sigma."""
        return (math.log(self.sigma_max) - math.log(self.sigma_min)) / (self.count - 1)

    @property
    def index_max(self) -> float:
        """Where to clamp the index: the middle of the last level.

        Clamping at ``count - 1`` would put every saturated element exactly on a boundary, and
        each would then cost side information.
        """
        return self.count - 0.5

    def index_from_sigma(self, sigma: ArrayLike) -> NDArray[np.float64]:
        """Scale index of each sigma > 0: float64, same shape, clamped to [0, index_max]."""
        log_sigma = np.log(np.asarray(sigma, dtype=np.float64))
        index = (log_sigma - math.log(self.sigma_min)) / self.step
        return np.asarray(np.clip(index, 0.0, self.index_max), dtype=np.float64)

    def sigma_from_index(self, index: ArrayLike) -> NDArray[np.float64]:
        """Sigma at each (fractional) scale index: float64, same shape."""
        scaled = math.log(self.sigma_min) + self.step * np.asarray(index, dtype=np.float64)
        return np.asarray(np.exp(scaled), dtype=np.float64)

    def representatives(self) -> NDArray[np.float64]:
        """Return the sigma that stands for each level, mid-bin: float64 (count,)."""
        return self.sigma_from_index(np.arange(self.count, dtype=np.float64) + 0.5)
