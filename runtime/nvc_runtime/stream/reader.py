"""Reads a stream forward, from a file or a pipe, and trusts none of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from nvc_errors import StreamError, TruncatedStreamError
from nvc_runtime.stream.header import MAGIC, PREFIX_SIZE, StreamHeader, unpack_header, unpack_prefix
from nvc_runtime.stream.index import (
    TRAILER_SIZE,
    IntraEntry,
    StreamIndex,
    unpack_end,
    unpack_trailer,
)
from nvc_runtime.stream.packet import (
    END_KIND,
    KIND_MASK,
    MARKER,
    MAX_HEAD_SIZE,
    FrameKind,
    FramePacket,
    unpack_frame,
    unpack_head,
    unpack_packet,
)
from nvc_runtime.stream.source import ByteSource

_SCAN_SIZE = 1 << 12
_SCAN_BUDGET = 512 << 20
_SCAN_BUDGET_PER_BYTE = 8


class StreamReader:
    """Iterates over the frame packets of a stream.

    Damage and truncation raise once every whole packet before has been delivered. With
    `resume_at_intra` they are collected in `damage` instead, and reading goes on at the next
    intra frame that can be found; a caller must look at `damage` in the end.

    Attributes:
        header: the stream's header.
        damage: what has been found damaged so far, one message each.

    """

    def __init__(self, file: BinaryIO, *, resume_at_intra: bool = False) -> None:
        """Read the header from the file's current position on.

        Raises:
            StreamError: this is no stream, or its header is damaged or of another version.

        """
        self.damage: list[str] = []
        self._resume = resume_at_intra
        self._source = ByteSource(file)
        self._next_number = 0
        self._frame_count = 0
        self._gap_allowed = False
        self._from_start = True
        self._intra: list[IntraEntry] = []
        self._index: StreamIndex | None = None
        self._ended = False
        self._scan_spent = 0
        self.header = self._read_header()

    @property
    def frame_count(self) -> int:
        """Whole frames delivered so far."""
        return self._frame_count

    @property
    def index(self) -> StreamIndex:
        """The stream's index once its end was read; before, what has been seen."""
        return self._index or StreamIndex(self._next_number, tuple(self._intra), complete=False)

    def __iter__(self) -> Iterator[FramePacket]:
        while (packet := self.read()) is not None:
            yield packet

    def read(self) -> FramePacket | None:
        """Return the next frame, or None after the last.

        Raises:
            TruncatedStreamError: the stream ends within a packet or without an end packet.
            StreamError: the next packet is damaged.

        """
        while not self._ended:
            try:
                packet = self._read_packet()
            except StreamError as error:
                if not self._resume:
                    raise
                self.damage.append(str(error))
                self._ended = not self._find_next()
                continue
            if packet is not None:
                return packet
            self._ended = True
        return None

    def seek(self, entry: IntraEntry) -> None:
        """Go on at an intra frame of the stream's index.

        Raises:
            UsageError: the stream is a pipe.

        """
        self._source.seek(entry.offset)
        self._next_number = entry.frame_number
        self._intra.clear()
        self._index = None
        self._from_start = self._gap_allowed = self._ended = False

    def _read_header(self) -> StreamHeader:
        prefix = self._source.peek(PREFIX_SIZE)
        if len(prefix) < PREFIX_SIZE and MAGIC.startswith(prefix[: len(MAGIC)]):
            raise self._truncated("its header", len(prefix))
        size = unpack_prefix(prefix)
        data = self._source.peek(PREFIX_SIZE + size)
        if len(data) < PREFIX_SIZE + size:
            raise self._truncated("its header", len(data))
        header = unpack_header(prefix, data[PREFIX_SIZE:])
        self._source.skip(len(data))
        return header

    def _read_packet(self) -> FramePacket | None:
        """Return the packet at the source, None for a good end; skip it only if it is good."""
        offset = self._source.offset
        try:
            kind, payload, size = self._peek_packet()
            if kind == END_KIND:
                self._accept_end(payload, offset, size)
                return None
            packet = unpack_frame(kind, payload)
            self._check_frame(packet)
        except TruncatedStreamError:
            raise
        except ValueError as error:  # a StreamError is one, too
            raise StreamError(
                f"frame {self._next_number}, packet at offset {offset}: {error}"
            ) from error
        self._source.skip(size)
        self._gap_allowed = False
        self._next_number = packet.frame_number + 1
        self._frame_count += 1
        if packet.kind is FrameKind.INTRA:
            self._intra.append(IntraEntry(packet.frame_number, offset))
        return packet

    def _peek_packet(self) -> tuple[int, bytes, int]:
        """Return type, payload and size of the packet at the source."""
        head = self._source.peek(MAX_HEAD_SIZE)
        if len(head) < MAX_HEAD_SIZE and MARKER.startswith(head[: len(MARKER)]):
            raise self._truncated("a packet" if head else "the end packet is missing", len(head))
        kind, head_size, size = unpack_head(head)
        packet = self._source.peek(size)
        if len(packet) < size:
            raise self._truncated("a packet", len(packet))
        return kind, unpack_packet(packet, head_size), size

    def _check_frame(self, packet: FramePacket) -> None:
        number, intra = packet.frame_number, packet.kind is FrameKind.INTRA
        expected = self._next_number
        if number != expected and not (self._gap_allowed and number > expected):
            raise StreamError(f"found frame number {number}, expected {expected}")
        # The first frame after the header, after seek() or after damage.
        if not intra and (not self._intra or self._gap_allowed):
            raise StreamError(f"found {packet.kind.title}, expected an intra frame to start at")
        packet.check_against(self.header, number if intra else self._intra[-1].frame_number)

    def _accept_end(self, payload: bytes, offset: int, size: int) -> None:
        index = unpack_end(payload, offset)
        trailer = self._source.peek(size + TRAILER_SIZE)[size:]
        if len(trailer) < TRAILER_SIZE:
            raise self._truncated("the trailer", size + len(trailer))
        if unpack_trailer(trailer) != offset:
            raise StreamError(
                f"trailer: found offset {unpack_trailer(trailer)}, expected {offset}; the stream "
                "is damaged"
            )
        seen = tuple(self._intra)
        listed = index.intra if self._from_start else index.intra[len(index.intra) - len(seen) :]
        if not self.damage and (index.frame_count != self._next_number or listed != seen):
            raise StreamError(
                f"end packet: found {index.frame_count} frames with {len(index.intra)} intra "
                f"frames, expected {self._next_number} with those that were read; packets are "
                "missing or the stream is damaged"
            )
        self._source.skip(size + TRAILER_SIZE)
        self._index = index
        if self.damage and index.frame_count > self._next_number:
            self.damage.append(
                f"frames {self._next_number}..{index.frame_count - 1} are lost: no intact intra "
                "frame follows the damage"
            )

    def _find_next(self) -> bool:
        """Skip to the next good intra frame or end packet; False if there is none."""
        self._source.skip(len(self._source.peek(1)))
        while self._source.find(MARKER, _SCAN_SIZE):
            offset = self._source.offset
            if self._scan_spent > _SCAN_BUDGET + _SCAN_BUDGET_PER_BYTE * offset:
                self.damage.append(
                    f"offset {offset}: found too many false packet markers; reading stops here"
                )
                return False
            try:
                kind, payload = self._peek_candidate()
                if kind == END_KIND:
                    unpack_end(payload, offset)
                    return True
                number = unpack_frame(kind, payload).frame_number
            except StreamError:
                self._source.skip(1)
                continue
            if number < self._next_number:
                self._source.skip(1)
                continue
            if number > self._next_number:
                self.damage.append(
                    f"frames {self._next_number}..{number - 1} are lost: reading goes on at the "
                    f"intra frame at offset {offset}"
                )
            self._gap_allowed = True
            return True
        return False

    def _peek_candidate(self) -> tuple[int, bytes]:
        """Return type and payload of the packet at the source if reading may go on there."""
        kind, head_size, size = unpack_head(self._source.peek(MAX_HEAD_SIZE))
        if kind & KIND_MASK not in (FrameKind.INTRA, END_KIND):
            raise StreamError("a frame that refers to others is no place to start at")
        packet = self._source.peek(size)
        self._scan_spent += len(packet)
        if len(packet) < size:
            raise StreamError("not a whole packet")
        return kind, unpack_packet(packet, head_size)

    def _truncated(self, where: str, size: int) -> TruncatedStreamError:
        return TruncatedStreamError(
            f"stream ends at offset {self._source.offset + size}: {where}; {self._frame_count} "
            f"frames are whole; the file is incomplete, fetch it again or use what is there"
        )


def read_index(file: BinaryIO) -> StreamIndex:
    """Return the index of a stream that starts at the file's position, which is kept.

    The trailer leads to the index. If trailer or end packet cannot be trusted, the whole stream
    is read instead, and the index is not `complete`.

    Raises:
        UsageError: the file cannot seek.
        StreamError: this is no stream.

    """
    source = ByteSource(file)
    source.seek(0)
    base = file.tell()
    try:
        size = file.seek(0, 2) - base
        try:
            return _index_from_trailer(source, size)
        except StreamError:
            source.seek(0)
            reader = StreamReader(file, resume_at_intra=True)
            while reader.read() is not None:
                pass
            index = reader.index
            return StreamIndex(index.frame_count, index.intra, complete=not reader.damage)
    finally:
        file.seek(base)


def _index_from_trailer(source: ByteSource, size: int) -> StreamIndex:
    source.seek(max(size - TRAILER_SIZE, 0))
    offset = unpack_trailer(source.peek(TRAILER_SIZE + 1))
    if offset > size - TRAILER_SIZE:
        raise StreamError(f"trailer: found offset {offset} in a stream of {size} bytes")
    source.seek(offset)
    kind, head_size, packet_size = unpack_head(source.peek(MAX_HEAD_SIZE))
    if kind != END_KIND or offset + packet_size + TRAILER_SIZE != size:
        raise StreamError(f"trailer: found no end packet at offset {offset}")
    return unpack_end(unpack_packet(source.peek(packet_size), head_size), offset)
