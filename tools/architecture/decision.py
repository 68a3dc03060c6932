"""What a short run says about a question, computed from its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["better", "worse", "no difference"]

NOISE_FACTOR = 2.0
"""A difference counts from this many times the difference between two seeds."""


@dataclass(frozen=True)
class Decision:
    """A variant against what it is compared with: change of loss in percent, and the verdict."""

    loss_change_percent: float
    verdict: Verdict


def decide(loss: float, against: float, noise_percent: float) -> Decision:
    """Judge a loss against another; ``noise_percent``: change of loss between two seeds."""
    change = 100 * (loss / against - 1)
    if abs(change) <= NOISE_FACTOR * abs(noise_percent):
        return Decision(change, "no difference")
    return Decision(change, "better" if change < 0 else "worse")
