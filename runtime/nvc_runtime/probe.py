"""What a stream says about itself, without its bundle and without decoding it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

from nvc_runtime.stream import FrameKind, FramePacket, StreamHeader, StreamReader
from nvc_runtime.stream.header import pack_header
from nvc_runtime.stream.index import pack_end


@dataclass(frozen=True)
class PacketRecord:
    """One frame packet; sizes in bytes."""

    number: int
    kind: FrameKind
    sync: bool
    quality: int
    digest: int
    size_bytes: int
    calibration_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "number": self.number,
            "kind": self.kind.name.lower(),
            "sync": self.sync,
            "quality": self.quality,
            "digest": f"{self.digest:08x}",
            "bytes": self.size_bytes,
            "calibration_bytes": self.calibration_bytes,
        }


@dataclass(frozen=True)
class StreamProbe:
    """Header, packets and bits of a stream.

    Attributes:
        header: the stream's header.
        packets: the frame packets that are intact.
        bits: bits by section of the container: header, framing, checks, calibration, pixels,
            payload, index. What the payload is made of only a decoder can tell.
        damage: what is wrong with the stream, one message each; empty if it is whole.

    """

    header: StreamHeader
    packets: list[PacketRecord] = field(default_factory=list)
    bits: dict[str, int] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Bytes of all that is intact."""
        return sum(self.bits.values()) // 8

    @property
    def duration_s(self) -> float:
        """Seconds the intact frames last."""
        return float(len(self.packets) / self.header.frame_rate)

    @property
    def bits_per_pixel(self) -> float:
        """All bits over all displayed pixels; 0 without frames."""
        pixels = len(self.packets) * self.header.width * self.header.height
        return sum(self.bits.values()) / pixels if pixels else 0.0

    @property
    def kilobits_per_s(self) -> float:
        """Bit rate at the stream's frame rate; 0 without frames."""
        return sum(self.bits.values()) / self.duration_s / 1000 if self.packets else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        header = self.header
        return {
            "width": header.width,
            "height": header.height,
            "frame_rate": str(header.frame_rate),
            "chroma": header.chroma,
            "color": {
                "matrix": header.color.matrix,
                "primaries": header.color.primaries,
                "transfer": header.color.transfer,
                "full_range": header.color.full_range,
            },
            "bundle": {"name": header.bundle_name, "digest": header.bundle_digest.hex()},
            "settings": settings_of_header(header),
            "frames": len(self.packets),
            "intra_frames": sum(packet.kind is FrameKind.INTRA for packet in self.packets),
            "repeated_frames": sum(packet.kind is FrameKind.REPEAT for packet in self.packets),
            "duration_s": round(self.duration_s, 6),
            "bytes": self.size_bytes,
            "bits_per_pixel": round(self.bits_per_pixel, 6),
            "kilobits_per_s": round(self.kilobits_per_s, 3),
            "bits": self.bits,
            "damage": self.damage,
            "packets": [packet.to_json() for packet in self.packets],
        }


def probe_stream(file: BinaryIO) -> StreamProbe:
    """Read a whole stream; damage is listed in the result, not raised.

    Raises:
        StreamError: this is no stream, or its header is damaged.

    """
    reader = StreamReader(file, resume_at_intra=True)
    bits = {"header": 8 * len(pack_header(reader.header))}
    packets = []
    for packet in reader:
        packets.append(_record(packet))
        sizes = packet.sizes
        for section in ("framing", "checks", "calibration", "pixels", "payload"):
            bits[section] = bits.get(section, 0) + 8 * getattr(sizes, section)
    if reader.index.complete:
        # Only the length is asked for, and that does not depend on where the end packet is.
        bits["index"] = 8 * len(pack_end(reader.index, 0))
    return StreamProbe(reader.header, packets, bits, list(reader.damage))


def settings_of_header(header: StreamHeader) -> dict[str, Any]:
    """Return an encoder's choices as plain data, by the names of its options."""
    return {
        "quality": header.quality,
        "keyint": header.keyint,
        "skip_level": header.skip_level,
        "calibration": str(header.position_coder.value),
        "epsilon": header.epsilon,
        "exact": str(header.exact.value),
        "pixel_epsilon": header.pixel_epsilon,
        "sync": header.sync_interval,
    }


def _record(packet: FramePacket) -> PacketRecord:
    sizes = packet.sizes
    return PacketRecord(
        number=packet.frame_number,
        kind=packet.kind,
        sync=packet.sync,
        quality=packet.quality,
        digest=packet.digest,
        size_bytes=sizes.total,
        calibration_bytes=sizes.calibration,
    )
