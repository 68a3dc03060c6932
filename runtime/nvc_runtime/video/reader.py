"""What all readers share: one pass over the frames, and release of the source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from nvc_errors import UsageError
from nvc_runtime.video.info import Frame, VideoInfo


class FrameReader(ABC):
    """Frames of a video, in display order, one at a time.

    Iterate once; frames are uint8 (H, W, 3), new arrays that belong to the caller. Iteration
    raises ``VideoError`` at the first frame that cannot be trusted, after all frames before it.
    Skipping more frames than there are gives none. Close the reader, or use it in ``with``.
    """

    def __init__(self, info: VideoInfo) -> None:
        """Keep ``info``, whose ``frame_count`` already allows for skip and limit."""
        self.info = info
        self._started = False

    def __iter__(self) -> Iterator[Frame]:
        """Return the iterator over the frames.

        Raises:
            UsageError: the reader has been iterated before.

        """
        if self._started:
            raise UsageError("a reader gives its frames once; open the video again")
        self._started = True
        return self._frames()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """Give the frames that skip and limit leave."""

    @abstractmethod
    def close(self) -> None:
        """Release the source. Closing twice is fine."""


def check_window(skip: int, limit: int | None) -> None:
    """Raise ``UsageError`` if a number of frames is negative."""
    if skip < 0:
        raise UsageError(f"skip: found {skip}, expected 0 or more frames")
    if limit is not None and limit < 0:
        raise UsageError(f"limit: found {limit}, expected 0 or more frames")
