from __future__ import annotations

import hashlib
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from nvc_errors import VideoError
from nvc_runtime import video
from nvc_runtime.video import ColorSpace, VideoInfo, frame_hash
from nvc_runtime.video.timing import RateCheck, nominal_rate


def test_public_names_are_sorted_and_exist() -> None:
    assert video.__all__ == sorted(video.__all__)
    assert all(hasattr(video, name) for name in video.__all__)


@pytest.mark.parametrize("size", [(16, 16), (17, 4096 // 2), (4096, 2304)])
def test_sizes_within_limits(make_info: Any, size: tuple[int, int]) -> None:
    assert make_info(*size).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("size", [(15, 16), (16, 15), (4097, 64), (64, 2305), (0, 0)])
def test_sizes_outside_limits_name_the_limits(make_info: Any, size: tuple[int, int]) -> None:
    with pytest.raises(VideoError, match="16x16 to 4096x2304"):
        make_info(*size)


@pytest.mark.parametrize(
    "bad",
    [
        {"frame_rate": Fraction(0)},
        {"frame_rate": Fraction(1 << 32)},
        {"frame_rate": 25},
        {"chroma": "411"},
        {"frame_count": -1},
        {"color": None},
        {"time_base": Fraction(-1)},
    ],
)
def test_info_rejects(make_info: Any, bad: dict[str, Any]) -> None:
    with pytest.raises(VideoError):
        make_info(**bad)


@pytest.mark.parametrize(
    "bad", [{"matrix": 256}, {"matrix": True}, {"primaries": -1}, {"full_range": 1}]
)
def test_color_rejects(bad: dict[str, Any]) -> None:
    with pytest.raises(VideoError):
        ColorSpace(**{"matrix": 1, **bad})


def test_unspecified_matrix_is_settled_by_height() -> None:
    assert ColorSpace(2).resolve(576).matrix == 6
    assert ColorSpace(2).resolve(577).matrix == 1
    assert ColorSpace(9).resolve(100).matrix == 9


def test_frame_hash_is_as_documented() -> None:
    frame = np.arange(16 * 17 * 3, dtype=np.uint32).astype(np.uint8).reshape(16, 17, 3)
    expected = hashlib.md5(struct.pack("<II", 17, 16) + frame.tobytes()).hexdigest()
    assert frame_hash(frame) == expected
    assert frame_hash(np.asfortranarray(frame)) == expected
    assert frame_hash(frame.reshape(17, 16, 3)) != expected
    with pytest.raises(ValueError, match="expected uint8"):
        frame_hash(frame[..., :2])


def test_time_base_defaults_to_the_frame_duration(make_info: Any) -> None:
    info: VideoInfo = make_info(frame_rate=Fraction(30000, 1001))
    assert info.time_base == Fraction(1001, 30000)


def test_nominal_rate_prefers_the_well_known_rate_nearby() -> None:
    ntsc = Fraction(30000, 1001)
    assert nominal_rate(Fraction(2997, 100), ntsc) == ntsc
    assert nominal_rate(Fraction(30), ntsc) == 30
    assert nominal_rate(Fraction(25), Fraction(50)) == 25
    assert nominal_rate(None, Fraction(24)) == 24
    assert nominal_rate(None, None) is None


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25), Fraction(60000, 1001)])
def test_millisecond_rounding_is_tolerated_for_ever(rate: Fraction) -> None:
    check = RateCheck(rate, Fraction(1, 1000))
    for number in range(5000):
        check.check(number, round(number * 1000 / rate))


def test_a_missing_timestamp_is_not_judged() -> None:
    check = RateCheck(Fraction(25), Fraction(1, 1000))
    for number, pts in enumerate([None, 40, None, 500, 540]):
        check.check(number, pts)


@pytest.mark.parametrize("step", [0, 20, 36, 44, 80, -40])
def test_another_step_is_refused(step: int) -> None:
    check = RateCheck(Fraction(25), Fraction(1, 1000))
    check.check(0, 100)
    with pytest.raises(VideoError, match="fps_mode cfr"):
        check.check(1, 100 + step)
