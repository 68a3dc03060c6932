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


def measure_groups(
    prepared: Prepared, folder: Path, bundle: Bundle, engine: Engine, jobs: int, repeats: int
) -> dict[str, Any]:
    """Decode a file so many groups at a time, starting processes included, and write nothing.

    ``fps`` is of the whole; ``running_fps`` of all after the first group, which comes as soon as
    the first process has started, has loaded its graphs and decoded it.
    """
    whole, running, first = [], [], []
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
        group = min(prepared.keyint or prepared.frames, prepared.frames) - 1
        left = prepared.frames - 1 - group
        whole.append(prepared.frames / times.frames[-1])
        if left:
            running.append(left / (times.frames[-1] - times.frames[group]))
        first.append(times.frames[0])
    return {
        "opened": describe_engine(engine.info),
        "frames": prepared.frames,
        "repeats": repeats,
        "good": equal,
        "fps": spread_of(whole).to_json(),
        "running_fps": spread_of(running).to_json() if running else None,
        "first_frame_s": spread_of(first).to_json(),
    }
