"""Scene cuts: found where the picture changes, not where it moves; coded as intra frames."""

from __future__ import annotations

import io

import numpy as np
import pytest
from block_codec import moving_frames, video_info

from nvc_engines import Engine
from nvc_runtime import Bundle, Encoder, EncoderSettings
from nvc_runtime.codec.samples import Frame
from nvc_runtime.codec.scene import BLOCK, SceneCutDetector, block_means
from nvc_runtime.stream import FrameKind


def cuts(frames: list[Frame]) -> list[int]:
    detector = SceneCutDetector()
    return [number for number, frame in enumerate(frames) if detector.is_cut(frame)]


def two_scenes(count: int) -> list[Frame]:
    """Return ``count`` frames of a moving texture and as many of another, darker one."""
    first = moving_frames(96, 64, count)
    second = [frame[::-1, ::-1] // 3 for frame in moving_frames(96, 64, count)]
    return [np.ascontiguousarray(frame) for frame in (*first, *second)]


@pytest.mark.parametrize("shape", [(64, 96), (37, 51), (16, 16), (5, 3)], ids=str)
def test_block_means_are_the_means_of_green(shape: tuple[int, int]) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    means = block_means(frame)
    for row in range(means.shape[0]):
        for column in range(means.shape[1]):
            rows, columns = slice(row * BLOCK, None), slice(column * BLOCK, None)
            block = frame[rows, columns, 1][:BLOCK, :BLOCK]
            assert means[row, column] == pytest.approx(block.mean(), rel=1e-6)


def test_a_cut_is_found_once() -> None:
    assert cuts(two_scenes(4)) == [4]


def test_motion_noise_and_fades_are_no_cuts() -> None:
    assert cuts(list(moving_frames(96, 64, 12))) == []
    noise = np.random.default_rng(2).integers(0, 256, (8, 64, 96, 3), dtype=np.uint8)
    assert cuts(list(noise)) == []
    fade = [np.full((64, 96, 3), level, np.uint8) for level in range(255, 0, -15)]
    assert cuts(fade) == []


@pytest.mark.parametrize(
    ("scene_cuts", "keyint", "intra"),
    [(True, 0, [0, 3]), (False, 0, [0]), (True, 2, [0, 2, 3, 5]), (False, 2, [0, 2, 4])],
)
def test_the_distance_of_intra_frames_is_counted_from_a_cut(
    block_bundle: Bundle,
    reference_engine: Engine,
    scene_cuts: bool,
    keyint: int,
    intra: list[int],
) -> None:
    settings = EncoderSettings(keyint=keyint, scene_cuts=scene_cuts)
    kinds: list[FrameKind] = []
    Encoder(block_bundle, reference_engine, settings).encode(
        two_scenes(3),
        video_info(96, 64),
        io.BytesIO(),
        on_frame=lambda frame: kinds.append(frame.kind),
    )
    assert [n for n, kind in enumerate(kinds) if kind is FrameKind.INTRA] == intra
