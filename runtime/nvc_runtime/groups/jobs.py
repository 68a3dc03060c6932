"""How many groups of pictures to code side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from nvc_engines import Engine, EngineSpec, open_engine
from nvc_errors import UsageError
from nvc_runtime.video import VideoInfo

MAX_JOBS: Final = 4
"""As many as are used without being asked for: each takes the memory of a codec of its own."""

MAX_FRAME_BYTES: Final = 1 << 30
"""Most memory, without being asked for more, for frames that wait for their turn: those of groups
that are coded beside others, and of one that is read ahead."""

MIN_PIXELS: Final = 16_000_000
"""Least work for a process, in pixels: it takes most of a second to start one."""


def useful_jobs(engine: Engine, keyint: int, info: VideoInfo) -> int:
    """Return how many jobs pay off where nobody says how many.

    More than one only where an engine's results do not depend on its threads. keyint: frames of a
    group at most, 0: no limit. info: the video; where it does not tell how many frames there are,
    as with a pipe, none should have to wait for a whole group.
    """
    spec, frames = engine.info.spec, info.frame_count
    if (spec.backend, spec.device) != ("ort", "cpu") or "threads" in spec.options:
        return 1
    if not keyint or not frames:
        return 1
    pixels = info.width * info.height
    groups, group_bytes = -(-frames // keyint), 3 * pixels * min(keyint, frames)
    kept = MAX_FRAME_BYTES // group_bytes - 1
    return max(1, min(engine.info.threads, MAX_JOBS, groups, frames * pixels // MIN_PIXELS, kept))


def jobs_for(wanted: int | None, engine: Engine, keyint: int, info: VideoInfo) -> int:
    """Return how many jobs to use: at most as many as are wanted, None for as many as pay off.

    A video whose groups have no limit is coded by one job: another would wait in vain.
    """
    if wanted is None:
        return useful_jobs(engine, keyint, info)
    return wanted if keyint else 1


def check_jobs(jobs: int) -> None:
    """Raise ``UsageError`` if this is no number of jobs."""
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}, expected at least 1")


class EngineOfJob(NamedTuple):
    """What a process opens to have an engine of its own."""

    spec: EngineSpec
    engines_dir: Path | None

    @classmethod
    def like(cls, engine: Engine, jobs: int) -> EngineOfJob:
        """Return one of so many like this engine: on a CPU, with its share of the threads.

        A number of threads that the engine's name gives is kept. A GPU serves all processes.
        """
        spec = engine.info.spec
        if spec.device == "cpu":
            share = {"threads": str(max(1, engine.info.threads // jobs))}
            spec = EngineSpec(spec.backend, spec.device, share | dict(spec.options))
        return cls(spec, engine.engines_dir)

    def open(self) -> Engine:
        """Open the engine; see :func:`nvc_engines.open_engine`."""
        return open_engine(self.spec, engines_dir=self.engines_dir)
