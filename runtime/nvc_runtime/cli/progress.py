"""Progress on standard error: a bar if it is a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from nvc_runtime.cli.console import say
from nvc_runtime.observer import Observer

if TYPE_CHECKING:
    from rich.progress import Progress

    from nvc_runtime.video import VideoInfo

LOG_INTERVAL_S: Final = 10.0

Clock = Callable[[], float]


class Meter:
    """Counts frames and bytes of one pass, and says how fast they come."""

    def __init__(self, info: VideoInfo, clock: Clock) -> None:
        self.total = info.frame_count
        self.frames = self.size_bytes = 0
        self._frame_rate = float(info.frame_rate)
        self._clock, self._start = clock, clock()

    def add(self, size_bytes: int) -> None:
        """Count a frame."""
        self.frames += 1
        self.size_bytes += size_bytes

    @property
    def text(self) -> str:
        """Frames, fps, bit rate, size and time left, as far as they are known."""
        elapsed_s = self._clock() - self._start
        fps = self.frames / elapsed_s if elapsed_s > 0 else 0.0
        parts = [f"{self.frames}/{self.total or '?'} frames", f"{fps:.2f} fps"]
        if self.size_bytes:
            kilobits_per_s = self.size_bytes * 8 * self._frame_rate / self.frames / 1000
            parts += [f"{kilobits_per_s:.0f} kb/s", size_text(self.size_bytes)]
        if self.total and fps:
            parts.append(f"{duration_text(max(0, self.total - self.frames) / fps)} left")
        return ", ".join(parts)


class Notes(Observer):
    """Prints notes and no progress."""

    def note(self, message: str) -> None:
        """Print the note."""
        say(f"note: {message}")


class ProgressLines(Notes):
    """Prints a line every ten seconds; nothing for what takes less."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._last = 0.0
        self._task = ""
        self._meter: Meter | None = None

    def begin(self, task: str, info: VideoInfo) -> None:
        """Start counting."""
        self._task, self._meter, self._last = task, Meter(info, self._clock), self._clock()

    def advance(self, size_bytes: int) -> None:
        """Count a frame, and print a line if it is time."""
        if self._meter is None:
            return
        self._meter.add(size_bytes)
        if self._clock() - self._last >= LOG_INTERVAL_S:
            self._last = self._clock()
            say(f"{self._task}: {self._meter.text}")


class ProgressBar(Notes):
    """Draws a bar that vanishes when its pass is over."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._meter: Meter | None = None

    def begin(self, task: str, info: VideoInfo) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._meter = Meter(info, time.monotonic)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.add_task(task, total=info.frame_count, text="")
        self._bar.start()

    def advance(self, size_bytes: int) -> None:
        """Count a frame."""
        if self._meter is None or self._bar is None:
            return
        self._meter.add(size_bytes)
        self._bar.update(self._bar.task_ids[0], advance=1, text=self._meter.text)

    def end(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def open_progress(*, quiet: bool, shown: bool) -> Iterator[Observer]:
    """Give an observer that shows progress as standard error allows.

    Args:
        quiet: print nothing at all.
        shown: whether progress is wanted; notes are printed all the same.

    """
    observer: Observer
    if quiet:
        observer = Observer()
    elif not shown:
        observer = Notes()
    elif sys.stderr.isatty():
        observer = ProgressBar()
    else:
        observer = ProgressLines()
    try:
        yield observer
    finally:
        observer.end()


def duration_text(seconds: float) -> str:
    """Hours, minutes and seconds: ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size_text(size_bytes: int) -> str:
    """Bytes, kB or MB, powers of 1000."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.1f} kB"
    return f"{size_bytes / 1_000_000:.2f} MB"
