"""Where the time goes: transform, entropy coding, calibration, input and output."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

_ACTIVITIES: Final = ("transform_s", "entropy_s", "calibration_s", "io_s")


@dataclass
class Elapsed:
    """Seconds by activity; ``total_s`` runs from construction to :meth:`stop`.

    Only the codec's own thread is measured: of video that another thread reads or writes, what
    the codec waits for it is part of ``io_s``, and no more. Of groups of pictures that processes
    code side by side the seconds of all are added up, which can be more than the total.
    """

    transform_s: float = 0.0
    entropy_s: float = 0.0
    calibration_s: float = 0.0
    io_s: float = 0.0
    total_s: float = 0.0
    _start: float = field(default_factory=time.perf_counter, repr=False)

    @contextmanager
    def measure(self, activity: str) -> Iterator[None]:
        """Add the time of a ``with`` block to ``<activity>_s``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            name = f"{activity}_s"
            setattr(self, name, getattr(self, name) + time.perf_counter() - start)

    def add(self, other: Elapsed) -> None:
        """Add what another spent, activity by activity."""
        for name in _ACTIVITIES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def take(self) -> Elapsed:
        """Return what has been spent since the last call, and begin anew."""
        taken = replace(self)
        for name in _ACTIVITIES:
            setattr(self, name, 0.0)
        return taken

    def stop(self) -> None:
        """Set ``total_s``."""
        self.total_s = time.perf_counter() - self._start

    def to_json(self) -> dict[str, float]:
        """Seconds by activity, rounded to microseconds."""
        return {
            "total": round(self.total_s, 6),
            "transform": round(self.transform_s, 6),
            "entropy": round(self.entropy_s, 6),
            "calibration": round(self.calibration_s, 6),
            "io": round(self.io_s, 6),
        }
