"""Conversion between 8-bit Y'CbCr planes and R'G'B' frames, in integers only.

The same bytes come out on every machine, which libswscale does not promise: its kernels depend on
the CPU. One rounding at the end makes a sample the nearest code value to the exact result of the
chosen filters, but for near-ties. Source of the equations: ITU-T H.273 (07/2024), section 8.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nvc_errors import VideoError
from nvc_runtime.video.chroma import (
    SCALE_LOG2,
    SITING_LEFT,
    Siting,
    downsample_rows,
    pad_chroma,
    upsample_columns,
    upsample_rows,
)
from nvc_runtime.video.info import ColorSpace, Frame, plane_shapes

Planes: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Y, U (Cb) and V (Cr): uint8, of the shapes ``plane_shapes`` gives."""

_TO_RGB_LOG2 = 21
_TO_YUV_LOG2 = 22
_STRIP_SAMPLES = 1 << 16
"""Luma samples converted at a time, so that the intermediates stay in the CPU's cache."""

MATRIX_WEIGHTS = {
    1: (Fraction(2126, 10000), Fraction(722, 10000)),
    5: (Fraction(299, 1000), Fraction(114, 1000)),
    6: (Fraction(299, 1000), Fraction(114, 1000)),
    9: (Fraction(2627, 10000), Fraction(593, 10000)),
}
"""MatrixCoefficients -> (K_R, K_B)."""


@dataclass(frozen=True)
class Coefficients:
    """Integers of both directions; see ``from_color`` for their scales.

    Attributes:
        luma: gain of Y.
        luma_offset: Y of black.
        red_v: gain of V in R.
        green_u: gain of U in G (negative).
        green_v: gain of V in G (negative).
        blue_u: gain of U in B.
        y: gains of R, G, B in Y.
        u: gains of R, G, B in U; they sum to 0, so grey has exactly U = 128.
        v: gains of R, G, B in V; they sum to 0.

    """

    luma: int
    luma_offset: int
    red_v: int
    green_u: int
    green_v: int
    blue_u: int
    y: tuple[int, int, int]
    u: tuple[int, int, int]
    v: tuple[int, int, int]

    @classmethod
    def from_color(cls, color: ColorSpace, chroma_log2: int) -> Coefficients:
        """Derive the integers.

        ``luma`` is scaled by 2**21, the gains of U and V by 2**14 (they meet chroma scaled by
        2**7). ``y`` is scaled by 2**22, ``u`` and ``v`` by 2**(22 - ``chroma_log2``) for R, G, B
        scaled by 2**``chroma_log2``. All products and their sums stay within 32 bits.

        Raises:
            VideoError: no conversion is known for the matrix.

        """
        if color.matrix not in MATRIX_WEIGHTS:
            raise VideoError(
                f"colour matrix: found H.273 code {color.matrix}, expected 1 (BT.709), 5 or 6 "
                "(BT.601) or 9 (BT.2020 non-constant luminance); convert the video, for instance "
                "with `ffmpeg -vf scale=out_color_matrix=bt709`"
            )
        red, blue = MATRIX_WEIGHTS[color.matrix]
        green = 1 - red - blue
        luma_span = 1 if color.full_range else Fraction(219, 255)
        chroma_span = 1 if color.full_range else Fraction(224, 255)
        up = (1 << _TO_RGB_LOG2 - SCALE_LOG2) / chroma_span
        cr, cb = 2 * (1 - red), 2 * (1 - blue)
        y_scale = luma_span * (1 << _TO_YUV_LOG2)
        y_red, y_blue = round(y_scale * red), round(y_scale * blue)
        c_scale = chroma_span * (1 << _TO_YUV_LOG2 - chroma_log2)
        half = round(c_scale / 2)
        u_red, v_blue = -round(c_scale * red / cb), -round(c_scale * blue / cr)
        return cls(
            luma=round((1 << _TO_RGB_LOG2) / luma_span),
            luma_offset=0 if color.full_range else 16,
            red_v=round(up * cr),
            green_u=-round(up * cb * blue / green),
            green_v=-round(up * cr * red / green),
            blue_u=round(up * cb),
            y=(y_red, round(y_scale) - y_red - y_blue, y_blue),
            u=(u_red, -half - u_red, half),
            v=(half, -half - v_blue, v_blue),
        )


class YuvConverter:
    """Converts frames of one size, chroma format, colour description and siting.

    Frames that go out are left-sited (see ``chroma``), whatever the siting of those that come in.
    Raises ``VideoError`` when made for a matrix that has no conversion.
    """

    def __init__(
        self, width: int, height: int, chroma: str, color: ColorSpace, siting: Siting = SITING_LEFT
    ) -> None:
        self._width = width
        self._height = height
        self._chroma = chroma
        self._siting = siting
        self._shapes = plane_shapes(width, height, chroma)
        self._coefficients = Coefficients.from_color(color, 4 if chroma == "420" else 0)
        self._strip = max(2, _STRIP_SAMPLES // width & ~1)

    def rgb_from_yuv(self, planes: Planes) -> Frame:
        """Return a new frame, uint8 (H, W, 3).

        Raises:
            ValueError: a plane has the wrong type or shape.

        """
        self._check(planes)
        luma, *chroma = planes
        # Planes in memory, which all further conversions read fastest.
        out = np.empty((3, self._height, self._width), np.uint8).transpose(1, 2, 0)
        padded = [pad_chroma(plane) for plane in chroma] if self._chroma != "444" else []
        for first in range(0, self._height, self._strip):
            last = min(first + self._strip, self._height)
            if padded:
                u, v = (self._upsample(plane, first, last) for plane in padded)
            else:
                u, v = (_centre(plane[first:last]) for plane in chroma)
            self._mix(luma[first:last], u, v, out[first:last])
        return out

    def yuv_from_rgb(self, frame: Frame) -> Planes:
        """Return new planes for a frame, uint8 (H, W, 3).

        Raises:
            ValueError: the frame has the wrong type or shape.

        """
        if frame.dtype != np.uint8 or frame.shape != (self._height, self._width, 3):
            raise ValueError(
                f"frame: found {frame.dtype} {frame.shape}, expected uint8 "
                f"{(self._height, self._width, 3)}"
            )
        luma, u, v = (np.empty(shape, np.uint8) for shape in self._shapes)
        gains = self._coefficients
        luma_bias = (gains.luma_offset << _TO_YUV_LOG2) + (1 << _TO_YUV_LOG2 - 1)
        chroma_bias = (128 << _TO_YUV_LOG2) + (1 << _TO_YUV_LOG2 - 1)
        for first in range(0, self._height, self._strip):
            last = min(first + self._strip, self._height)
            rows = _planar(frame, first - 1, last + 1 + (last & 1))
            _weigh(rows[:, 1 : 1 + last - first], gains.y, luma_bias, luma[first:last])
            if self._chroma == "420":
                colour = downsample_rows(np.ascontiguousarray(rows[:, :, ::2]))
                target = slice(first // 2, (last + 1) // 2)
            else:
                colour = rows[:, 1 : 1 + last - first, :: 1 if self._chroma == "444" else 2]
                target = slice(first, last)
            _weigh(colour, gains.u, chroma_bias, u[target])
            _weigh(colour, gains.v, chroma_bias, v[target])
        return luma, u, v

    def _check(self, planes: Planes) -> None:
        for name, plane, shape in zip("YUV", planes, self._shapes, strict=True):
            if plane.dtype != np.uint8 or plane.shape != shape:
                raise ValueError(
                    f"plane {name}: found {plane.dtype} {plane.shape}, expected uint8 {shape}"
                )

    def _upsample(self, padded: NDArray[np.int16], first: int, last: int) -> NDArray[np.int16]:
        """Return int16 (last - first, W), the chroma of these rows around 0 in 2**-7."""
        if self._chroma == "420":
            rows, scale = upsample_rows(padded, first, last - first, self._siting.centred_y), 8
        else:
            rows, scale = padded[first + 2 : last + 2], 1
        return upsample_columns(rows, self._width, scale, self._siting.centred_x)

    def _mix(
        self,
        luma: NDArray[np.uint8],
        u: NDArray[np.int16],
        v: NDArray[np.int16],
        out: NDArray[np.uint8],
    ) -> None:
        gains = self._coefficients
        base = luma.astype(np.int32)
        base *= gains.luma
        base += (1 << _TO_RGB_LOG2 - 1) - gains.luma * gains.luma_offset
        u_wide, v_wide = u.astype(np.int32), v.astype(np.int32)
        _round_into(base + v_wide * gains.red_v, _TO_RGB_LOG2, out[:, :, 0])
        _round_into(base + u_wide * gains.blue_u, _TO_RGB_LOG2, out[:, :, 2])
        u_wide *= gains.green_u
        v_wide *= gains.green_v
        base += u_wide
        base += v_wide
        _round_into(base, _TO_RGB_LOG2, out[:, :, 1])


def _centre(plane: NDArray[np.uint8]) -> NDArray[np.int16]:
    centred = np.subtract(plane, np.int16(128), dtype=np.int16)
    centred <<= SCALE_LOG2
    return centred


def _planar(frame: Frame, first: int, last: int) -> NDArray[np.int32]:
    """Return rows first..last-1 as int32 (3, n, W); rows outside repeat the edge."""
    height, width = frame.shape[:2]
    planes = np.empty((3, last - first, width), np.int32)
    top, bottom = max(first, 0), min(last, height)
    for channel in range(3):
        planes[channel, top - first : bottom - first] = frame[top:bottom, :, channel]
    planes[:, : top - first] = planes[:, top - first : top - first + 1]
    planes[:, bottom - first :] = planes[:, bottom - first - 1 : bottom - first]
    return planes


def _weigh(
    planes: NDArray[np.int32], gains: tuple[int, int, int], bias: int, out: NDArray[np.uint8]
) -> None:
    total = planes[0] * gains[0]
    total += planes[1] * gains[1]
    total += planes[2] * gains[2]
    total += bias
    _round_into(total, _TO_YUV_LOG2, out)


def _round_into(total: NDArray[np.int32], shift: int, out: NDArray[np.uint8]) -> None:
    """Shift (the half is in ``total`` already), clip to 0..255 and store."""
    total >>= shift
    out[...] = np.clip(total, 0, 255, out=total)
