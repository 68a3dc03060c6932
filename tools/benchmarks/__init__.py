"""What `benchmark.py` measures: coding by activity, entropy coding alone, and memory."""

from benchmarks.coding import (
    ACTIVITIES,
    BESIDE,
    Sample,
    TimedBundle,
    TimedEngine,
    time_decoding,
    time_encoding,
)
from benchmarks.entropy import EntropyWork, time_entropy, work_from_stream
from benchmarks.groups import GroupRates, time_groups
from benchmarks.memory import WORKER_FLAG, rss_of_decoding, run_worker
from benchmarks.spread import Spread, spread_of

__all__ = [
    "ACTIVITIES",
    "BESIDE",
    "WORKER_FLAG",
    "EntropyWork",
    "GroupRates",
    "Sample",
    "Spread",
    "TimedBundle",
    "TimedEngine",
    "rss_of_decoding",
    "run_worker",
    "spread_of",
    "time_decoding",
    "time_encoding",
    "time_entropy",
    "time_groups",
    "work_from_stream",
]
