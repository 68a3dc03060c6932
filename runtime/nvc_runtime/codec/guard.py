"""Breakdowns of quality: inter frames that have lost what they refer to.

What a learned codec carries from frame to frame can run out of control on unusual pictures. An
encoder sees what every decoder will show, so it can notice and begin anew with an intra frame.
"""

from __future__ import annotations

from typing import Final

MAX_DROP_DB: Final = 3.0
"""A frame this much worse than the one before is suspect."""

DB_PER_QUALITY: Final = 0.15
"""What a frame coded one quality better may gain, at most about."""

MIN_GAIN_DB: Final = 1.0
"""An intra frame has to be this much better to take a suspect frame's place."""


class QualityGuard:
    """Judges the PSNR (dB, RGB) of frames in the order they are coded."""

    def __init__(self) -> None:
        self._last: float | None = None

    def is_breakdown(self, psnr: float) -> bool:
        """Return whether a frame is so much worse than the last that intra should be tried."""
        return self._last is not None and not psnr >= self._last - MAX_DROP_DB

    def accept(self, psnr: float, better: int = 0) -> None:
        """Take note of the frame that was written, coded so many qualities better than others."""
        self._last = psnr - DB_PER_QUALITY * better
