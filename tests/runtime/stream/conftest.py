"""A small stream that the tests of this folder share."""

from __future__ import annotations

import io
from fractions import Fraction

import pytest

from nvc_calib import PositionCoder
from nvc_runtime.stream import FrameKind, FramePacket, StreamHeader, StreamWriter
from nvc_runtime.video.info import ColorSpace


@pytest.fixture(scope="session")
def header() -> StreamHeader:
    return StreamHeader(
        width=1280,
        height=720,
        frame_rate=Fraction(30000, 1001),
        color=ColorSpace(matrix=1, primaries=1, transfer=1, full_range=False),
        chroma="420",
        keyint=3,
        bundle_digest=bytes(range(32)),
        epsilon=1e-4,
        position_coder=PositionCoder.RETRIEVAL,
        skip_level=11,
        pixel_epsilon=3e-4,
        sync_interval=2,
        quality=21,
        bundle_name="tian2023-lite é",
    )


@pytest.fixture(scope="session")
def packets() -> list[FramePacket]:
    """Seven frames: I P(sync) P I P P I."""
    return [
        FramePacket(
            kind=FrameKind.INTRA if number % 3 == 0 else FrameKind.INTER,
            frame_number=number,
            quality=21 + number % 2,
            digest=0x01234567 * (number + 1) & 0xFFFFFFFF,
            calibration=bytes([number] * (number % 4)),
            payload=bytes((number * 37 + k * k) % 256 for k in range(5 + 3 * number)),
            pixels=b"px" if number == 1 else None,
            sync=number == 1,
        )
        for number in range(7)
    ]


@pytest.fixture(scope="session")
def stream(header: StreamHeader, packets: list[FramePacket]) -> bytes:
    file = io.BytesIO()
    with StreamWriter(file, header) as writer:
        for packet in packets:
            writer.write(packet)
    return file.getvalue()


@pytest.fixture(scope="session")
def offsets(header: StreamHeader, packets: list[FramePacket]) -> list[int]:
    """Offset of every frame packet, and of the end packet."""
    file = io.BytesIO()
    writer = StreamWriter(file, header)
    found = [writer.size_bytes]
    for packet in packets:
        writer.write(packet)
        found.append(writer.size_bytes)
    return found
