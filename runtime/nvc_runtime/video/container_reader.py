"""Reading any file FFmpeg can, through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from nvc_errors import VideoError
from nvc_runtime.video.chroma import SITING_CENTER, SITING_LEFT
from nvc_runtime.video.info import (
    UNSPECIFIED,
    ColorSpace,
    Frame,
    VideoInfo,
    check_size,
    frame_count_of_window,
)
from nvc_runtime.video.pixel_layout import layout_of_format, planes_of_picture
from nvc_runtime.video.reader import FrameReader
from nvc_runtime.video.timing import RateCheck, nominal_rate
from nvc_runtime.video.yuv import YuvConverter

_FULL_RANGE = 2
_BUFFER_BYTES = 1 << 18
_CENTRED_CODECS = frozenset(("h261", "h263", "mjpeg", "mpeg1video"))
"""Codecs whose 4:2:0 chroma lies in the centre of its four pixels; all others: left."""
_NO_VIDEO_FORMATS = frozenset(("tty",))
"""FFmpeg renders text files as pictures; we do not."""


class _NamelessSource:
    """A file without its name, so that FFmpeg judges by content alone.

    A name could turn it into a pattern (``%d``), a protocol or a guess by extension.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.read = source.read
        self.seek = source.seek
        self.tell = source.tell


class ContainerReader(FrameReader):
    """Frames of the first video stream of a file; cover pictures and sound are ignored."""

    def __init__(
        self, source: BinaryIO, name: str, *, skip: int = 0, limit: int | None = None
    ) -> None:
        """Open the stream and decode its first frame, which tells what the headers do not.

        Args:
            source: binary file at its start, able to seek; ``close`` closes it.
            name: what messages call it.
            skip: frames to decode and drop.
            limit: frames to give at most.

        Raises:
            VideoError: the file is no video, or one that is not supported.

        """
        self._source = source
        self._name = name
        self._skip, self._limit = skip, limit
        self._container: InputContainer | None = None
        try:
            self._container = av.open(
                _NamelessSource(source),
                "r",
                options={"protocol_whitelist": ""},
                buffer_size=_BUFFER_BYTES,
            )
            self._stream = self._find_stream(self._container)
            self._stream.thread_type = "AUTO"
            self._pictures = self._container.decode(self._stream)
            first = self._next_picture(0)
            if first is None:
                raise VideoError("found no frame in the video stream, expected at least one")
            self._first = first
            info = self._describe(first)
        except VideoError as error:
            self.close()
            raise VideoError(f"{name}: {error}") from None
        except (av.FFmpegError, UnicodeDecodeError, OSError, ValueError) as error:
            self.close()
            raise VideoError(
                f"{name}: is no video FFmpeg can read ({_reason(error)}); give a video file"
            ) from None
        self._rate_check = RateCheck(info.frame_rate, info.time_base)
        super().__init__(info)

    def close(self) -> None:
        """Release decoder and file."""
        if self._container is not None:
            self._container.close()
        self._source.close()

    def _frames(self) -> Iterator[Frame]:
        picture: av.VideoFrame | None = self._first
        del self._first
        last = None if self._limit is None else self._skip + self._limit
        number = 0
        while picture is not None and self._limit != 0:
            try:
                self._check(picture, number)
                if number >= self._skip:
                    yield self._frame_of_picture(picture)
                number += 1
                if last is not None and number >= last:
                    return
                picture = self._next_picture(number)
            except VideoError as error:
                raise VideoError(f"{self._name}: {error}") from None
            except (av.FFmpegError, OSError) as error:
                raise VideoError(
                    f"{self._name}: frame {number} cannot be decoded ({_reason(error)}); the file "
                    "is damaged or truncated"
                ) from None

    @staticmethod
    def _find_stream(container: InputContainer) -> VideoStream:
        if container.format.name in _NO_VIDEO_FORMATS:
            raise VideoError("found text, expected a video file")
        for stream in container.streams.video:
            if not stream.disposition & av.stream.Disposition.attached_pic:
                return stream
        raise VideoError("found no video stream, expected one; give a video file")

    def _next_picture(self, number: int) -> av.VideoFrame | None:
        picture = next(self._pictures, None)
        if picture is not None and picture.is_corrupt:
            raise VideoError(
                f"frame {number} is damaged: the decoder had to conceal missing data; "
                "get an undamaged copy"
            )
        return picture

    def _describe(self, first: av.VideoFrame) -> VideoInfo:
        """Tell all about the video from its headers and first picture."""
        check_size(first.width, first.height)
        self._format = (first.width, first.height, first.format.name)
        self._rotation = first.rotation
        if self._rotation % 90:
            raise VideoError(
                f"rotation: found {self._rotation} degrees, expected a multiple of 90; "
                "convert the video with `ffmpeg -i INPUT OUTPUT`, which applies it"
            )
        self._layout = layout_of_format(first.format.name)
        limited = self._layout is None or not self._layout.full_range
        color = ColorSpace(
            # H.273 code 0 is RGB itself; what matrix to use on output is open then.
            matrix=UNSPECIFIED if self._layout is None else first.colorspace,
            full_range=self._layout is not None
            and (not limited or first.color_range == _FULL_RANGE),
            primaries=first.color_primaries,
            transfer=first.color_trc,
        ).resolve(first.height)
        chroma = "444" if self._layout is None else self._layout.chroma
        centred = self._stream.codec_context.name in _CENTRED_CODECS
        self._converter = YuvConverter(
            first.width, first.height, chroma, color, SITING_CENTER if centred else SITING_LEFT
        )
        rate = nominal_rate(self._stream.average_rate, self._stream.base_rate)
        if rate is None:
            raise VideoError("found no frame rate, expected one; set it with `ffmpeg -r`")
        swapped = self._rotation % 180 != 0
        return VideoInfo(
            width=first.height if swapped else first.width,
            height=first.width if swapped else first.height,
            frame_rate=rate,
            color=color,
            chroma=chroma,
            frame_count=frame_count_of_window(self._stream.frames or None, self._skip, self._limit),
            time_base=self._stream.time_base or Fraction(0),
        )

    def _check(self, picture: av.VideoFrame, number: int) -> None:
        found = (picture.width, picture.height, picture.format.name)
        if found != self._format:
            raise VideoError(
                f"frame {number}: found {found[0]}x{found[1]} {found[2]}, expected "
                f"{self._format[0]}x{self._format[1]} {self._format[2]} as before; "
                "split the video where its format changes"
            )
        self._rate_check.check(number, picture.pts)

    def _frame_of_picture(self, picture: av.VideoFrame) -> Frame:
        if self._layout is None:
            frame = np.asarray(picture.reformat(format="rgb24").to_ndarray(), np.uint8)
        else:
            frame = self._converter.rgb_from_yuv(planes_of_picture(picture, self._layout))
        if self._rotation:
            # FFmpeg's angle turns the picture counter-clockwise, and so does rot90.
            frame = np.ascontiguousarray(np.rot90(frame, self._rotation // 90))
        return frame


def _reason(error: Exception) -> str:
    """Return the one-line cause of a failure, without file names."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, av.FFmpegError):
        return os.strerror(error.errno)
    text = getattr(error, "strerror", None) or str(error)
    return str(text).splitlines()[0].strip().lower() if text else type(error).__name__
