"""Which 8-bit pixel formats of FFmpeg are read, and how their planes are found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from nvc_errors import VideoError
from nvc_runtime.video.info import plane_shapes
from nvc_runtime.video.yuv import Planes


@dataclass(frozen=True)
class PixelLayout:
    """Where the samples of a pixel format lie.

    Attributes:
        chroma: chroma format.
        y: plane, first byte and step between samples of a row.
        u: the same; None for grey pictures, which get chroma 128.
        v: the same.
        full_range: whether the format's name itself says full range.

    """

    chroma: str
    y: tuple[int, int, int] = (0, 0, 1)
    u: tuple[int, int, int] | None = (1, 0, 1)
    v: tuple[int, int, int] | None = (2, 0, 1)
    full_range: bool = False


_LAYOUTS = {
    "gray": PixelLayout("420", u=None, v=None),
    "nv12": PixelLayout("420", u=(1, 0, 2), v=(1, 1, 2)),
    "nv21": PixelLayout("420", u=(1, 1, 2), v=(1, 0, 2)),
    "nv16": PixelLayout("422", u=(1, 0, 2), v=(1, 1, 2)),
    "nv24": PixelLayout("444", u=(1, 0, 2), v=(1, 1, 2)),
    "nv42": PixelLayout("444", u=(1, 1, 2), v=(1, 0, 2)),
    "uyvy422": PixelLayout("422", y=(0, 1, 2), u=(0, 0, 4), v=(0, 2, 4)),
    "yuyv422": PixelLayout("422", y=(0, 0, 2), u=(0, 1, 4), v=(0, 3, 4)),
    "yvyu422": PixelLayout("422", y=(0, 0, 2), u=(0, 3, 4), v=(0, 1, 4)),
    "yuv420p": PixelLayout("420"),
    "yuv422p": PixelLayout("422"),
    "yuv444p": PixelLayout("444"),
    "yuva420p": PixelLayout("420"),
    "yuva422p": PixelLayout("422"),
    "yuva444p": PixelLayout("444"),
    "yuvj420p": PixelLayout("420", full_range=True),
    "yuvj422p": PixelLayout("422", full_range=True),
    "yuvj444p": PixelLayout("444", full_range=True),
}

RGB_FORMATS = frozenset(
    ("0bgr", "0rgb", "abgr", "argb", "bgr0", "bgr24", "bgra", "gbrap", "gbrp", "pal8", "rgb0")
) | {"rgb24", "rgba"}
"""Formats that hold R'G'B' already; alpha is dropped."""


def layout_of_format(name: str) -> PixelLayout | None:
    """Return the layout of a YUV format, None for an RGB format.

    Raises:
        VideoError: the format has more than 8 bits or a subsampling that is not read.

    """
    if name in RGB_FORMATS:
        return None
    if name not in _LAYOUTS:
        raise VideoError(
            f"pixel format: found {name}, expected 8-bit 4:2:0, 4:2:2, 4:4:4 or RGB; convert the "
            "video, for instance with `ffmpeg -pix_fmt yuv420p`"
        )
    return _LAYOUTS[name]


def planes_of_picture(picture: VideoFrame, layout: PixelLayout) -> Planes:
    """Return views of a decoded picture's planes; they live as long as the picture does."""
    luma, *chroma = plane_shapes(picture.width, picture.height, layout.chroma)
    y = _samples(picture, layout.y, luma)
    if layout.u is None or layout.v is None:
        grey = np.full(chroma[0], 128, np.uint8)
        return y, grey, grey
    return y, _samples(picture, layout.u, chroma[0]), _samples(picture, layout.v, chroma[1])


def _samples(
    picture: VideoFrame, place: tuple[int, int, int], shape: tuple[int, int]
) -> NDArray[np.uint8]:
    index, first, step = place
    plane = picture.planes[index]
    data: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8)
    rows = data.reshape(-1, plane.line_size)
    return rows[: shape[0], first : first + step * shape[1] : step]
