"""What a video is: size, frame rate, colour description, chroma format.

Code values are those of ITU-T H.273 (MatrixCoefficients, ColourPrimaries,
TransferCharacteristics), so a container can carry them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nvc_errors import VideoError

Frame: TypeAlias = NDArray[np.uint8]
"""A picture: uint8 (H, W, 3), R'G'B' of range 0..255, rows from the top. Any memory layout; ours
are three planes, so that memory is not C-contiguous."""

MIN_SIDE = 16
MAX_WIDTH = 4096
MAX_HEIGHT = 2304

CHROMA_FORMATS = ("420", "422", "444")
UNSPECIFIED = 2
"""H.273: the code that says a characteristic is unknown."""

MATRIX_BT709 = 1
MATRIX_BT601 = 6
MATRIX_BT2020 = 9
SD_HEIGHT = 576
"""Greatest height for which an unspecified matrix is taken for BT.601."""

_MAX_U32 = (1 << 32) - 1


@dataclass(frozen=True)
class ColorSpace:
    """How samples stand for colours.

    Attributes:
        matrix: MatrixCoefficients, 0..255. Conversion knows 1, 5, 6 and 9.
        full_range: whether luma spans 0..255 instead of 16..235.
        primaries: ColourPrimaries, 0..255; carried, never converted.
        transfer: TransferCharacteristics, 0..255; carried, never converted.

    Raises:
        VideoError: a code lies outside 0..255 or ``full_range`` is no bool.

    """

    matrix: int
    full_range: bool = False
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    def __post_init__(self) -> None:
        for name in ("matrix", "primaries", "transfer"):
            code = getattr(self, name)
            if not _is_integer(code) or not 0 <= code <= 255:
                raise VideoError(f"colour {name}: found {code!r}, expected an H.273 code 0..255")
        if not isinstance(self.full_range, bool):
            raise VideoError(f"colour range: found {self.full_range!r}, expected True or False")

    def resolve(self, height: int) -> ColorSpace:
        """Return this with an unspecified matrix settled by the number of lines.

        Up to 576 lines it is taken for BT.601 (6), above for BT.709 (1).
        """
        if self.matrix != UNSPECIFIED:
            return self
        return replace(self, matrix=MATRIX_BT601 if height <= SD_HEIGHT else MATRIX_BT709)


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before its first frame.

    Attributes:
        width: samples a row, 16..4096.
        height: rows, 16..2304.
        frame_rate: frames per second; numerator and denominator are 1..2**32 - 1.
        color: colour description; readers give it with the matrix resolved.
        chroma: chroma format of the YUV samples, "420", "422" or "444".
        frame_count: frames the reader will give, as far as the file says; None if it does not.
            Good for a progress bar, never to be relied on.
        time_base: unit of the source's timestamps in seconds.

    Raises:
        VideoError: a value is outside these limits.

    """

    width: int
    height: int
    frame_rate: Fraction
    color: ColorSpace
    chroma: str
    frame_count: int | None = None
    time_base: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        check_size(self.width, self.height)
        rate = self.frame_rate
        if not isinstance(rate, Fraction) or not (
            1 <= rate.numerator <= _MAX_U32 and rate.denominator <= _MAX_U32
        ):
            raise VideoError(
                f"frame rate: found {rate!r}, expected a positive Fraction whose parts fit 32 bits"
            )
        if not isinstance(self.color, ColorSpace):
            raise VideoError(f"colour: found {self.color!r}, expected a ColorSpace")
        if self.chroma not in CHROMA_FORMATS:
            raise VideoError(
                f"chroma format: found {self.chroma!r}, expected one of {', '.join(CHROMA_FORMATS)}"
            )
        if self.frame_count is not None and (
            not _is_integer(self.frame_count) or self.frame_count < 0
        ):
            raise VideoError(f"frame count: found {self.frame_count!r}, expected None or 0 or more")
        if self.time_base == 0:
            object.__setattr__(self, "time_base", 1 / rate)
        if not isinstance(self.time_base, Fraction) or self.time_base < 0:
            raise VideoError(f"time base: found {self.time_base!r}, expected a positive Fraction")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a frame, (height, width, 3)."""
        return self.height, self.width, 3


def check_size(width: int, height: int) -> None:
    """Raise ``VideoError`` unless a frame of this size can be handled."""
    if not (_is_integer(width) and _is_integer(height)) or not (
        MIN_SIDE <= width <= MAX_WIDTH and MIN_SIDE <= height <= MAX_HEIGHT
    ):
        raise VideoError(
            f"frame size: found {width}x{height}, expected {MIN_SIDE}x{MIN_SIDE} to "
            f"{MAX_WIDTH}x{MAX_HEIGHT}; scale the video to fit"
        )


def plane_shapes(
    width: int, height: int, chroma: str
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return (rows, columns) of Y, U and V; odd sizes round the chroma planes up."""
    columns = width if chroma == "444" else (width + 1) // 2
    rows = (height + 1) // 2 if chroma == "420" else height
    return (height, width), (rows, columns), (rows, columns)


def frame_count_of_window(total: int | None, skip: int, limit: int | None) -> int | None:
    """Return how many of ``total`` frames remain after skipping and limiting."""
    if total is None:
        return None
    left = max(0, total - skip)
    return left if limit is None else min(left, limit)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
