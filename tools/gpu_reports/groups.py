"""Several groups of pictures side by side, each in a process with an engine of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks import spread_of

from gpu_reports.prepared import Prepared
from nvc_engines import Engine
from nvc_runtime.bundle import Bundle
from nvc_runtime.drift.trace import describe_engine
from nvc_runtime.files import decode_file
from nvc_runtime.observer import Observer


class _Times(Observer):
    """When each frame came, in seconds from the start."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.frames: list[float] = []

    def advance(self, size_bytes: int) -> None:
        """Note a frame."""
        del size_bytes
        self.frames.append(time.perf_counter() - self._start)


def rate_after_first(frames: int, fps: float, first_frame_s: float) -> float:
    """Frames per second after the first frame, from those of all and when the first one came.

    When the first frame comes other processes have the first frames of their groups ready, too, but
    when the first group has come they have whole ones.
    """
    return (frames - 1) / (frames / fps - first_frame_s)


def measure_groups(
    prepared: Prepared, folder: Path, bundle: Bundle, engine: Engine, jobs: int, repeats: int
) -> dict[str, Any]:
    """Decode a file so many groups at a time, starting processes included, and write nothing.

    The first frame comes as soon as the first process has started, has loaded its graphs and
    decoded it.
    """
    whole, first = [], []
    equal = True
    for _ in range(repeats):
        times = _Times()
        report = decode_file(
            str(folder / f"{prepared.name}.nvc"),
            "null",
            engine,
            bundle=bundle,
            jobs=jobs,
            observer=times,
        )
        equal = equal and report.symbols_digest == prepared.symbols_digest
        whole.append(prepared.frames / times.frames[-1])
        first.append(times.frames[0])
    return {
        "opened": describe_engine(engine.info),
        "frames": prepared.frames,
        "repeats": repeats,
        "good": equal,
        "fps": spread_of(whole).to_json(),
        "first_frame_s": spread_of(first).to_json(),
    }
