"""Progress lines and the measure of differences."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvc_runtime.cli.progress import Meter, ProgressLines, duration_text, size_text
from nvc_runtime.codec.samples import psnr_db
from nvc_runtime.difference import PixelDifference
from nvc_runtime.video import ColorSpace, VideoInfo


class Clock:
    """A clock that is moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def info(frame_count: int | None) -> VideoInfo:
    return VideoInfo(64, 64, Fraction(25), ColorSpace(1), "420", frame_count)


def test_the_meter_tells_speed_rate_size_and_time_left() -> None:
    clock = Clock()
    meter = Meter(info(100), clock)
    for _ in range(20):
        meter.add(1000)
    clock.now += 10
    assert meter.text == "20/100 frames, 2.00 fps, 200 kb/s, 20.0 kB, 0:40 left"


def test_what_is_unknown_is_left_out() -> None:
    clock = Clock()
    meter = Meter(info(None), clock)
    assert meter.text == "0/? frames, 0.00 fps"
    meter.add(0)
    clock.now += 1
    assert meter.text == "1/? frames, 1.00 fps"


def test_lines_are_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = ProgressLines(clock)
    lines.begin("encode", info(60))
    for _ in range(60):
        clock.now += 0.5
        lines.advance(10)
    lines.end()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.split(" frames")[0] for line in printed.err.splitlines()] == [
        "encode: 20/60",
        "encode: 40/60",
        "encode: 60/60",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (3723, "1:02:03")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_340_000, "2.34 MB")]
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), st.integers(0, 255))
def test_differences_add_up_over_frames(seeds: list[int], reach: int) -> None:
    pairs = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        frame = rng.integers(0, 256, (5, 7, 3), np.uint8)
        change = rng.integers(-reach, reach + 1, frame.shape)
        pairs.append((frame, np.clip(frame + change, 0, 255).astype(np.uint8)))
    found = PixelDifference()
    for frame, other in pairs:
        found.add(frame, other)
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    distance = np.abs(left.astype(int) - right)
    assert found.samples == distance.size
    assert found.differing == np.count_nonzero(distance)
    assert found.largest == distance.max()
    assert found.psnr_db == pytest.approx(psnr_db(left, right))
    assert found.to_json()["psnr_db"] == (
        None if not found.differing else pytest.approx(psnr_db(left, right), abs=1e-4)
    )


def test_nothing_compared_is_no_difference() -> None:
    nothing = PixelDifference()
    assert (nothing.share, nothing.psnr_db) == (0, math.inf)


def test_frames_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        PixelDifference().add(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8))
