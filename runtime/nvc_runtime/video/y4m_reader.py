"""Reading Y4M from a file or a pipe: forward only, one frame in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nvc_errors import VideoError
from nvc_runtime.video.info import Frame, frame_count_of_window, plane_shapes
from nvc_runtime.video.reader import FrameReader
from nvc_runtime.video.y4m import (
    FRAME_MAGIC,
    MAX_LINE_BYTES,
    check_frame_line,
    unpack_header,
)
from nvc_runtime.video.yuv import Planes, YuvConverter


class Y4mReader(FrameReader):
    """Frames of a Y4M stream."""

    def __init__(
        self,
        source: BinaryIO,
        name: str,
        *,
        prefix: bytes = b"",
        skip: int = 0,
        limit: int | None = None,
        size_bytes: int | None = None,
        owned: bool = True,
    ) -> None:
        """Read the header.

        Args:
            source: buffered binary stream; it need not be able to seek.
            name: what messages call it.
            prefix: bytes already taken from the start of ``source``.
            skip: frames to pass over.
            limit: frames to give at most; no more bytes are read than they need.
            size_bytes: length of the whole stream if known, to tell the frame count.
            owned: whether ``close`` closes ``source``.

        Raises:
            VideoError: the header cannot be trusted.

        """
        self._source = source
        self._name = name
        self._owned = owned
        line = _read_line(source, name, "header", prefix)
        if line is None:
            raise VideoError(f"{name}: the Y4M input is empty, expected a header")
        try:
            self._header = unpack_header(line)
            info = self._header.info
            self._converter = YuvConverter(
                info.width, info.height, info.chroma, info.color, self._header.siting
            )
        except VideoError as error:
            raise VideoError(f"{name}: {error}") from None
        self._skip, self._limit = skip, limit
        count = None
        if size_bytes is not None:
            # Exact unless frame lines carry parameters, which nothing in use writes.
            stride = len(FRAME_MAGIC) + 1 + self._header.frame_bytes
            count = (size_bytes - len(line) - 1) // stride
        super().__init__(replace(info, frame_count=frame_count_of_window(count, skip, limit)))

    def close(self) -> None:
        """Release the source; a source that is not owned stays open."""
        if self._owned:
            self._source.close()

    def _frames(self) -> Iterator[Frame]:
        samples = np.empty(self._header.frame_bytes, np.uint8)
        planes = self._planes(samples)
        last = None if self._limit is None else self._skip + self._limit
        number = 0
        while self._limit != 0 and (last is None or number < last):
            if not self._read_frame(samples, number):
                return
            if number >= self._skip:
                yield self._converter.rgb_from_yuv(planes)
            number += 1

    def _planes(self, samples: NDArray[np.uint8]) -> Planes:
        """Return the planes as views of a frame's bytes; those of mono are grey."""
        info = self.info
        y_shape, *c_shapes = plane_shapes(info.width, info.height, info.chroma)
        luma_size, chroma_size = y_shape[0] * y_shape[1], c_shapes[0][0] * c_shapes[0][1]
        luma = samples[:luma_size].reshape(y_shape)
        if self._header.mono:
            grey = np.full(c_shapes[0], 128, np.uint8)
            return luma, grey, grey
        u, v = (
            samples[luma_size + k * chroma_size :][:chroma_size].reshape(c_shapes[k])
            for k in range(2)
        )
        return luma, u, v

    def _read_frame(self, samples: NDArray[np.uint8], number: int) -> bool:
        """Fill ``samples`` with the next frame; return False at the end of the stream."""
        line = _read_line(self._source, self._name, f"frame {number}")
        if line is None:
            return False
        try:
            check_frame_line(line, number)
        except VideoError as error:
            raise VideoError(f"{self._name}: {error}") from None
        view, filled = samples.data, 0
        while filled < len(view):
            try:
                # Every BinaryIO in use here has readinto; typing's protocol lacks it.
                count = self._source.readinto(view[filled:])  # type: ignore[attr-defined]
            except OSError as error:
                raise VideoError(f"{self._name}: cannot be read: {error.strerror}") from None
            if not count:
                raise VideoError(
                    f"{self._name}: ends within frame {number}: found {filled} of {len(view)} "
                    f"bytes; the file is truncated after {number} whole frames"
                )
            filled += count
        return True


def _read_line(source: BinaryIO, name: str, what: str, prefix: bytes = b"") -> bytes | None:
    """Return a line without its line feed, or None at the end of the stream."""
    try:
        line = prefix + source.readline(MAX_LINE_BYTES - len(prefix))
    except OSError as error:
        raise VideoError(f"{name}: cannot be read: {error.strerror}") from None
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise VideoError(
            f"{name}: Y4M {what}: found no line end within {len(line)} bytes, expected one within "
            f"{MAX_LINE_BYTES}; the file is damaged or truncated"
        )
    return line[:-1]
