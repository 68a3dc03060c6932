"""Header and packets: round trips, limits, and bytes that must never change."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_calib import PositionCoder
from nvc_errors import StreamError, UsageError
from nvc_runtime.stream import (
    ExactMode,
    FrameKind,
    FramePacket,
    StreamHeader,
    StreamReader,
    StreamWriter,
)
from nvc_runtime.stream.fields import FieldReader, pack_varint
from nvc_runtime.stream.header import PREFIX_SIZE, pack_header, unpack_header
from nvc_runtime.stream.packet import (
    MAX_HEAD_SIZE,
    MIN_FRAME_SIZE,
    pack_frame,
    pack_packet,
    unpack_frame,
    unpack_head,
    unpack_packet,
)
from nvc_runtime.video.info import ColorSpace

u8, u32 = st.integers(0, 255), st.integers(0, 2**32 - 1)

headers = st.builds(
    StreamHeader,
    width=st.integers(16, 4096),
    height=st.integers(16, 2304),
    frame_rate=st.builds(Fraction, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1)),
    color=st.builds(ColorSpace, u8, st.booleans(), u8, u8),
    chroma=st.sampled_from(["420", "422", "444"]),
    keyint=u32,
    bundle_digest=st.binary(min_size=32, max_size=32),
    epsilon=st.floats(0, 0.249999),
    position_coder=st.sampled_from(PositionCoder),
    skip_level=st.integers(-1, 254),
    exact=st.sampled_from(ExactMode),
    pixel_epsilon=st.floats(0, 0.249999),
    sync_interval=u32,
    quality=u8,
    bundle_name=st.text(max_size=16).filter(str.isprintable),
)


def repeat(number: int, quality: int = 20) -> FramePacket:
    return FramePacket(FrameKind.REPEAT, number, quality, 0, b"", b"")


@st.composite
def frames(draw: st.DrawFn, number: int, *, exact: bool, sync_allowed: bool) -> FramePacket:
    kind = FrameKind.INTRA if number == 0 else draw(st.sampled_from(FrameKind))
    if kind is FrameKind.REPEAT:
        return repeat(number, draw(u8))
    sync = sync_allowed and draw(st.booleans())
    return FramePacket(
        kind=kind,
        frame_number=number,
        quality=draw(u8),
        digest=draw(u32),
        calibration=draw(st.binary(max_size=200)),
        payload=draw(st.binary(max_size=300)),
        pixels=draw(st.binary(max_size=150)) if exact or sync else None,
        sync=sync,
    )


@given(data=st.data(), header=headers, count=st.integers(0, 4))
@settings(max_examples=80, deadline=None)
def test_stream_round_trips(data, header, count):
    allowed = header.sync_interval > 0
    exact = header.exact is ExactMode.PIXELS
    packets = [data.draw(frames(n, exact=exact, sync_allowed=allowed)) for n in range(count)]
    if 0 < header.keyint <= count:
        exact_pixels = b"" if exact else None
        packets = [
            dataclasses.replace(
                packet,
                kind=FrameKind.INTRA,
                pixels=exact_pixels if packet.kind is FrameKind.REPEAT else packet.pixels,
            )
            for packet in packets
        ]
    file = io.BytesIO()
    with StreamWriter(file, header) as writer:
        for packet in packets:
            before = writer.size_bytes
            writer.write(packet)
            assert writer.size_bytes - before == packet.sizes.total
    assert writer.size_bytes == len(file.getvalue())
    file.seek(0)
    reader = StreamReader(file)
    assert reader.header == header
    assert list(reader) == packets
    assert reader.index == writer.finish()


@given(value=st.integers(0, 2**63))
def test_varint_round_trips_and_is_shortest(value):
    packed = pack_varint(value)
    reader = FieldReader(packed, "test")
    assert reader.varint(2**63, "value") == value
    assert reader.remaining == 0
    assert len(packed) == max(1, -(-value.bit_length() // 7))


@pytest.mark.parametrize(
    ("packed", "maximum"),
    [("8000", 99), ("ff00", 999), ("80", 99), ("", 99), ("64", 99), ("ffffffffff7f", 2**32)],
)
def test_bad_varint_is_refused(packed, maximum):
    with pytest.raises(StreamError):
        FieldReader(bytes.fromhex(packed), "test").varint(maximum, "value")


@pytest.mark.parametrize(
    "change",
    [
        {"width": 15},
        {"width": 4097},
        {"height": 2305},
        {"keyint": -1},
        {"keyint": 2**32},
        {"skip_level": 255},
        {"skip_level": -2},
        {"quality": 256},
        {"epsilon": 0.25},
        {"epsilon": 0.24999999999},
        {"epsilon": -1e-9},
        {"epsilon": float("nan")},
        {"pixel_epsilon": float("inf")},
        {"frame_rate": Fraction(0)},
        {"frame_rate": Fraction(2**32)},
        {"frame_rate": Fraction(1, 2**32)},
        {"chroma": "411"},
        {"bundle_digest": b"short"},
        {"bundle_name": "a\nb"},
        {"bundle_name": "\ud800"},
        {"bundle_name": "é" * 33},
        {"sync_interval": 2**32},
    ],
)
def test_header_value_out_of_range(header, change):
    with pytest.raises(UsageError, match=r"found|can't encode|epsilon"):
        dataclasses.replace(header, **change)


@given(value=st.floats(0, 0.249999))
def test_epsilon_is_rounded_up_to_what_the_stream_carries(header, value):
    rounded = dataclasses.replace(header, epsilon=value).epsilon
    assert struct.unpack("<f", struct.pack("<f", rounded))[0] == rounded
    assert value <= rounded <= value * (1 + 2**-23) + 2**-149
    assert dataclasses.replace(header, epsilon=rounded).epsilon == rounded


def _with_patch(header: StreamHeader, at: int, patch: bytes) -> bytes:
    """Header bytes with some replaced and the CRC made right again."""
    raw = bytearray(pack_header(header))
    raw[at : at + len(patch)] = patch
    raw[-4:] = zlib.crc32(raw[8:-4]).to_bytes(4, "little")
    return bytes(raw)


@pytest.mark.parametrize(
    ("at", "patch", "message"),
    [
        (0, "00", "no nvc stream"),
        (4, "0a0a", "transferred as text"),
        (8, "01", "format version 1"),
        (8, "00", "format version 0"),
        (9, "4500", "length of 69"),
        (9, "ffff", "length of 65535"),
        (11, "0f00", "width: found 15"),
        (11, "0110", "width: found 4097"),
        (13, "0000", "height: found 0"),
        (15, "00000000", "frame rate"),
        (19, "00000000", "frame rate"),
        (15, "0200000002000000", "lowest terms"),
        (26, "02", "flags 0x02"),
        (27, "00", "chroma format 0"),
        (27, "04", "chroma format 4"),
        (64, "0000803e", "epsilon"),
        (64, "0000c07f", "epsilon"),
        (64, "000000bf", "epsilon"),
        (68, "03", "position coder 3"),
        (70, "02", "exact mode 2"),
        (80, "0f", "1 further bytes"),
        (80, "11", "takes 17 bytes"),
        (81, "07", "printable"),
        (81, "ff", "invalid start byte"),
    ],
)
def test_header_of_another_kind_is_refused(header, at, patch, message):
    raw = _with_patch(header, at, bytes.fromhex(patch))
    with pytest.raises(StreamError, match=message):
        StreamReader(io.BytesIO(raw))


def test_header_layout(header):
    raw = pack_header(header)
    name = header.bundle_name.encode()
    assert len(raw) == 85 + len(name)
    assert raw[81:-4] == name
    assert unpack_header(raw[:PREFIX_SIZE], raw[PREFIX_SIZE:]) == header


@pytest.mark.parametrize(
    "change",
    [
        {"frame_number": -1},
        {"frame_number": 2**32 - 1},
        {"quality": 256},
        {"digest": 2**32},
        {"calibration": bytes(2**26)},
        {"sync": True},
        {"kind": 3},
        {"payload": bytes(2**26)},
    ],
)
def test_packet_that_cannot_be(packets, change):
    with pytest.raises(ValueError, match=r"expected|needs|not a valid"):
        dataclasses.replace(packets[0], **change)


def test_sizes_say_where_the_bytes_go(packets):
    sizes = packets[1].sizes
    assert len(pack_frame(packets[1])) == sizes.total
    assert sizes.framing == 2 + 1 + 1 + 4 + 1 + 1
    assert sizes.checks == 4
    assert sizes.calibration == 1 + 1
    assert sizes.pixels == 1 + 2
    assert sizes.payload == len(packets[1].payload)


def test_overhead_of_a_small_inter_frame():
    packet = FramePacket(FrameKind.INTER, 500, 20, 1, b"", bytes(300))
    assert len(pack_frame(packet)) == 300 + 17


@pytest.mark.parametrize(
    "change", [{"digest": 1}, {"calibration": b"c"}, {"payload": b"p"}, {"pixels": b""}]
)
def test_a_repeat_holds_nothing(change):
    with pytest.raises(ValueError, match="hold nothing"):
        dataclasses.replace(repeat(1), **change)


def test_a_repeat_is_the_shortest_packet():
    assert repeat(1).sizes.total == len(pack_frame(repeat(1))) == MIN_FRAME_SIZE
    packed = pack_frame(repeat(1))
    kind, head, _ = unpack_head(packed)
    assert unpack_frame(kind, unpack_packet(packed, head)) == repeat(1)


def test_a_repeat_that_holds_something_is_damage(header, packets):
    file = io.BytesIO()
    StreamWriter(file, header).write(packets[0])
    for rest in (b"\x01\x00\x00\x00\x00", bytes(4) + b"\x01c", bytes(5) + b"p"):
        damaged = file.getvalue() + pack_packet(FrameKind.REPEAT, b"\x01\x14" + rest)
        reader = StreamReader(io.BytesIO(damaged))
        assert reader.read() == packets[0]
        with pytest.raises(StreamError, match="hold nothing"):
            reader.read()


def test_no_group_starts_with_a_repeat(header, packets):
    writer = StreamWriter(io.BytesIO(), header)
    with pytest.raises(ValueError, match="first frame"):
        writer.write(repeat(0))
    for packet in (packets[0], repeat(1), repeat(2)):
        writer.write(packet)
    with pytest.raises(ValueError, match=r"a repeat 3 frames after .* keyint is 3"):
        writer.write(repeat(3))


@pytest.mark.parametrize(
    "kind", [4, 0x05, 0x07, 0x08, 0x0B, 0x0C, 0x0F, 0x10, 0x11, 0x21, 0x41, 0x83]
)
def test_unknown_packet_type_is_refused(kind):
    with pytest.raises(StreamError, match="packet type"):
        unpack_head(b"\xf5\x9a" + bytes([kind, 9, 0, 0, 0]))


def test_packet_length_is_bounded():
    too_long = pack_varint(2**26 + 1)
    with pytest.raises(StreamError, match="length"):
        unpack_head((b"\xf5\x9a\x01" + too_long)[:MAX_HEAD_SIZE])


def test_writer_refuses_what_readers_would(header, packets):
    writer = StreamWriter(io.BytesIO(), header)
    with pytest.raises(ValueError, match="first frame"):
        writer.write(dataclasses.replace(packets[0], kind=FrameKind.INTER))
    with pytest.raises(ValueError, match="frame number is 1"):
        writer.write(packets[1])
    with pytest.raises(ValueError, match="pixel section"):
        writer.write(dataclasses.replace(packets[0], pixels=b""))
    for packet in packets[:3]:
        writer.write(packet)
    with pytest.raises(ValueError, match=r"3 frames after .* keyint is 3"):
        writer.write(dataclasses.replace(packets[3], kind=FrameKind.INTER))
    exact = dataclasses.replace(header, exact=ExactMode.PIXELS, sync_interval=0)
    writer = StreamWriter(io.BytesIO(), exact)
    with pytest.raises(ValueError, match="pixel section"):
        writer.write(packets[0])
    with pytest.raises(ValueError, match="sync frame"):
        writer.write(dataclasses.replace(packets[0], pixels=b"", sync=True))
    writer.finish()
    with pytest.raises(ValueError, match="finished"):
        writer.write(packets[0])


GOLDEN = (
    "894e56430d0a1a0a0256000005d00230750000e9030000010101000103000000000102030405060708090a0b"
    "0c0d0e0f101112131415161718191a1b1c1d1e1f18b7d138020c0052499d390200000015107469616e323032"
    "332d6c69746520c3a99d2cf711f59a010c001567452301000001040910171adf0cf59a0e130116ce8a460201"
    "010270782526292e353e495694882187f59a0214021535d069030202024a4b4e535a636e7b8a9baea4ed6c84"
    "f59a011803169c158d04030303036f7073787f8893a0afc0d3e8ff1857cbf1a1f59a02180415035bb0050094"
    "95989da4adb8c5d4e5f80d243d5875948f9d4b15f59a021c05166aa0d3060105b9babdc2c9d2ddeaf90a1d32"
    "49627d9ab9dafd22ce59f052f59a01200615d1e5f607020606dedfe2e7eef7020f1e2f42576e87a2bfdeff22"
    "476e97c2cd54fd74f59a030807030065034b036499a112d63c010000000000004e56432d454e440a"
)


def test_golden_bytes(stream):
    """Bytes that must never change: version 1 of the format."""
    assert stream.hex() == GOLDEN
