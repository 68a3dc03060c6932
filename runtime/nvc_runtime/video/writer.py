"""What all writers share: checks on frames, and commit or removal at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import numpy as np

from nvc_errors import UsageError
from nvc_runtime.video.info import Frame, VideoInfo, plane_shapes
from nvc_runtime.video.yuv import Planes, YuvConverter


class FrameWriter(ABC):
    """Takes the frames of a video in display order.

    Use it in ``with``: leaving the block commits the output, leaving it by an exception removes
    what was written. Nothing is seen under the final name before the commit; standard output is
    the exception, of course.

    Attributes:
        info: the video.
        takes_yuv: whether :meth:`write_yuv` can be called; it saves a conversion.
        notes: what the output does differently from ``info``, one line each, for people.
        frame_count: frames written so far.

    """

    def __init__(
        self, info: VideoInfo, notes: tuple[str, ...] = (), chroma: str | None = None
    ) -> None:
        """Prepare to write.

        ``chroma``: the format of an output that holds Y, U and V. Frames are converted to it;
        planes are taken if it is that of the video.

        Raises:
            VideoError: frames are to be converted, and ``info.color.matrix`` is not known.

        """
        self.info = info
        self.notes = notes
        self.takes_yuv = chroma == info.chroma
        self._converter = (
            YuvConverter(info.width, info.height, chroma, info.color) if chroma else None
        )
        self.frame_count = 0
        self._open = True

    def write(self, frame: Frame) -> None:
        """Append a frame, uint8 (H, W, 3) of the video's size. The array is not kept.

        Raises:
            ValueError: the array is not such a frame.
            UsageError: the writer is closed.
            OutputError: the output cannot be written.

        """
        self._check_open()
        if frame.dtype != np.uint8 or frame.shape != self.info.shape:
            raise ValueError(
                f"frame: found {frame.dtype} {frame.shape}, expected uint8 {self.info.shape}"
            )
        self._write((frame,) if self._converter is None else self._converter.yuv_from_rgb(frame))
        self.frame_count += 1

    def write_yuv(self, planes: Planes) -> None:
        """Append a frame given as the Y, U and V planes of the video. They are not kept.

        Raises:
            ValueError: the arrays are not such planes, or the writer wants RGB.
            UsageError: the writer is closed.
            OutputError: the output cannot be written.

        """
        self._check_open()
        if not self.takes_yuv:
            raise ValueError(f"{type(self).__name__} takes RGB")
        found, info = [plane.shape for plane in planes], self.info
        expected = list(plane_shapes(info.width, info.height, info.chroma))
        if found != expected or any(plane.dtype != np.uint8 for plane in planes):
            raise ValueError(f"planes: found {found}, expected {expected}, uint8")
        self._write(planes)
        self.frame_count += 1

    def close(self) -> None:
        """Finish and commit the output; remove it if that fails. Closing twice is fine.

        Raises:
            OutputError: the output cannot be written.

        """
        if not self._open:
            return
        self._open = False
        try:
            self._commit()
        except BaseException:
            self._discard()
            raise

    def abort(self) -> None:
        """Remove what was written. Does nothing after ``close``."""
        if self._open:
            self._open = False
            self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.close()
        else:
            self.abort()

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError("the writer is closed; open another")

    @abstractmethod
    def _write(self, samples: tuple[Frame, ...]) -> None:
        """Append checked samples: one array of R'G'B', or Y, U and V if given or converted so."""

    @abstractmethod
    def _commit(self) -> None:
        """Finish the output and give it its name."""

    @abstractmethod
    def _discard(self) -> None:
        """Remove what was written; called at most once, also after a failed commit."""
