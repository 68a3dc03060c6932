"""Which scale indices lie near a level boundary, decided exactly in float32.

For a boundary n >= 1 and an index I with |I - n| <= 1/2, n/2 <= I <= 2n, so the float32
difference I - n is exact (Sterbenz). ``rint`` is exact too. Every comparison in this module is
therefore a comparison of real numbers, and the proofs in docs/calibration.md need no margin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc_calib.levels import MAX_LEVELS
from nvc_errors import CalibrationError, UsageError

FlatIndex = NDArray[np.float32]
LevelMap = NDArray[np.uint8]
Positions = NDArray[np.int64]

EPSILON_LIMIT = 0.25
MAX_ELEMENTS = 1 << 32
"""Positions are coded and hashed as 32-bit numbers."""


def round_epsilon(epsilon: float) -> float:
    """Return the smallest float32 that is not below ``epsilon``, as a Python float.

    Rounding up keeps a contract stated in float64 valid; a float32 number is left alone, so
    both sides of a stream that stores epsilon as float32 use the same number.
    Raises ``UsageError`` unless 0 <= result < 0.25.
    """
    if not math.isfinite(epsilon) or not 0.0 <= epsilon < EPSILON_LIMIT:
        raise UsageError(f"epsilon is {epsilon}; it must be at least 0 and less than 0.25")
    rounded = np.float32(epsilon)
    if float(rounded) < epsilon:
        rounded = np.nextafter(rounded, np.float32(1.0))
    if float(rounded) >= EPSILON_LIMIT:
        raise UsageError(f"epsilon {epsilon} is 0.25 in float32; it must be less than 0.25")
    return float(rounded)


@dataclass(frozen=True, eq=False)
class Marks:
    """Elements that a decoder has to be told of.

    positions: int64 (n,), strictly ascending. upper: bool (n,), whether the encoder's index is
    not below the boundary it is near.
    """

    positions: Positions
    upper: NDArray[np.bool_]

    @classmethod
    def none(cls) -> Marks:
        """No elements."""
        return cls(np.empty(0, np.int64), np.empty(0, np.bool_))

    @classmethod
    def joined(cls, parts: Sequence[Marks]) -> Marks:
        """Elements of all parts, whose positions ascend from part to part."""
        if not parts:
            return cls.none()
        return cls(
            np.concatenate([part.positions for part in parts]),
            np.concatenate([part.upper for part in parts]),
        )

    def moved(self, distance: int) -> Marks:
        """Count positions from an element that many places earlier."""
        return Marks(self.positions + distance, self.upper)


@dataclass(frozen=True)
class Boundaries:
    """The boundaries n in {first .. levels - 1} that matter, and the drift bound epsilon.

    A boundary n parts level n - 1 from level n. Boundaries up to the skip level part two
    skipped levels, and a disagreement there changes nothing.

    levels: 2 to 256. skip_level: -1 (nothing is skipped) to levels - 2.
    epsilon: bound on |I_decoder - I_encoder|; stored rounded up to float32.
    Raises ``UsageError`` for anything else.
    """

    levels: int
    skip_level: int
    epsilon: float

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= MAX_LEVELS:
            raise UsageError(f"number of levels is {self.levels}; it must be 2 to {MAX_LEVELS}")
        if not -1 <= self.skip_level <= self.levels - 2:
            raise UsageError(
                f"skip level is {self.skip_level}; with {self.levels} levels it must be -1 "
                f"(skip nothing) to {self.levels - 2}"
            )
        object.__setattr__(self, "epsilon", round_epsilon(self.epsilon))

    @property
    def first(self) -> int:
        """The lowest boundary that matters."""
        return max(self.skip_level + 1, 1)

    def floor_levels(self, index: FlatIndex) -> LevelMap:
        """Levels without protection: floor, limited to [max(skip_level, 0), levels - 1].

        index: float32 (size,), finite. Returns a new uint8 (size,).
        """
        # Truncation is floor for what is not negative; the cast is only defined in range.
        lowest = np.float32(max(self.skip_level, 0))
        return np.clip(index, lowest, np.float32(self.levels - 0.5)).astype(np.uint8)

    def near(self, index: FlatIndex, radius: float) -> Positions:
        """Positions of the elements with |I - n| <= radius for a boundary n that matters.

        index: float32 (size,), finite. radius: a float32 number below 1/2.
        Returns ascending int64 positions.
        """
        distance = np.rint(index)
        np.subtract(index, distance, out=distance)
        np.abs(distance, out=distance)
        positions = np.flatnonzero(distance <= np.float32(radius))
        nearest = np.rint(index[positions])
        matters = (nearest >= np.float32(self.first)) & (nearest <= np.float32(self.levels - 1))
        return positions[matters]

    def nearest(self, index: FlatIndex) -> LevelMap:
        """Nearest integer to each index, uint8; for elements that ``near`` returned."""
        return np.rint(index).astype(np.uint8)


def flatten_index(index: NDArray[np.float32]) -> FlatIndex:
    """Return ``index`` as a contiguous float32 (size,) array, checked to be usable.

    Raises ``UsageError`` for another dtype or 2**32 elements and more, and
    ``CalibrationError`` that names the position of a NaN or an infinity.
    """
    if index.dtype != np.float32:
        raise UsageError(
            f"scale indices have dtype {index.dtype}; they must be float32, because levels are "
            "decided on the exact float32 values"
        )
    if index.size >= MAX_ELEMENTS:
        raise UsageError(f"{index.size} scale indices; a level map has less than {MAX_ELEMENTS}")
    flat = np.ascontiguousarray(index).reshape(-1)
    if flat.size and not (np.isfinite(flat.min()) and np.isfinite(flat.max())):
        first_bad = int(np.flatnonzero(~np.isfinite(flat))[0])
        where = tuple(int(axis) for axis in np.unravel_index(first_bad, index.shape))
        raise CalibrationError(
            f"scale index at {where} is {flat[first_bad]}; it must be a finite number. "
            "The engine's output cannot be used: check its precision settings"
        )
    return flat
