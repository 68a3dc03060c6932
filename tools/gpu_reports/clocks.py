"""Synchronised time of each graph, and how much goes to and from the device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from benchmarks import spread_of
from numpy.typing import NDArray
from platform_trials.wrappers import RecordingEngine

from nvc_engines import Engine, Graph, Tensor
from nvc_runtime.codec import Elapsed

ACTIVITIES = ("transform", "entropy", "calibration", "io", "total")


class FrameClock:
    """Milliseconds of each frame of a decoder by activity, from what the decoder adds up itself."""

    def __init__(self, elapsed: Elapsed) -> None:
        self._elapsed = elapsed
        self._last = self._now()
        self.frames: list[tuple[str, dict[str, float]]] = []

    def end_frame(self, kind: str) -> None:
        """Take the time since the frame before."""
        now = self._now()
        spent = {name: 1000 * (now[name] - self._last[name]) for name in ACTIVITIES}
        self.frames.append((kind, spent))
        self._last = now

    def _now(self) -> dict[str, float]:
        parts = {name: getattr(self._elapsed, f"{name}_s") for name in ACTIVITIES[:-1]}
        return parts | {"total": time.perf_counter()}


def frame_medians(
    clocks: list[FrameClock], first: int
) -> dict[str, dict[str, dict[str, float] | int]]:
    """Return spreads over all frames from number ``first`` on, by kind of frame."""
    found: dict[str, dict[str, dict[str, float] | int]] = {}
    for kind in ("intra", "inter"):
        warm = [spent for clock in clocks for k, spent in clock.frames[first:] if k == kind]
        if warm:
            found[kind] = {"frames": len(warm)}
            for name in ACTIVITIES:
                found[kind][name] = spread_of([spent[name] for spent in warm]).to_json()
    return found


class ClockedEngine(RecordingEngine):
    """An engine that times every run of a graph by itself, the device being idle before and after.

    The sum is more than what the same runs take without these clocks.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, ())
        self._runs: dict[str, list[float]] = {}
        self._frames: list[dict[str, float]] = []
        self._moved = self._nothing()

    def run(self, sha256: str, graph: Graph, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph by the clock."""
        del sha256
        self.engine.synchronize()
        start = time.perf_counter()
        outputs = graph.run(inputs)
        self.engine.synchronize()
        self._runs.setdefault(graph.name, []).append(time.perf_counter() - start)
        self._moved["host_inputs"] += sum(isinstance(t, np.ndarray) for t in inputs.values())
        return outputs

    def upload(self, array: NDArray[np.float32]) -> Tensor:
        """Upload by the clock."""
        start = time.perf_counter()
        tensor = self.engine.upload(array)
        self.engine.synchronize()
        self._add("upload", array.nbytes, start)
        return tensor

    def download(self, tensor: Tensor) -> NDArray[np.float32]:
        """Download by the clock."""
        start = time.perf_counter()
        array = self.engine.download(tensor)
        self._add("download", array.nbytes, start)
        return array

    def end_frame(self, kind: str) -> None:
        """Close a frame's account."""
        self._frames.append(self._moved | {"inter": float(kind == "inter")})
        self._moved = self._nothing()

    def graphs_ms(self) -> dict[str, dict[str, Any]]:
        """Return median and number of runs by graph, the first run of each left out if it can."""
        return {
            name: {
                "median": round(1000 * statistics.median(runs[1:] or runs), 4),
                "runs": len(runs),
            }
            for name, runs in sorted(self._runs.items())
        }

    def transfers(self) -> dict[str, dict[str, float]]:
        """Return the medians of a frame by kind: transfers, bytes, milliseconds."""
        found = {}
        for kind, flag in (("intra", 0.0), ("inter", 1.0)):
            frames = [frame for frame in self._frames if frame["inter"] == flag]
            if frames:
                found[kind] = {
                    key: round(statistics.median(frame[key] for frame in frames), 4)
                    for key in self._nothing()
                }
        return found

    def _add(self, what: str, size_bytes: int, start: float) -> None:
        self._moved[f"{what}s"] += 1
        self._moved[f"{what}_bytes"] += size_bytes
        self._moved[f"{what}_ms"] += 1000 * (time.perf_counter() - start)

    @staticmethod
    def _nothing() -> dict[str, float]:
        keys = [f"{what}{end}" for what in ("upload", "download") for end in ("s", "_bytes", "_ms")]
        return dict.fromkeys([*keys, "host_inputs"], 0.0)
