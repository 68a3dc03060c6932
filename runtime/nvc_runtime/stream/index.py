"""The end packet and trailer: where the intra frames are. Section 3.2 of ``docs/bitstream.md``."""

from __future__ import annotations

from dataclasses import dataclass

from nvc_errors import StreamError
from nvc_runtime.stream.fields import FieldReader, pack_varint
from nvc_runtime.stream.packet import END_KIND, MAX_FRAME_NUMBER, MIN_FRAME_SIZE, pack_packet

TRAILER_MAGIC = b"NVC-END\n"
TRAILER_SIZE = 8 + len(TRAILER_MAGIC)

_MAX_OFFSET = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class IntraEntry:
    """Where decoding can start: an intra frame's number, and its packet's offset in bytes."""

    frame_number: int
    offset: int


@dataclass(frozen=True)
class StreamIndex:
    """How many frames a stream has, and its intra frames in order.

    `complete` is False if the stream is damaged or truncated and this is what could be found.
    """

    frame_count: int
    intra: tuple[IntraEntry, ...]
    complete: bool = True


def pack_end(index: StreamIndex, offset: int) -> bytes:
    """Return end packet and trailer for an end packet at `offset`."""
    payload = [pack_varint(index.frame_count), pack_varint(len(index.intra))]
    last = IntraEntry(0, 0)
    for entry in index.intra:
        payload.append(pack_varint(entry.frame_number - last.frame_number))
        payload.append(pack_varint(entry.offset - last.offset))
        last = entry
    return pack_packet(END_KIND, b"".join(payload)) + offset.to_bytes(8, "little") + TRAILER_MAGIC


def unpack_end(payload: bytes, offset: int) -> StreamIndex:
    """Return the index of an end packet at `offset`; ``StreamError`` if it is not valid.

    There must be room for as many frames as it tells of, so memory grows with the bytes of the
    stream and not only with those of the index.
    """
    reader = FieldReader(payload, "end packet")
    frame_count = reader.varint(min(MAX_FRAME_NUMBER + 1, offset // MIN_FRAME_SIZE), "frame count")
    # Two bytes an entry at least: the count is checked before anything is made of it.
    count = reader.varint(min(frame_count, reader.remaining // 2), "intra count")
    entries: list[IntraEntry] = []
    number = position = 0
    for _ in range(count):
        number_delta = reader.varint(MAX_FRAME_NUMBER, "frame number")
        offset_delta = reader.varint(_MAX_OFFSET, "packet offset")
        number, position = number + number_delta, position + offset_delta
        first = not entries
        if (
            (number_delta == 0) != first
            or offset_delta < MIN_FRAME_SIZE * max(number_delta, 1)
            or number >= frame_count
            or position + MIN_FRAME_SIZE * (frame_count - number) > offset
        ):
            raise StreamError(
                f"end packet: found an intra frame {number} at offset {position}, expected "
                f"increasing numbers from 0 to below {frame_count}, and offsets below {offset} "
                f"with {MIN_FRAME_SIZE} bytes or more for every frame; the stream is damaged"
            )
        entries.append(IntraEntry(number, position))
    if reader.remaining or (frame_count > 0) != bool(entries):
        raise StreamError(
            f"end packet: found {len(entries)} intra frames of {frame_count} and "
            f"{reader.remaining} further bytes, expected at least one if there are frames and no "
            "further bytes; the stream is damaged"
        )
    return StreamIndex(frame_count, tuple(entries))


def unpack_trailer(trailer: bytes) -> int:
    """Return the end packet's offset; ``StreamError`` if these bytes are no trailer."""
    if len(trailer) != TRAILER_SIZE or trailer[8:] != TRAILER_MAGIC:
        raise StreamError(
            f"trailer: found {trailer[8:].hex(' ')}, expected {TRAILER_MAGIC.hex(' ')}; the stream "
            "is damaged or incomplete"
        )
    return int.from_bytes(trailer[:8], "little")
