"""What a long job tells whoever watches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nvc_runtime.video import VideoInfo


class Observer:
    """Hears how a job goes; this one ignores it. Override what is of interest.

    A job calls ``begin``, then ``advance`` once a frame, then ``end``; perhaps several times,
    for several passes over a video. ``end`` is called after an error, too.
    """

    def begin(self, task: str, info: VideoInfo) -> None:
        """Start a pass, such as "encode". ``info.frame_count`` may be None."""

    def advance(self, size_bytes: int) -> None:
        """Count a frame; ``size_bytes`` is its share of the stream, 0 if that is not known."""

    def end(self) -> None:
        """Finish the pass."""

    def note(self, message: str) -> None:
        """Say something that a person should know, on one line."""
