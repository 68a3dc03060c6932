"""Frame rate of a file, and whether its timestamps keep to it."""

from __future__ import annotations

from fractions import Fraction

from nvc_errors import VideoError

_RATE_TOLERANCE = Fraction(1, 2000)
"""Relative; half of what tells 30000/1001 from 30."""
_STEP_TOLERANCE = Fraction(1, 50)
"""Of a frame's duration, for a nominal rate that was estimated."""


def nominal_rate(average: Fraction | None, base: Fraction | None) -> Fraction | None:
    """Choose a file's frame rate.

    Args:
        average: frames over duration; exact, or a little off where timestamps are rounded.
        base: lowest rate on whose grid all timestamps lie, preferring well-known rates; twice
            the frame rate for video coded as fields.

    Returns:
        ``base`` where it agrees with ``average``, else ``average``; None if neither is known.

    """
    if not average:
        return base or None
    if base and abs(base - average) <= average * _RATE_TOLERANCE:
        return base
    return average


class RateCheck:
    """Watches the timestamps of a video, frame by frame, for a constant frame rate.

    The step between two frames may differ from the frame duration by one unit of the time base
    (two timestamps rounded apart; Matroska has milliseconds) and 2 % of the duration.
    """

    def __init__(self, frame_rate: Fraction, time_base: Fraction) -> None:
        self._duration = 1 / frame_rate
        self._time_base = time_base
        self._tolerance = time_base + self._duration * _STEP_TOLERANCE
        self._last_pts: int | None = None

    def check(self, number: int, pts: int | None) -> None:
        """Take the timestamp of frame ``number``; a missing one is not judged.

        Raises:
            VideoError: the step from the frame before shows a variable frame rate.

        """
        last, self._last_pts = self._last_pts, pts
        if pts is None or last is None:
            return
        step = (pts - last) * self._time_base
        if abs(step - self._duration) > self._tolerance:
            raise VideoError(
                f"variable frame rate: frame {number} comes {float(step * 1000):.3f} ms after the "
                f"one before, expected {float(self._duration * 1000):.3f} ms; convert the video "
                "with `ffmpeg -i INPUT -fps_mode cfr OUTPUT` (`-vsync cfr` before FFmpeg 5.1)"
            )
