"""Frames made by rule, so that the repository holds no pictures."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from nvc_runtime.video import ColorSpace, Frame, VideoInfo

MakeInfo = Callable[..., VideoInfo]
MakeFrame = Callable[..., Frame]


@pytest.fixture
def make_info() -> MakeInfo:
    def make(width: int = 64, height: int = 48, chroma: str = "420", **rest: object) -> VideoInfo:
        rest.setdefault("frame_rate", Fraction(25))
        rest.setdefault("color", ColorSpace(1, False, 1, 1))
        return VideoInfo(width=width, height=height, chroma=chroma, **rest)  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_frame() -> MakeFrame:
    """A smooth frame that differs from number to number and has no symmetry."""

    def make(width: int = 64, height: int = 48, number: int = 0) -> Frame:
        x = np.linspace(0, 3, width)[None, :]
        y = np.linspace(0, 2, height)[:, None]
        channels = (
            np.sin(x + 0.3 * number + 0 * y),
            np.cos(0.7 * x - y + 0.2 * number),
            np.sin(0.4 * x * y + 0.5 * number),
        )
        return np.stack([np.uint8(40) + (c + 1) * 85 for c in channels], axis=-1).astype(np.uint8)

    return make
