"""One stage of training, as configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from nvc_errors import UsageError

RoundingName = Literal["noise", "hard"]

CROP_MULTIPLE = 64
"""Crops are whole multiples of the codecs' alignment."""

_COUNTS = ("steps", "batch", "frames", "crop")


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
        if self.crop % CROP_MULTIPLE:
            raise UsageError(
                f"stage {self.name!r}: crop is {self.crop}, expected a multiple of {CROP_MULTIPLE}"
            )
