"""Truncated and damaged streams: never a crash, never a packet that was not written."""

from __future__ import annotations

import dataclasses
import io
import random
import tracemalloc
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_calib import PositionCoder
from nvc_errors import OutputError, StreamError, TruncatedStreamError, UsageError
from nvc_runtime.stream import (
    FrameKind,
    IntraEntry,
    StreamHeader,
    StreamIndex,
    StreamReader,
    StreamWriter,
    read_index,
)
from nvc_runtime.stream.header import pack_header
from nvc_runtime.stream.index import pack_end
from nvc_runtime.stream.packet import pack_frame
from nvc_runtime.video.info import ColorSpace

_HEADER = pack_header(
    StreamHeader(
        64, 64, Fraction(30), ColorSpace(1), "420", 0, bytes(32), 0.0, PositionCoder.NONE, -1
    )
)


def _read(data: bytes, *, resume: bool = False):
    """Packets delivered, and the error after them."""
    delivered = []
    try:
        reader = StreamReader(io.BytesIO(data), resume_at_intra=resume)
        while (packet := reader.read()) is not None:
            delivered.append(packet)
    except StreamError as error:
        return delivered, error
    return delivered, reader


def _read_at(data: bytes, entry: IntraEntry):
    reader = StreamReader(io.BytesIO(data))
    reader.seek(entry)
    return reader.read()


def test_every_truncation_delivers_the_whole_packets(stream, packets, offsets):
    for size in range(len(stream)):
        delivered, error = _read(stream[:size])
        whole = max(0, sum(end <= size for end in offsets) - 1)
        assert delivered == packets[:whole]
        assert isinstance(error, TruncatedStreamError)
        assert f"ends at offset {size}:" in str(error)
        assert f"{whole} frames are whole" in str(error)


def test_every_truncation_is_reported_when_resuming(stream, packets, offsets):
    for size in range(offsets[0], len(stream)):
        delivered, reader = _read(stream[:size], resume=True)
        whole = sum(end <= size for end in offsets) - 1
        assert delivered == packets[:whole]
        assert len(reader.damage) == 1
        assert f"ends at offset {size}" in reader.damage[0]
        assert not reader.index.complete


def test_every_bit_flip_is_noticed(stream, packets):
    for bit in range(8 * len(stream)):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        delivered, error = _read(bytes(damaged))
        assert isinstance(error, StreamError), f"bit {bit} went unnoticed"
        assert delivered == packets[: len(delivered)]


def test_every_bit_flip_costs_at_most_its_gop_when_resuming(stream, packets, offsets):
    for bit in range(8 * offsets[0], 8 * len(stream)):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        delivered, reader = _read(bytes(damaged), resume=True)
        hit = sum(end <= bit // 8 for end in offsets) - 1
        resumed = next((n for n in (0, 3, 6) if n > hit), 7)
        assert delivered == packets[:hit] + packets[resumed:]
        assert reader.damage
        assert f"frame {hit}, packet at offset {offsets[hit]}:" in reader.damage[0] or (
            f"{hit} frames are whole" in reader.damage[0]
        )


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_never_invents_a_packet(stream, packets, seed):
    rng = random.Random(seed)
    data = bytearray(stream)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data))
        action = rng.choice(["delete", "insert", "copy", "change"])
        if action == "delete":
            del data[at : at + rng.randint(1, 20)]
        elif action == "insert":
            data[at:at] = rng.randbytes(rng.randint(1, 20))
        elif action == "copy":
            start = rng.randrange(len(data))
            data[at:at] = data[start : start + rng.randint(1, 120)]
        else:
            data[at] = rng.randrange(256)
        if not data:
            data = bytearray(stream)
    for resume in (False, True):
        delivered, _ = _read(bytes(data), resume=resume)
        numbers = [packet.frame_number for packet in delivered]
        assert numbers == sorted(set(numbers))
        assert all(packet == packets[packet.frame_number] for packet in delivered)


@pytest.mark.parametrize("lost", range(7))
def test_missing_packet_is_noticed(packets, stream, offsets, lost):
    data = stream[: offsets[lost]] + stream[offsets[lost + 1] :]
    delivered, error = _read(data)
    assert delivered == packets[:lost]
    assert isinstance(error, StreamError)


def test_lost_frames_are_named(stream, packets, offsets):
    damaged = bytearray(stream)
    damaged[offsets[1] + 9] ^= 0x40
    delivered, reader = _read(bytes(damaged), resume=True)
    assert delivered == [packets[0], *packets[3:]]
    assert reader.damage[0].startswith(f"frame 1, packet at offset {offsets[1]}: found CRC")
    assert reader.damage[1] == (
        f"frames 1..2 are lost: reading goes on at the intra frame at offset {offsets[3]}"
    )
    damaged = bytearray(stream)
    damaged[offsets[6] + 9] ^= 0x40
    delivered, reader = _read(bytes(damaged), resume=True)
    assert delivered == packets[:6]
    assert reader.damage[1].startswith("frames 6..6 are lost: no intact intra frame follows")


def test_damaged_first_frame_is_passed_over(stream, packets, offsets):
    damaged = bytearray(stream)
    damaged[offsets[0]] ^= 1
    delivered, reader = _read(bytes(damaged), resume=True)
    assert delivered == packets[3:]
    assert reader.frame_count == 4


def test_index_that_disagrees_is_noticed(packets, stream, offsets):
    good = [IntraEntry(n, offsets[n]) for n in (0, 3, 6)]
    end = offsets[-1]
    for index in (
        StreamIndex(8, tuple(good)),
        StreamIndex(7, tuple(good[:2])),
        StreamIndex(7, (good[0], IntraEntry(3, offsets[3] + 1), good[2])),
        StreamIndex(7, (IntraEntry(1, offsets[1]), *good[1:])),
        StreamIndex(6, tuple(good)),
        StreamIndex(7, ()),
        StreamIndex(7, (*good[:2], IntraEntry(6, end))),
    ):
        delivered, error = _read(stream[:end] + pack_end(index, end))
        assert delivered == packets
        assert isinstance(error, StreamError)
        assert "end packet" in str(error)
    delivered, error = _read(stream[:end] + pack_end(StreamIndex(7, tuple(good)), end + 1))
    assert isinstance(error, StreamError)
    assert "trailer" in str(error)


def test_claimed_size_allocates_nothing():
    """A length of 64 MiB in a file of some bytes."""
    head = b"\xf5\x9a\x01\x80\x80\x80\x20"
    tracemalloc.start()
    try:
        for resume in (False, True):
            _read(_HEADER + head + b"abc", resume=resume)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 << 20


def test_hostile_markers_do_not_hold_the_reader_up(monkeypatch):
    """Every marker claims a packet as long as the file: quadratic, were it not for the budget."""
    monkeypatch.setattr("nvc_runtime.stream.reader._SCAN_BUDGET", 1 << 20)
    data = _HEADER + b"\xf5\x9a\x01\xa0\x8d\x06" * 20_000
    _, reader = _read(data, resume=True)
    assert "too many false packet markers" in reader.damage[-1]
    assert reader._scan_spent < (2 << 20) + 9 * len(data)


def test_seek_reads_on_from_an_intra_frame(stream, packets):
    file = io.BytesIO(stream)
    index = read_index(file)
    assert file.tell() == 0
    assert index.complete
    assert [entry.frame_number for entry in index.intra] == [0, 3, 6]
    reader = StreamReader(file)
    for entry in reversed(index.intra):
        reader.seek(entry)
        assert list(reader) == packets[entry.frame_number :]
        assert reader.index == index


def test_seek_to_a_wrong_place_is_noticed(stream, offsets):
    for entry in (
        IntraEntry(3, offsets[6]),
        IntraEntry(1, offsets[1]),
        IntraEntry(3, offsets[3] + 1),
        IntraEntry(3, len(stream) + 100),
        IntraEntry(3, 2**62),
        IntraEntry(3, 2**70),
    ):
        with pytest.raises(StreamError):
            _read_at(stream, entry)


def test_an_inter_frame_beyond_keyint_is_refused(packets, stream, offsets):
    """Frame 3 as an inter frame, in a stream whose header says 3."""
    late = pack_frame(dataclasses.replace(packets[3], kind=FrameKind.INTER))
    damaged = stream[: offsets[3]] + late + stream[offsets[4] :]
    delivered, error = _read(damaged)
    assert delivered == packets[:3]
    assert str(error) == (
        f"frame 3, packet at offset {offsets[3]}: found an inter frame 3 frames after the last "
        "intra frame, expected an intra frame: the header's keyint is 3"
    )
    delivered, reader = _read(damaged, resume=True)
    assert delivered == packets[:3] + packets[6:]
    assert "keyint is 3" in reader.damage[0]


def test_keyint_counts_from_the_intra_frame_that_was_read(header, packets):
    """Reading that starts at frame 6 knows of no other."""
    file = io.BytesIO()
    with StreamWriter(file, dataclasses.replace(header, keyint=0)) as writer:
        for packet in packets:
            writer.write(packet)
        place = writer.size_bytes
        for number in (7, 8, 9):
            writer.write(dataclasses.replace(packets[5], frame_number=number))
    data = pack_header(header) + file.getvalue()[len(pack_header(header)) :]
    reader = StreamReader(io.BytesIO(data))
    reader.seek(IntraEntry(6, place - len(pack_frame(packets[6]))))
    assert [reader.read().frame_number for _ in range(3)] == [6, 7, 8]
    with pytest.raises(StreamError, match=r"frame 9, .* 3 frames after"):
        reader.read()


@pytest.mark.parametrize("keyint", [0, 7])
def test_intra_frames_may_come_earlier_than_keyint_says(header, packets, keyint):
    file = io.BytesIO()
    with StreamWriter(file, dataclasses.replace(header, keyint=keyint)) as writer:
        for packet in packets:
            writer.write(packet)
    assert _read(file.getvalue())[0] == packets


def test_index_of_a_stream_inside_a_file(stream):
    file = io.BytesIO(b"before" + stream)
    file.seek(6)
    index = read_index(file)
    assert index.complete
    reader = StreamReader(file)
    reader.seek(index.intra[1])
    assert reader.read().frame_number == 3


def test_index_without_a_usable_end(stream, offsets):
    cut = read_index(io.BytesIO(stream[: offsets[4] + 3]))
    assert cut == StreamIndex(4, (IntraEntry(0, offsets[0]), IntraEntry(3, offsets[3])), False)
    for bit in range(8 * offsets[-1], 8 * len(stream)):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        index = read_index(io.BytesIO(bytes(damaged)))
        assert [entry.offset for entry in index.intra] == [offsets[n] for n in (0, 3, 6)]
        assert not index.complete
    with pytest.raises(StreamError, match="no nvc stream"):
        read_index(io.BytesIO(b"something else entirely, and long enough"))
    with pytest.raises(TruncatedStreamError):
        read_index(io.BytesIO(b""))


class Pipe(io.RawIOBase):
    """Cannot seek, gives few bytes at a time, and fails when asked for more than was written."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._data, self._piece, self.asked = io.BytesIO(data), piece, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self.asked += len(buffer)
        piece = self._data.read(min(len(buffer), self._piece))
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_pipe_is_read_forward(stream, packets, piece):
    reader = StreamReader(Pipe(stream + b"next", piece))
    assert list(reader) == packets
    assert reader.index.complete
    with pytest.raises(UsageError, match="pipe"):
        reader.seek(IntraEntry(0, 0))
    with pytest.raises(UsageError, match="pipe"):
        read_index(Pipe(stream, piece))


def test_reader_never_asks_for_bytes_of_the_next_packet(stream, offsets):
    pipe = Pipe(stream, 10**6)
    reader = StreamReader(pipe)
    for number, end in enumerate(offsets[1:]):
        assert reader.read().frame_number == number
        assert pipe.asked == pipe._data.tell() == end
    assert reader.read() is None
    assert pipe.asked == len(stream)


class Sink(io.RawIOBase):
    """Takes three bytes at a time and breaks after `limit`."""

    def __init__(self, limit: int) -> None:
        self.data, self._limit = bytearray(), limit

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        if len(self.data) >= self._limit:
            raise BrokenPipeError("nobody reads")
        self.data += data[:3]
        return min(3, len(data))


def test_writer_works_on_pipes(header, packets, stream):
    sink = Sink(10**6)
    with StreamWriter(sink, header) as writer:
        for packet in packets:
            writer.write(packet)
    assert bytes(sink.data) == stream


def test_broken_pipe_is_an_output_error(header):
    with pytest.raises(OutputError, match="cannot be written at offset"):
        StreamWriter(Sink(10), header)


def test_error_leaves_the_stream_without_an_end(header, packets, stream, offsets):
    def write_one_and_fail() -> None:
        with StreamWriter(file, header) as writer:
            writer.write(packets[0])
            raise KeyError

    file = io.BytesIO()
    with pytest.raises(KeyError):
        write_one_and_fail()
    assert file.getvalue() == stream[: offsets[1]]


def test_unreadable_file_is_a_stream_error(stream):
    class Broken(Pipe):
        def readinto(self, buffer) -> int:
            raise OSError(f"the disk is gone, {len(buffer)} bytes not read")

    with pytest.raises(StreamError, match="disk is gone"):
        StreamReader(Broken(stream, 1))


def test_same_packet_twice_is_noticed(packets, stream, offsets):
    again = dataclasses.replace(packets[0])
    data = stream[: offsets[1]] + pack_frame(again) + stream[offsets[1] :]
    delivered, error = _read(data)
    assert delivered == packets[:1]
    assert "found frame number 0, expected 1" in str(error)


@given(tail=st.binary(max_size=120), resume=st.booleans())
@settings(max_examples=150, deadline=None)
def test_garbage_after_a_header_is_only_ever_a_stream_error(tail, resume):
    delivered, outcome = _read(_HEADER + tail, resume=resume)
    assert delivered == []
    assert isinstance(outcome, StreamError) or outcome.damage
