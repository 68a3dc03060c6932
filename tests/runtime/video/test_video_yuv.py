from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc_errors import VideoError
from nvc_runtime.video import ColorSpace
from nvc_runtime.video.chroma import SITING_CENTER, SITING_LEFT, SITING_TOP_LEFT, Siting
from nvc_runtime.video.info import plane_shapes
from nvc_runtime.video.yuv import Planes, YuvConverter

Floats = NDArray[np.float64]
KR_KB = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
SIZES = [(16, 16), (17, 16), (16, 19), (33, 21), (70, 1001)]
# Taps documented in docs/video.md, as offset -> weight.
COLUMN_QUARTER = {-2: -3 / 128, -1: 29 / 128, 0: 111 / 128, 1: -9 / 128}
ROW_QUARTER = {-2: -1 / 32, -1: 7 / 32, 0: 28 / 32, 1: -2 / 32}
HALF = {-1: -1 / 16, 0: 9 / 16, 1: 9 / 16, 2: -1 / 16}


def filtered(plane: Floats, taps: dict[int, float], axis: int) -> Floats:
    index = np.arange(plane.shape[axis])
    return sum(  # type: ignore[return-value]
        weight * np.take(plane, np.clip(index + offset, 0, len(index) - 1), axis)
        for offset, weight in taps.items()
    )


def doubled(
    plane: Floats, axis: int, size: int, centred: bool, quarter: dict[int, float]
) -> Floats:
    if centred:
        mirrored = {-offset: weight for offset, weight in quarter.items()}
        even, odd = filtered(plane, quarter, axis), filtered(plane, mirrored, axis)
    else:
        even, odd = plane, filtered(plane, HALF, axis)
    both = np.stack([even, odd], axis + 1)
    shape = list(plane.shape)
    shape[axis] *= 2
    return np.take(both.reshape(shape), np.arange(size), axis)


def reference_rgb(planes: Planes, chroma: str, color: ColorSpace, siting: Siting) -> Floats:
    y, u, v = (plane.astype(np.float64) for plane in planes)
    height, width = y.shape
    if chroma == "420":
        u, v = (doubled(p, 0, height, siting.centred_y, ROW_QUARTER) for p in (u, v))
    if chroma != "444":
        u, v = (doubled(p, 1, width, siting.centred_x, COLUMN_QUARTER) for p in (u, v))
    luma = y / 255 if color.full_range else (y - 16) / 219
    span = 255 if color.full_range else 224
    pb, pr = (u - 128) / span, (v - 128) / span
    kr, kb = KR_KB[color.matrix]
    red, blue = luma + 2 * (1 - kr) * pr, luma + 2 * (1 - kb) * pb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(255 * np.stack([red, green, blue], -1), 0, 255)


def reference_yuv(frame: NDArray[np.uint8], chroma: str, color: ColorSpace) -> list[Floats]:
    red, green, blue = np.moveaxis(frame.astype(np.float64) / 255, -1, 0)
    kr, kb = KR_KB[color.matrix]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    planes = [luma, (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))]
    if chroma != "444":
        planes[1:] = [plane[:, ::2] for plane in planes[1:]]
    if chroma == "420":
        planes[1:] = [filtered(plane, HALF, 0)[::2] for plane in planes[1:]]
    scales = [(255, 0), (255, 128)] if color.full_range else [(219, 16), (224, 128)]
    gains = [scales[0], scales[1], scales[1]]
    return [np.clip(p * gain + base, 0, 255) for p, (gain, base) in zip(planes, gains, strict=True)]


def noise(width: int, height: int, chroma: str) -> Planes:
    rng = np.random.default_rng(width * height)
    y, u, v = (
        rng.integers(0, 256, shape, np.uint8) for shape in plane_shapes(width, height, chroma)
    )
    return y, u, v


@pytest.mark.parametrize("siting", [SITING_LEFT, SITING_CENTER, SITING_TOP_LEFT])
@pytest.mark.parametrize("chroma", ["420", "422", "444"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_rgb_from_yuv_is_within_one_of_float64(
    matrix: int, full_range: bool, chroma: str, siting: Siting
) -> None:
    color = ColorSpace(matrix, full_range)
    for size in SIZES:
        planes = noise(*size, chroma)
        found = YuvConverter(*size, chroma, color, siting).rgb_from_yuv(planes)
        error = np.abs(found - reference_rgb(planes, chroma, color, siting))
        # Half a code value is the final rounding; intermediate rounding adds a little.
        assert error.max() < 1
        assert error.mean() < 0.26


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 9])
def test_yuv_from_rgb_is_within_one_of_float64(matrix: int, full_range: bool, chroma: str) -> None:
    color = ColorSpace(matrix, full_range)
    for width, height in SIZES:
        frame = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
        found = YuvConverter(width, height, chroma, color).yuv_from_rgb(frame)
        for plane, expected in zip(found, reference_yuv(frame, chroma, color), strict=True):
            error = np.abs(plane - expected)
            assert error.max() < 0.51
            assert plane.shape == expected.shape


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
@pytest.mark.parametrize("full_range", [False, True])
def test_grey_stays_grey(chroma: str, full_range: bool) -> None:
    converter = YuvConverter(16, 256, chroma, ColorSpace(1, full_range))
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 16, 3))
    y, u, v = converter.yuv_from_rgb(np.ascontiguousarray(ramp))
    assert (int(y[0, 0]), int(y[255, 0])) == ((0, 255) if full_range else (16, 235))
    assert (u == 128).all()
    assert (v == 128).all()
    back = converter.rgb_from_yuv((y, u, v))
    assert (back == back[:, :, :1]).all()
    assert np.abs(back.astype(int) - ramp).max() <= (0 if full_range else 1)


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
def test_smooth_yuv_survives_the_trip_through_rgb(chroma: str) -> None:
    """The chroma filters are each other's inverse: nothing is lost from Y4M to Y4M."""
    width, height = 65, 47
    rows, columns = plane_shapes(width, height, chroma)[1]
    grid = np.add.outer(np.arange(rows) * 1.1, np.arange(columns) * 0.8)
    u, v = (np.uint8(128) + 30 * np.sin(grid / k) for k in (7, 5))
    y = np.add.outer(np.arange(height), np.arange(width)) % 60 + 90
    planes = (y.astype(np.uint8), u.astype(np.uint8), v.astype(np.uint8))
    converter = YuvConverter(width, height, chroma, ColorSpace(1))
    back = converter.yuv_from_rgb(converter.rgb_from_yuv(planes))
    assert (back[0] == planes[0]).all()
    for found, expected in zip(back[1:], planes[1:], strict=True):
        assert np.abs(found[1:-1].astype(int) - expected[1:-1]).max() <= 1
        assert (found != expected).mean() < 0.1


def test_strips_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = noise(64, 63, "420")
    frames, backs = [], []
    for samples in (1, 64 * 6, 1 << 20):
        monkeypatch.setattr("nvc_runtime.video.yuv._STRIP_SAMPLES", samples)
        converter = YuvConverter(64, 63, "420", ColorSpace(6))
        frames.append(converter.rgb_from_yuv(planes))
        backs.append(np.concatenate([p.ravel() for p in converter.yuv_from_rgb(frames[-1])]))
    assert (frames[0] == frames[1]).all()
    assert (frames[0] == frames[2]).all()
    assert (backs[0] == backs[1]).all()
    assert (backs[0] == backs[2]).all()


@pytest.mark.parametrize("matrix", [0, 2, 4, 10, 255])
def test_unknown_matrix_is_refused(matrix: int) -> None:
    with pytest.raises(VideoError, match=f"found H.273 code {matrix}"):
        YuvConverter(16, 16, "420", ColorSpace(matrix))


def test_wrong_arrays_are_refused() -> None:
    converter = YuvConverter(16, 16, "420", ColorSpace(1))
    with pytest.raises(ValueError, match="expected uint8"):
        converter.yuv_from_rgb(np.zeros((16, 17, 3), np.uint8))
    with pytest.raises(ValueError, match="plane U"):
        converter.rgb_from_yuv(noise(16, 16, "444"))
