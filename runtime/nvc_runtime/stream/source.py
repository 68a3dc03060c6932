"""Bytes of a file or pipe, read in pieces and kept until they are accepted."""

from __future__ import annotations

from typing import BinaryIO

from nvc_errors import StreamError, UsageError

PIECE_SIZE = 1 << 20
"""Most bytes asked for at once: memory grows only with what is really there."""


class ByteSource:
    """Looks ahead in a binary file without ever seeking, unless told to.

    Nothing is read beyond what is asked for, so the source can be a pipe that is still being
    written.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Start at the file's current position, which becomes offset 0."""
        self._file = file
        self._buffer = bytearray()
        self._start = 0
        self._offset = 0
        self._base = file.tell() if file.seekable() else None

    @property
    def offset(self) -> int:
        """Offset of the next byte."""
        return self._offset

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, or all that are left if there are fewer.

        Raises:
            StreamError: the file cannot be read.

        """
        missing = size - (len(self._buffer) - self._start)
        while missing > 0:
            try:
                piece = self._file.read(min(missing, PIECE_SIZE))
            except OSError as error:
                raise StreamError(
                    f"stream: cannot be read at offset {self._offset}: {error}"
                ) from error
            if not piece:
                break
            self._buffer += piece
            missing -= len(piece)
        return bytes(memoryview(self._buffer)[self._start : self._start + size])

    def skip(self, size: int) -> None:
        """Let go of `size` bytes that have been looked at."""
        self._start += size
        self._offset += size
        if self._start == len(self._buffer) or self._start > PIECE_SIZE:
            del self._buffer[: self._start]
            self._start = 0

    def find(self, pattern: bytes, size: int) -> bool:
        """Skip to the next `pattern`; within `size` bytes of look-ahead at a time.

        Returns False, with nothing left, if there is none.
        """
        while True:
            available = len(self.peek(max(size, len(pattern))))
            position = self._buffer.find(pattern, self._start)
            if position >= 0:
                self.skip(position - self._start)
                return True
            if available < len(pattern):
                self.skip(available)
                return False
            self.skip(len(self._buffer) - self._start - len(pattern) + 1)

    def seek(self, offset: int) -> None:
        """Go on at `offset`.

        Raises:
            UsageError: the file cannot seek.
            StreamError: seeking failed.

        """
        if self._base is None:
            raise UsageError(
                "stream: found a pipe, expected a file that can seek; read it forward or store it"
            )
        try:
            self._file.seek(self._base + offset)
        except (OSError, ValueError, OverflowError) as error:
            raise StreamError(f"stream: cannot go to offset {offset}: {error}") from error
        self._buffer.clear()
        self._start, self._offset = 0, offset
