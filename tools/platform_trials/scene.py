"""The pictures that a trial codes: the middle of a clip, or a made-up one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from nvc_errors import UsageError
from nvc_runtime.video import ColorSpace, Frame, VideoInfo, open_reader

MADE_UP = "made-up"
"""Stands in reports for a scene without a clip."""


@dataclass(frozen=True)
class Scene:
    """Frames of one size, and where they come from."""

    name: str
    source: str
    info: VideoInfo
    frames: list[Frame]

    @property
    def pixels(self) -> int:
        """Pixels of one frame."""
        return self.info.width * self.info.height

    def head(self, count: int) -> Scene:
        """Return the scene's first frames."""
        return replace(self, frames=self.frames[:count])


def load_scene(name: str, clip: str | None, size: tuple[int, int], frames: int) -> Scene:
    """Return ``frames`` frames of ``size`` (width, height) from the middle of a clip's pictures.

    Without a clip they are made up. Raises ``UsageError`` for a clip that is too small or short.
    """
    width, height = size
    if clip is None:
        return _made_up_scene(name, width, height, frames)
    with open_reader(clip, limit=frames) as reader:
        info = reader.info
        if info.width < width or info.height < height:
            raise UsageError(
                f"{clip} has {info.width}x{info.height}, less than the {width}x{height} asked for"
            )
        x, y = (info.width - width) // 2, (info.height - height) // 2
        cut = [np.ascontiguousarray(frame[y : y + height, x : x + width]) for frame in reader]
    if len(cut) < frames:
        raise UsageError(f"{clip} has {len(cut)} frames, less than the {frames} asked for")
    info = replace(info, width=width, height=height, frame_count=frames)
    return Scene(name, clip.replace("\\", "/").rpartition("/")[2], info, cut)


def _made_up_scene(name: str, width: int, height: int, frames: int) -> Scene:
    """Return a drifting texture: waves and noise, from integers only."""
    rng = np.random.default_rng(12)
    rows, columns = np.mgrid[0 : height + frames, 0 : width + 2 * frames]
    picture = np.stack(
        [
            (rows * (3 + c) + columns * (5 - c)) % 160 + (rows * columns >> (5 + c)) % 64
            for c in (0, 1, 2)
        ],
        axis=-1,
    )
    picture = picture + rng.integers(0, 32, picture.shape)
    samples = np.clip(picture, 0, 255).astype(np.uint8)
    cut = [
        np.ascontiguousarray(samples[n : n + height, 2 * n : 2 * n + width]) for n in range(frames)
    ]
    info = VideoInfo(width, height, Fraction(25), ColorSpace(1), "420", frames)
    return Scene(name, MADE_UP, info, cut)
