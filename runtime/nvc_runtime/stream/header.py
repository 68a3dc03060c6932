"""The stream header: what a decoder must know before the first frame.

Section 2 of ``docs/bitstream.md``.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from nvc_calib import PositionCoder
from nvc_calib.boundaries import round_epsilon
from nvc_errors import NvcError, StreamError, UsageError
from nvc_runtime.stream.fields import FieldReader
from nvc_runtime.video.info import CHROMA_FORMATS, MAX_HEIGHT, MAX_WIDTH, MIN_SIDE, ColorSpace

MAGIC = b"\x89NVC\r\n\x1a\n"
VERSION = 2
NAME_LIMIT = 64
"""Bytes of UTF-8 in a bundle name."""

PREFIX_SIZE = len(MAGIC) + 3
"""Magic, version and header length."""

_FIELDS = struct.Struct("<HHIIBBBBBI32sfBBBfIBB")
_U32_MAX = (1 << 32) - 1


class ExactMode(StrEnum):
    """What is the same on every platform."""

    SYMBOLS = "symbols"
    """Every decoded symbol; samples may differ in the last bit."""
    PIXELS = "pixels"
    """Every decoded sample, too."""


_WIRE_MODES = (ExactMode.SYMBOLS, ExactMode.PIXELS)


@dataclass(frozen=True)
class StreamHeader:
    """Properties of a whole stream.

    Attributes:
        width: samples a row as displayed, 16..4096.
        height: rows as displayed, 16..2304.
        frame_rate: frames per second, numerator and denominator below 2**32.
        color: how the decoded frames are to be shown.
        chroma: chroma format of the source, "420", "422" or "444".
        keyint: most frames from one intra frame to the next; 0: no limit.
        bundle_digest: 32 bytes, SHA-256 that identifies the bundle.
        epsilon: bound of the scale index's drift, 0 <= epsilon < 0.25. Rounded up to binary32:
            encoder and decoder must both use the value of this attribute.
        position_coder: how the positions near level boundaries are coded.
        skip_level: elements up to this level are not coded, -1..254.
        exact: what is the same on every platform.
        pixel_epsilon: bound of a sample's drift in 8-bit units; otherwise as `epsilon`.
        sync_interval: frames from one sync frame to the next; 0: none.
        quality: quality index asked for, 0..255.
        bundle_name: for people only; at most 64 bytes of printable UTF-8.

    Raises:
        UsageError: a value is outside its range.

    """

    width: int
    height: int
    frame_rate: Fraction
    color: ColorSpace
    chroma: str
    keyint: int
    bundle_digest: bytes
    epsilon: float
    position_coder: PositionCoder
    skip_level: int
    exact: ExactMode = ExactMode.SYMBOLS
    pixel_epsilon: float = 0.0
    sync_interval: int = 0
    quality: int = 0
    bundle_name: str = ""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("width", MIN_SIDE, MAX_WIDTH),
            ("height", MIN_SIDE, MAX_HEIGHT),
            ("keyint", 0, _U32_MAX),
            ("skip_level", -1, 254),
            ("sync_interval", 0, _U32_MAX),
            ("quality", 0, 255),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise UsageError(f"{name}: found {value!r}, expected {low}..{high}")
        rate = Fraction(self.frame_rate)
        if not (0 < rate.numerator <= _U32_MAX and rate.denominator <= _U32_MAX):
            raise UsageError(
                f"frame rate: found {rate}, expected a positive ratio of two 32-bit numbers"
            )
        object.__setattr__(self, "frame_rate", rate)
        for name in ("epsilon", "pixel_epsilon"):
            try:
                object.__setattr__(self, name, round_epsilon(getattr(self, name)))
            except UsageError as error:
                raise UsageError(f"{name}: {error}") from error
        if self.chroma not in CHROMA_FORMATS:
            raise UsageError(f"chroma format: found {self.chroma!r}, expected {CHROMA_FORMATS}")
        if len(self.bundle_digest) != 32:
            raise UsageError(
                f"bundle digest: found {len(self.bundle_digest)} bytes, expected 32 (SHA-256)"
            )
        object.__setattr__(self, "position_coder", PositionCoder(self.position_coder))
        object.__setattr__(self, "exact", ExactMode(self.exact))
        if not self.bundle_name.isprintable() or len(_encoded(self.bundle_name)) > NAME_LIMIT:
            raise UsageError(
                f"bundle name: found {self.bundle_name!r}, expected printable text of at most "
                f"{NAME_LIMIT} bytes of UTF-8; rename the bundle"
            )


def pack_header(header: StreamHeader) -> bytes:
    """Return the first bytes of a stream: magic, header and CRC."""
    name = _encoded(header.bundle_name)
    fields = _FIELDS.pack(
        header.width,
        header.height,
        header.frame_rate.numerator,
        header.frame_rate.denominator,
        header.color.matrix,
        header.color.primaries,
        header.color.transfer,
        int(header.color.full_range),
        CHROMA_FORMATS.index(header.chroma) + 1,
        header.keyint,
        header.bundle_digest,
        header.epsilon,
        header.position_coder.wire_id,
        header.skip_level + 1,
        _WIRE_MODES.index(header.exact),
        header.pixel_epsilon,
        header.sync_interval,
        header.quality,
        len(name),
    )
    checked = struct.pack("<BH", VERSION, len(fields) + len(name)) + fields + name
    return MAGIC + checked + struct.pack("<I", zlib.crc32(checked))


def unpack_prefix(prefix: bytes) -> int:
    """Return how many bytes of header, CRC included, follow magic, version and header length.

    Args:
        prefix: the first ``PREFIX_SIZE`` bytes of the stream.

    Raises:
        StreamError: this is no stream, or one of an unknown version.

    """
    if prefix[: len(MAGIC)] != MAGIC:
        raise StreamError(
            f"stream: found {prefix[: len(MAGIC)].hex(' ')} at its start, expected "
            f"{MAGIC.hex(' ')}; this is no nvc stream, or it was transferred as text"
        )
    version, length = struct.unpack("<BH", prefix[len(MAGIC) :])
    if version != VERSION:
        raise StreamError(
            f"stream: found format version {version}, expected {VERSION}; use a release that "
            "reads this version"
        )
    if not _FIELDS.size <= length <= _FIELDS.size + NAME_LIMIT:
        raise StreamError(
            f"stream header: found a length of {length}, expected "
            f"{_FIELDS.size}..{_FIELDS.size + NAME_LIMIT}; the stream is damaged"
        )
    return int(length) + 4


def unpack_header(prefix: bytes, body: bytes) -> StreamHeader:
    """Return the header.

    Args:
        prefix: the first ``PREFIX_SIZE`` bytes, as accepted by ``unpack_prefix``.
        body: the bytes after them, as many as it returned.

    Raises:
        StreamError: the header is damaged or holds a value this version does not know.

    """
    crc = int.from_bytes(body[-4:], "little")
    found = zlib.crc32(body[:-4], zlib.crc32(prefix[len(MAGIC) :]))
    if crc != found:
        raise StreamError(
            f"stream header: found CRC {found:#010x}, expected {crc:#010x}; the stream is damaged"
        )
    values = _FIELDS.unpack(body[: _FIELDS.size])
    reader = FieldReader(body[_FIELDS.size : -4], "stream header")
    raw_name = reader.take(values[18], "bundle name")
    (numerator, denominator), flags, chroma, mode = values[2:4], values[7], values[8], values[14]
    if reader.remaining or flags > 1 or not 1 <= chroma <= 3 or mode >= len(_WIRE_MODES):
        raise StreamError(
            f"stream header: found {reader.remaining} further bytes, flags {flags:#04x}, chroma "
            f"format {chroma}, exact mode {mode}; expected 0, 0..1, 1..3, 0..1; use a release "
            "that knows them"
        )
    if not denominator or math.gcd(numerator, denominator) != 1:
        raise StreamError(
            f"stream header: found frame rate {numerator}/{denominator}, expected lowest terms; "
            "the stream is not from a conforming encoder"
        )
    try:
        return StreamHeader(
            width=values[0],
            height=values[1],
            frame_rate=Fraction(numerator, denominator),
            color=ColorSpace(
                matrix=values[4],
                primaries=values[5],
                transfer=values[6],
                full_range=bool(flags),
            ),
            chroma=CHROMA_FORMATS[chroma - 1],
            keyint=values[9],
            bundle_digest=values[10],
            epsilon=values[11],
            position_coder=PositionCoder.from_wire_id(values[12]),
            skip_level=values[13] - 1,
            exact=_WIRE_MODES[mode],
            pixel_epsilon=values[15],
            sync_interval=values[16],
            quality=values[17],
            bundle_name=raw_name.decode("utf-8"),
        )
    except (NvcError, UnicodeDecodeError) as error:
        raise StreamError(f"stream header: {error}; use a release that knows it") from error


def _encoded(name: str) -> bytes:
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"bundle name: {error}; rename the bundle") from error
