"""Headers of Y4M (YUV4MPEG2), the raw video format for files and pipes.

A stream is one header line, then for every frame a line that begins with ``FRAME`` and the planes
Y, U, V. Besides the usual tags this package writes ``XH273=matrix,primaries,transfer`` (decimal
H.273 codes), which other programs skip as a comment: Y4M itself says nothing of the matrix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from nvc_errors import VideoError
from nvc_runtime.video.chroma import SITING_CENTER, SITING_LEFT, SITING_TOP_LEFT, Siting
from nvc_runtime.video.info import UNSPECIFIED, ColorSpace, VideoInfo, check_size

MAGIC = b"YUV4MPEG2 "
FRAME_MAGIC = b"FRAME"
MAX_LINE_BYTES = 1024
"""Greatest length of a header line or frame line, including its line feed."""

_CHROMA_TAGS: dict[str, tuple[str, Siting]] = {
    "420": ("420", SITING_CENTER),
    "420jpeg": ("420", SITING_CENTER),
    "420mpeg2": ("420", SITING_LEFT),
    "420paldv": ("420", SITING_TOP_LEFT),
    "422": ("422", SITING_LEFT),
    "444": ("444", SITING_LEFT),
    "mono": ("420", SITING_CENTER),
}
_WRITTEN_TAGS = {"420": "420mpeg2", "422": "422", "444": "444"}
_RANGES = {"LIMITED": False, "FULL": True}
_NUMBER = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class Y4mHeader:
    """What a Y4M header line says.

    Attributes:
        info: the video; ``frame_count`` is None.
        siting: where its chroma samples lie.
        mono: whether frames hold luma only.

    """

    info: VideoInfo
    siting: Siting
    mono: bool

    @property
    def frame_bytes(self) -> int:
        """Bytes of samples a frame has."""
        luma = self.info.width * self.info.height
        if self.mono:
            return luma
        columns = self.info.width if self.info.chroma == "444" else (self.info.width + 1) // 2
        rows = (self.info.height + 1) // 2 if self.info.chroma == "420" else self.info.height
        return luma + 2 * rows * columns


def unpack_header(line: bytes) -> Y4mHeader:
    """Parse a header line.

    Args:
        line: the line from its magic to before its line feed.

    Raises:
        VideoError: a tag is missing, given twice, damaged or not supported.

    """
    if not (line + b" ").startswith(MAGIC):
        raise VideoError(f"Y4M header: found {line[:10]!r}, expected {MAGIC.decode().strip()}")
    try:
        words = line.decode("ascii").split(" ")[1:]
    except UnicodeDecodeError:
        raise VideoError("Y4M header: found bytes that are not ASCII, expected tags") from None
    tags: dict[str, str] = {}
    for word in words:
        if not word:
            continue
        key, value = word[0], word[1:]
        if key == "X":
            # Comments; those with a meaning are told apart by the name before "=".
            name, _, value = value.partition("=")
            key = "X" + name
            if key not in ("XCOLORRANGE", "XH273"):
                continue
        if key in tags:
            raise VideoError(f"Y4M header: tag {key!r} is given twice, expected once")
        tags[key] = value
    width, height = (_size(tags, key) for key in "WH")
    check_size(width, height)
    tag = tags.get("C", "420")
    if tag not in _CHROMA_TAGS:
        raise VideoError(
            f"Y4M chroma format: found {tag[:32]!r}, expected 8-bit "
            f"{', '.join(sorted(_CHROMA_TAGS))}; convert with `ffmpeg -pix_fmt yuv420p`"
        )
    if tags.get("I", "?") not in ("?", "p", "t", "b", "m"):
        raise VideoError(f"Y4M interlacing: found {tags['I'][:32]!r}, expected ?, p, t, b or m")
    chroma, siting = _CHROMA_TAGS[tag]
    info = VideoInfo(
        width=width,
        height=height,
        frame_rate=_frame_rate(tags.get("F")),
        color=_color(tags).resolve(height),
        chroma=chroma,
    )
    return Y4mHeader(info=info, siting=siting, mono=tag == "mono")


def pack_header(info: VideoInfo) -> bytes:
    """Return the header line, with its line feed, of a progressive left-sited video."""
    color = info.color
    tags = (
        f"W{info.width} H{info.height} F{info.frame_rate.numerator}:{info.frame_rate.denominator} "
        f"Ip A0:0 C{_WRITTEN_TAGS[info.chroma]} "
        f"XCOLORRANGE={'FULL' if color.full_range else 'LIMITED'} "
        f"XH273={color.matrix},{color.primaries},{color.transfer}\n"
    )
    return MAGIC + tags.encode("ascii")


def check_frame_line(line: bytes, number: int) -> None:
    """Raise ``VideoError`` unless this line (without line feed) begins frame ``number``."""
    if line != FRAME_MAGIC and not line.startswith(FRAME_MAGIC + b" "):
        raise VideoError(
            f"Y4M frame {number}: found {line[:16]!r}, expected FRAME; the file is damaged or its "
            "header states a wrong frame size"
        )


def _integer(text: str, what: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise VideoError(f"Y4M {what}: found {text[:32]!r}, expected a decimal number")
    return int(text)


def _size(tags: dict[str, str], key: str) -> int:
    if key not in tags:
        raise VideoError(f"Y4M header: tag {key} is missing, expected W, H and F")
    return _integer(tags[key], f"tag {key}")


def _frame_rate(text: str | None) -> Fraction:
    numerator, separator, denominator = (text or "").partition(":")
    if not separator:
        raise VideoError(
            f"Y4M frame rate: found {text!r}, expected a tag such as F25:1 or F30000:1001"
        )
    parts = _integer(numerator, "frame rate"), _integer(denominator, "frame rate")
    if 0 in parts:
        raise VideoError(f"Y4M frame rate: found {text}, expected a rate above 0 such as F25:1")
    return Fraction(*parts)


def _color(tags: dict[str, str]) -> ColorSpace:
    full_range = tags.get("XCOLORRANGE", "LIMITED")
    if full_range not in _RANGES:
        raise VideoError(f"Y4M colour range: found {full_range[:32]!r}, expected LIMITED or FULL")
    codes = [UNSPECIFIED] * 3
    if "XH273" in tags:
        codes = [_integer(code, "tag XH273") for code in tags["XH273"].split(",")]
        if len(codes) != 3:
            raise VideoError(f"Y4M tag XH273: found {len(codes)} codes, expected 3")
    matrix, primaries, transfer = codes
    return ColorSpace(matrix, _RANGES[full_range], primaries, transfer)
