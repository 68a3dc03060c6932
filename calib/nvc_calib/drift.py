"""How far two engines' scale indices are apart, and which epsilon covers that.

Record the index tensors of the same frames on two engines, compare them tensor by tensor, merge
the results over the latents and frames of whole GOPs, and take an epsilon from the result:
drift travels through the reference features, so one frame says little.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc_calib.boundaries import EPSILON_LIMIT, Boundaries, flatten_index, round_epsilon
from nvc_errors import CalibrationError, UsageError

EPSILON_FLOOR = 2.0**-16
"""Smallest epsilon recommended: one unit in the last place of an index in [128, 256)."""
DEFAULT_MARGIN = 4.0


@dataclass(frozen=True)
class IndexDrift:
    """Differences between two recordings of the same scale indices.

    elements: how many were compared.
    max_difference, mean_difference: of |a - b|, after limiting both to [0, levels].
    flips: elements whose floor level differs; without protection each breaks a frame or is
        skipped on both sides.
    coded_flips: those of them that the entropy coder would see, one side above the skip level.
    """

    elements: int
    max_difference: float
    mean_difference: float
    flips: int
    coded_flips: int

    @property
    def smallest_epsilon(self) -> float:
        """Smallest float32 epsilon whose contract this pair keeps; may be 0.25 or more."""
        if self.max_difference < EPSILON_LIMIT:
            return _round_up(self.max_difference)
        return self.max_difference


def compare_indices(
    reference: NDArray[np.float32],
    other: NDArray[np.float32],
    *,
    levels: int,
    skip_level: int,
) -> IndexDrift:
    """Compare two recorded index tensors: float32, same shape, finite.

    Raises ``UsageError`` if the shapes differ or an argument is bad, ``CalibrationError`` if a
    tensor holds a NaN or an infinity.
    """
    if reference.shape != other.shape:
        raise UsageError(
            f"recorded scale indices have shapes {reference.shape} and {other.shape}; "
            "compare recordings of the same frames at the same size"
        )
    first, second = flatten_index(reference), flatten_index(other)
    if first.size == 0:
        return IndexDrift(0, 0.0, 0.0, 0, 0)
    limited = [np.clip(side.astype(np.float64), 0.0, float(levels)) for side in (first, second)]
    difference = np.abs(limited[0] - limited[1])
    everything = Boundaries(levels, -1, 0.0)
    coded = Boundaries(levels, skip_level, 0.0)
    return IndexDrift(
        elements=first.size,
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        flips=_count_flips(first, second, everything),
        coded_flips=_count_flips(first, second, coded),
    )


def merge_drifts(drifts: Iterable[IndexDrift]) -> IndexDrift:
    """Combine comparisons, for instance of every latent of every frame, into one."""
    parts = list(drifts)
    elements = sum(part.elements for part in parts)
    weighted = sum(part.mean_difference * part.elements for part in parts)
    return IndexDrift(
        elements=elements,
        max_difference=max((part.max_difference for part in parts), default=0.0),
        mean_difference=weighted / elements if elements else 0.0,
        flips=sum(part.flips for part in parts),
        coded_flips=sum(part.coded_flips for part in parts),
    )


def recommend_epsilon(drift: IndexDrift, *, margin: float = DEFAULT_MARGIN) -> float:
    """Return an epsilon for engines that drift like this: ``margin`` times the largest drift.

    The margin stands for frames that were not recorded; it is at least 1. The result is a
    float32 number, at least ``EPSILON_FLOOR``.
    Raises ``CalibrationError`` if it would reach 0.25, ``UsageError`` for a margin below 1.
    """
    if not 1.0 <= margin < float("inf"):
        raise UsageError(f"margin is {margin}; it must be at least 1 and finite")
    wanted = max(margin * drift.max_difference, EPSILON_FLOOR)
    if _round_up(wanted) >= EPSILON_LIMIT:
        raise CalibrationError(
            f"scale indices differ by up to {drift.max_difference:g}; with a margin of {margin:g} "
            f"epsilon would be {wanted:g}, and it must stay below {EPSILON_LIMIT}. Check that "
            "both engines run in full FP32 (no TF32, BF16 or FP16) on the same bundle"
        )
    return round_epsilon(wanted)


def _round_up(value: float) -> float:
    rounded = np.float32(value)
    if float(rounded) < value:
        rounded = np.nextafter(rounded, np.float32(np.inf))
    return float(rounded)


def _count_flips(
    first: NDArray[np.float32], second: NDArray[np.float32], boundaries: Boundaries
) -> int:
    differing = boundaries.floor_levels(first) != boundaries.floor_levels(second)
    return int(np.count_nonzero(differing))
