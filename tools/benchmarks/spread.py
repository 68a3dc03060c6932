"""Median and quartiles of repeated measurements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median, lower and upper quartile of at least one measurement."""

    median: float
    lower: float
    upper: float

    def to_json(self) -> dict[str, float]:
        """Plain data with six significant digits."""
        parts = {"median": self.median, "q1": self.lower, "q3": self.upper}
        return {name: float(f"{value:.6g}") for name, value in parts.items()}


def spread_of(values: Sequence[float]) -> Spread:
    """Sum up repeated measurements; raises ``ValueError`` if there are none."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, lower, upper)
