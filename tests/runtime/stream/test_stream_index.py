"""An index that claims more than its stream has room for is refused before it costs memory."""

from __future__ import annotations

import tracemalloc

import pytest

from nvc_errors import StreamError
from nvc_runtime.stream import FrameKind, FramePacket, IntraEntry, StreamIndex
from nvc_runtime.stream.fields import pack_varint
from nvc_runtime.stream.index import TRAILER_SIZE, pack_end, unpack_end
from nvc_runtime.stream.packet import (
    CRC_SIZE,
    END_KIND,
    MAX_HEAD_SIZE,
    MIN_FRAME_SIZE,
    pack_frame,
    unpack_head,
)


def _unpack_index(index: StreamIndex, offset: int) -> StreamIndex:
    kind, head_size, _ = unpack_head(pack_end(index, offset)[:MAX_HEAD_SIZE])
    assert kind == END_KIND
    return unpack_end(pack_end(index, offset)[head_size : -CRC_SIZE - TRAILER_SIZE], offset)


def test_smallest_packet():
    packet = FramePacket(FrameKind.INTRA, 0, 0, 0, b"", b"")
    assert len(pack_frame(packet)) == MIN_FRAME_SIZE


def test_index_of_more_frames_than_there_is_room_for():
    """Frames of 15 bytes each, as tight as they can be; then one byte, or one frame, too many."""
    tight = [IntraEntry(0, 85), IntraEntry(1, 100), IntraEntry(3, 130)]
    for entries, frame_count, offset in (
        (tight, 5, 159),
        (tight, 6, 160),
        ([*tight[:2], IntraEntry(3, 129)], 5, 160),
        ([*tight[:2], IntraEntry(2, 101)], 5, 160),
        ([IntraEntry(0, 14)], 1, 160),
        (tight[:1], 11, 160),
    ):
        with pytest.raises(StreamError, match="end packet"):
            _unpack_index(StreamIndex(frame_count, tuple(entries)), offset)
    good = StreamIndex(5, tuple(tight))
    assert _unpack_index(good, 160) == good


def test_hostile_index_costs_no_memory():
    """A million entries, two bytes each, that all but the first would lie within one packet."""
    payload = pack_varint(1 << 20) + pack_varint(1 << 20) + b"\x00\x55" + b"\x01\x01" * (1 << 20)
    tracemalloc.start()
    try:
        for offset in (1 << 12, 1 << 30):
            with pytest.raises(StreamError, match="end packet"):
                unpack_end(payload, offset)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 16
    assert not hasattr(IntraEntry(0, 0), "__dict__")
