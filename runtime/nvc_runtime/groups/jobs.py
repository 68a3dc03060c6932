"""How many groups of pictures to code side by side."""

from __future__ import annotations

from typing import Final

from nvc_engines import Engine, EngineSpec
from nvc_errors import UsageError
from nvc_runtime.video import VideoInfo

MAX_JOBS: Final = 4
"""As many as are used without being asked for: each takes the memory of a codec of its own."""

MAX_GROUP: Final = 64
"""Longest group that is coded beside others without being asked for: their frames are kept until
it is their turn."""

MIN_PIXELS: Final = 16_000_000
"""Least work for a process, in pixels: it takes most of a second to start one."""


def useful_jobs(engine: Engine, keyint: int, info: VideoInfo) -> int:
    """Return how many jobs pay off where nobody says how many.

    keyint: frames of a group at most, 0: no limit. info: the video; where it does not tell how many
    frames there are, as with a pipe, none should have to wait for a whole group.
    """
    spec, frames = engine.info.spec, info.frame_count
    if spec.device != "cpu" or "threads" in spec.options or frames is None:
        return 1
    if not 1 <= keyint <= MAX_GROUP:
        return 1
    groups, pixels = -(-frames // keyint), frames * info.width * info.height
    return max(1, min(engine.info.threads, MAX_JOBS, groups, pixels // MIN_PIXELS))


def check_jobs(jobs: int, spec: EngineSpec) -> None:
    """Raise ``UsageError`` if an engine cannot be used by so many processes."""
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}, expected at least 1")
    if jobs > 1 and spec.device != "cpu":
        raise UsageError(
            f"engine {spec} codes one group of pictures at a time: --jobs must be 1; several jobs "
            "need an engine on the CPU"
        )


def spec_of_job(engine: Engine, jobs: int) -> EngineSpec:
    """Return the engine that each of so many processes opens: one with its share of the threads.

    A number of threads that the engine's name gives is kept.
    """
    spec = engine.info.spec
    share = {"threads": str(max(1, engine.info.threads // jobs))}
    return EngineSpec(spec.backend, spec.device, share | dict(spec.options))
