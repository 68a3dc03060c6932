"""Writes a stream, forward only."""

from __future__ import annotations

from types import TracebackType
from typing import BinaryIO, Self

from nvc_errors import OutputError
from nvc_runtime.stream.header import StreamHeader, pack_header
from nvc_runtime.stream.index import IntraEntry, StreamIndex, pack_end
from nvc_runtime.stream.packet import FrameKind, FramePacket, pack_frame


class StreamWriter:
    """Writes header, frames and index to a binary file or pipe.

    The file stays the caller's: it is neither closed nor sought. As a context manager the writer
    finishes the stream on a clean exit and leaves it without an end on an error, so that readers
    can tell.
    """

    def __init__(self, file: BinaryIO, header: StreamHeader) -> None:
        """Write the header.

        Raises:
            OutputError: the file cannot be written; so do all methods.

        """
        self._file = file
        self._header = header
        self._offset = 0
        self._frame_count = 0
        self._intra: list[IntraEntry] = []
        self._finished = False
        self._write(pack_header(header))

    @property
    def header(self) -> StreamHeader:
        """The header as written."""
        return self._header

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._offset

    @property
    def frame_count(self) -> int:
        """Frames written so far."""
        return self._frame_count

    def write(self, packet: FramePacket) -> None:
        """Write the next frame.

        Raises:
            ValueError: the packet is not what must come next.

        """
        if self._finished:
            raise ValueError("the stream is finished")
        if packet.frame_number != self._frame_count:
            raise ValueError(f"frame number is {packet.frame_number}, expected {self._frame_count}")
        intra = packet.kind is FrameKind.INTRA
        if not intra and not self._intra:
            raise ValueError("the first frame must be an intra frame")
        group_start = packet.frame_number if intra else self._intra[-1].frame_number
        packet.check_against(self._header, group_start)
        offset = self._offset
        self._write(pack_frame(packet))
        if intra:
            self._intra.append(IntraEntry(packet.frame_number, offset))
        self._frame_count += 1

    def finish(self) -> StreamIndex:
        """Write end packet and trailer and return the index; further calls only return it."""
        index = StreamIndex(self._frame_count, tuple(self._intra))
        if not self._finished:
            self._write(pack_end(index, self._offset))
            self._finished = True
        return index

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                # A raw file may take less than it is given, or nothing if it would block.
                written = self._file.write(rest)
                if not written:
                    raise BlockingIOError("the file takes no more bytes")
                rest = rest[written:]
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"stream: cannot be written at offset {self._offset}: {error}"
            ) from error
        self._offset += len(data)
