"""Frame packets: what they hold, and their bytes. Section 3 of ``docs/bitstream.md``."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum

from nvc_errors import StreamError
from nvc_runtime.stream.fields import FieldReader, pack_varint
from nvc_runtime.stream.header import ExactMode, StreamHeader

MARKER = b"\xf5\x9a"
MAX_PAYLOAD = 1 << 26
MAX_FRAME_NUMBER = (1 << 32) - 2
END_KIND = 3
KIND_MASK = 0x03
CRC_SIZE = DIGEST_SIZE = 4
MAX_HEAD_SIZE = 7
"""Marker, type and the longest length. No packet is shorter than this."""
MIN_FRAME_SIZE = 15
"""Bytes of the smallest frame packet: nothing in its sections, and every varint one byte."""

_SYNC_BIT = 0x04
_PIXELS_BIT = 0x08


class FrameKind(IntEnum):
    """Which of the bundle's two programs a frame is coded with; a repeat is coded with none."""

    REPEAT = 0
    INTRA = 1
    INTER = 2

    @property
    def title(self) -> str:
        """What messages call a frame of this kind."""
        return {self.REPEAT: "a repeat", self.INTRA: "an intra frame"}.get(self, "an inter frame")


@dataclass(frozen=True)
class PacketSizes:
    """Bytes of a packet by what they are for."""

    framing: int
    """Marker, type, lengths, CRC, frame number and quality."""
    checks: int
    """The digest; checks within the entropy payload belong to that."""
    calibration: int
    """The calibration section and its length."""
    pixels: int
    """The pixel section and its length."""
    payload: int
    """The entropy payload."""

    @property
    def total(self) -> int:
        """Bytes of the whole packet."""
        return self.framing + self.checks + self.calibration + self.pixels + self.payload


@dataclass(frozen=True)
class FramePacket:
    """One coded frame.

    Attributes:
        kind: intra, inter, or a repeat of the frame before, which holds nothing: its digest is 0.
        frame_number: 0..2**32-2, counted from the start of the stream.
        quality: quality index of this frame, 0..255.
        digest: digest of all levels and symbols, u32.
        calibration: side information of all scale-prior steps.
        payload: the entropy payload.
        pixels: side information of the decoded samples; None: there is none.
        sync: the references of the next frame are rebuilt from exact samples; needs `pixels`.

    Raises:
        ValueError: the attributes do not fit together or into a packet.

    """

    kind: FrameKind
    frame_number: int
    quality: int
    digest: int
    calibration: bytes
    payload: bytes
    pixels: bytes | None = None
    sync: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FrameKind(self.kind))
        for name, maximum in (
            ("frame_number", MAX_FRAME_NUMBER),
            ("quality", 255),
            ("digest", (1 << 32) - 1),
        ):
            if not 0 <= getattr(self, name) <= maximum:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0..{maximum}")
        held = (self.digest, self.calibration, self.payload, self.pixels)
        if self.kind is FrameKind.REPEAT and held != (0, b"", b"", None):
            raise ValueError("a repeated frame must hold nothing")
        if self.sync and self.pixels is None:
            raise ValueError("a sync frame needs a pixel section")
        size = sum(len(part) for part in self._payload_parts())
        if size > MAX_PAYLOAD:
            raise ValueError(f"the packet's payload is {size} bytes, expected <= {MAX_PAYLOAD}")

    @property
    def sizes(self) -> PacketSizes:
        """Bytes by what they are for; their sum is the size of the packed packet."""
        total = len(pack_frame(self))
        calibration = _section_size(self.calibration)
        pixels = 0 if self.pixels is None else _section_size(self.pixels)
        framing = total - DIGEST_SIZE - calibration - pixels - len(self.payload)
        return PacketSizes(framing, DIGEST_SIZE, calibration, pixels, len(self.payload))

    def check_against(self, header: StreamHeader, group_start: int) -> None:
        """Raise ``ValueError`` if a stream with this header may not hold this packet.

        `group_start` is the number of the last intra frame, or of this one if it is intra.
        """
        position = self.frame_number - group_start
        if 0 < header.keyint <= position:
            raise ValueError(
                f"found {self.kind.title} {position} frames after the last intra frame, expected "
                f"an intra frame: the header's keyint is {header.keyint}"
            )
        if self.sync and not header.sync_interval:
            raise ValueError("found a sync frame, expected none: the header's sync interval is 0")
        exact = header.exact is ExactMode.PIXELS and self.kind is not FrameKind.REPEAT
        if (self.pixels is not None) != (self.sync or exact):
            raise ValueError(
                f"found {'no' if self.pixels is None else 'a'} pixel section, expected one in "
                f"every coded frame if exact mode is pixels (it is {header.exact}), else in "
                "sync frames"
            )

    def _payload_parts(self) -> list[bytes]:
        parts = [
            pack_varint(self.frame_number),
            bytes([self.quality]),
            self.digest.to_bytes(DIGEST_SIZE, "little"),
        ]
        for section in (self.calibration, *(() if self.pixels is None else (self.pixels,))):
            parts += (pack_varint(len(section)), section)
        return [*parts, self.payload]


def pack_frame(packet: FramePacket) -> bytes:
    """Return the whole packet."""
    kind = int(packet.kind)
    kind |= _SYNC_BIT if packet.sync else 0
    kind |= _PIXELS_BIT if packet.pixels is not None else 0
    return pack_packet(kind, b"".join(packet._payload_parts()))


def pack_packet(kind: int, payload: bytes) -> bytes:
    """Return marker, type, length, payload and CRC."""
    checked = bytes([kind]) + pack_varint(len(payload)) + payload
    return MARKER + checked + zlib.crc32(checked).to_bytes(CRC_SIZE, "little")


def unpack_head(head: bytes) -> tuple[int, int, int]:
    """Return type byte, size of marker, type and length, and size of the whole packet.

    Args:
        head: the first ``MAX_HEAD_SIZE`` bytes of the packet.

    Raises:
        StreamError: this is no packet, or one of an unknown type.

    """
    if head[: len(MARKER)] != MARKER:
        raise StreamError(
            f"found {head[: len(MARKER)].hex(' ')}, expected a packet's marker "
            f"{MARKER.hex(' ')}; the stream is damaged"
        )
    reader = FieldReader(head[len(MARKER) :], "packet")
    kind = reader.integer(1, "type")
    length = reader.varint(MAX_PAYLOAD, "length")
    flags = kind & ~KIND_MASK
    is_bare = kind & KIND_MASK in (FrameKind.REPEAT, END_KIND)
    if flags not in ((0,) if is_bare else (0, _PIXELS_BIT, _PIXELS_BIT | _SYNC_BIT)):
        raise StreamError(
            f"found packet type {kind:#04x}, expected one this version knows; the stream is "
            "damaged or needs another release"
        )
    size = len(MARKER) + reader.position
    return kind, size, size + length + CRC_SIZE


def unpack_packet(packet: bytes, head_size: int) -> bytes:
    """Return the payload of a whole packet; ``StreamError`` if its CRC is wrong."""
    crc = int.from_bytes(packet[-CRC_SIZE:], "little")
    found = zlib.crc32(memoryview(packet)[len(MARKER) : -CRC_SIZE])
    if crc != found:
        raise StreamError(f"found CRC {found:#010x}, expected {crc:#010x}; the stream is damaged")
    return packet[head_size:-CRC_SIZE]


def unpack_frame(kind: int, payload: bytes) -> FramePacket:
    """Return the frame packet of a type byte and payload; ``StreamError`` if it is not valid."""
    reader = FieldReader(payload, "frame packet")
    frame_number = reader.varint(MAX_FRAME_NUMBER, "frame number")
    quality = reader.integer(1, "quality")
    digest = reader.integer(DIGEST_SIZE, "digest")
    calibration = reader.section(MAX_PAYLOAD, "calibration section")
    pixels = reader.section(MAX_PAYLOAD, "pixel section") if kind & _PIXELS_BIT else None
    return FramePacket(
        kind=FrameKind(kind & KIND_MASK),
        frame_number=frame_number,
        quality=quality,
        digest=digest,
        calibration=calibration,
        payload=reader.rest(),
        pixels=pixels,
        sync=bool(kind & _SYNC_BIT),
    )


def _section_size(section: bytes) -> int:
    return len(pack_varint(len(section))) + len(section)
