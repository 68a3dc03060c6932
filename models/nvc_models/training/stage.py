"""One stage of training, as configuration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from nvc_errors import UsageError

RoundingName = Literal["noise", "hard"]

CROP_MULTIPLE = 64
"""Crops are whole multiples of the codecs' alignment."""

_COUNTS = ("steps", "batch", "frames", "crop")
_ABOVE_ZERO = ("learning_rate", "clip_norm")
_FROM_ZERO = (
    *("final_learning_rate", "picture_rate", "warmup_steps", "intra_offset"),
    *("later_weight", "intra_weight", "constraint_weight"),
)
_SHARES = ("photo_share", "ema")


@dataclass(frozen=True)
class Stage:
    """One stage: what is trained, for how long, on what.

    ``task`` is one of the family's tasks. ``intra_weight``: weight of the intra frame's loss in a
    task that trains both models, by that of all inter frames. ``unrolled``: that many inter frames
    are trained, at a random place of the sequence; those before are coded without gradient, so that
    long sequences cost little. ``intra_offset``: by how many qualities intra frames of a sequence
    may be coded better than the others. ``constraint_weight``: weight of the piecewise Gaussian
    constraint on scale indices (the paper's beta, 1 there), for ``calibrate``. ``picture_rate``:
    share of the learning rate for layers that write pictures, see :class:`Task`. Raises
    :class:`UsageError` for numbers out of range.
    """

    name: str
    task: str
    steps: int
    batch: int
    frames: int
    crop: int
    learning_rate: float
    final_learning_rate: float = 1e-6
    warmup_steps: int = 50
    rounding: RoundingName = "noise"
    skip_level: int = -1
    photo_share: float = 0.2
    later_weight: float = 0.0
    intra_weight: float | None = None
    unrolled: int | None = None
    intra_offset: float = 0.0
    constraint_weight: float = 0.0
    picture_rate: float = 0.1
    clip_norm: float = 1.0
    ema: float = 0.998

    def __post_init__(self) -> None:
        if self.rounding not in get_args(RoundingName):
            raise UsageError(
                f"stage {self.name!r}: rounding is {self.rounding!r}, expected noise or hard"
            )
        for key in _COUNTS:
            value = getattr(self, key)
            if not isinstance(value, int) or value < 1:
                raise UsageError(
                    f"stage {self.name!r}: {key} is {value!r}, expected a whole number above 0"
                )
        if self.unrolled is not None and self.unrolled < 1:
            raise UsageError(
                f"stage {self.name!r}: unrolled is {self.unrolled!r}, expected 1 or more"
            )
        for key in _ABOVE_ZERO:
            self._check_number(key, "above 0", lambda value: value > 0)
        for key in _FROM_ZERO:
            if key != "intra_weight" or self.intra_weight is not None:
                self._check_number(key, "of 0 or more", lambda value: value >= 0)
        for key in _SHARES:
            self._check_number(key, "from 0 to 1", lambda value: 0 <= value <= 1)
        if self.crop % CROP_MULTIPLE:
            raise UsageError(
                f"stage {self.name!r}: crop is {self.crop}, expected a multiple of {CROP_MULTIPLE}"
            )

    def _check_number(self, key: str, wanted: str, fits: Callable[[float], bool]) -> None:
        value = getattr(self, key)
        if not isinstance(value, int | float) or not math.isfinite(value) or not fits(value):
            raise UsageError(f"stage {self.name!r}: {key} is {value!r}, expected a number {wanted}")
