"""Frames as planes of the video: straight from the codec's, or by way of RGB."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from block_codec import moving_frames, video_info
from numpy.typing import NDArray

from nvc_engines import Engine
from nvc_errors import VideoError
from nvc_runtime.bundle import Bundle, open_bundle
from nvc_runtime.codec import Decoder, DecoderTap, Encoder, EncoderSettings
from nvc_runtime.codec.interpreter import Interpreter
from nvc_runtime.codec.planes import PlaneConverter, converter_for
from nvc_runtime.stream import ExactMode
from nvc_runtime.video import ColorSpace, Planes, VideoInfo
from nvc_runtime.video.yuv import MATRIX_WEIGHTS, YuvConverter

WIDTH, HEIGHT = 96, 64
COLORS = [ColorSpace(matrix, full) for matrix in MATRIX_WEIGHTS for full in (False, True)]


def info_of(width: int, height: int, color: ColorSpace, chroma: str = "420") -> VideoInfo:
    return VideoInfo(width, height, Fraction(25), color, chroma)


def smooth(height: int, width: int, phase: float) -> NDArray[np.float32]:
    y, x = np.mgrid[:height, :width] / 16.0
    wave: NDArray[np.float32] = (0.2 * np.sin(x + phase) * np.cos(y - phase)).astype(np.float32)
    return wave


def rgb_of(luma: NDArray[np.float32], chroma: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A frame from BT.601 planes by H.273, chroma interpolated linearly from left-sited samples."""
    height, width = luma.shape
    rows = np.clip((np.arange(height) - 0.5) / 2, 0, height / 2 - 1)
    columns = np.clip(np.arange(width) / 2, 0, width / 2 - 1)
    full = []
    for plane in chroma:
        across = np.array([np.interp(columns, np.arange(width // 2), row) for row in plane])
        down = [np.interp(rows, np.arange(height // 2), column) for column in across.T]
        full.append(np.array(down).T)
    y, (blue, red) = luma + 0.5, full
    r, b = y + 1.402 * red, y + 1.772 * blue
    g = (y - 0.299 * r - 0.114 * b) / 0.587
    return np.clip(np.stack((r, g, b), 2) * 255 + 0.5, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 96), (63, 95), (130, 34)], ids=str)
@pytest.mark.parametrize("color", COLORS, ids=str)
def test_planes_are_those_of_the_picture_in_rgb(color: ColorSpace, size: tuple[int, int]) -> None:
    height, width = size
    luma = smooth(192, 128, 0.0)
    chroma = np.stack((smooth(96, 64, 1.0), smooth(96, 64, 2.0)))
    found = PlaneConverter(info_of(width, height, color)).convert(luma[None, None], chroma[None])
    frame = rgb_of(luma, chroma)[:height, :width]
    expected = YuvConverter(width, height, "420", color).yuv_from_rgb(frame)
    for plane, wanted in zip(found, expected, strict=True):
        assert plane.dtype == np.uint8
        assert plane.shape == wanted.shape
        # At the right and lower edge the samples beyond, which are there, take part.
        inside = (slice(None, -2), slice(None, -2))
        assert np.abs(plane.astype(int) - wanted)[inside].max() <= 2
        assert np.abs(plane.astype(int) - wanted)[inside].mean() < 0.35


def test_what_is_out_of_range_is_clipped() -> None:
    luma = np.full((1, 1, 64, 64), 3.0, np.float32)
    luma[..., :32] = -3.0
    chroma = np.full((1, 2, 32, 32), 0.9, np.float32)
    y, u, v = PlaneConverter(info_of(64, 64, ColorSpace(6))).convert(luma, chroma)
    assert (y[:, :32] == 0).all()
    assert (y[:, 32:] == 255).all()
    assert (u == 255).all()
    assert (v == 255).all()


def test_videos_of_other_formats_have_no_converter() -> None:
    assert converter_for(info_of(64, 64, ColorSpace(1))) is not None
    assert converter_for(info_of(64, 64, ColorSpace(1), "444")) is None
    assert converter_for(info_of(64, 64, ColorSpace(8))) is None


@cache
def coded(bundle: Bundle, engine: Engine, exact: ExactMode, chroma: str = "420") -> bytes:
    file = io.BytesIO()
    settings = EncoderSettings(exact=exact, keyint=2)
    info = replace(video_info(WIDTH, HEIGHT), chroma=chroma)
    Encoder(bundle, engine, settings).encode(moving_frames(WIDTH, HEIGHT, 3), info, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def swift() -> Bundle:
    return open_bundle("swift-s")


def decoded(
    data: bytes, bundle: Bundle, engine: Engine, *, yuv: bool, tap: DecoderTap | None = None
) -> tuple[list[Planes], list[NDArray[np.uint8]], str]:
    """Planes, RGB and digest of a stream's frames."""
    decoder = Decoder(io.BytesIO(data), engine, bundle=bundle, tap=tap)
    frames = list(decoder.frames(yuv=yuv))
    shown = [frame.yuv for frame in frames], [frame.rgb for frame in frames]
    return *shown, decoder.report().symbols_digest


def test_a_decoder_gives_planes_without_making_rgb(
    swift: Bundle, reference_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = coded(swift, reference_engine, ExactMode.SYMBOLS)
    by_rgb, frames, digest = decoded(data, swift, reference_engine, yuv=False)
    run, read = [], Bundle.graph
    monkeypatch.setattr(Bundle, "graph", lambda self, name: run.append(name) or read(self, name))
    straight, again, same_digest = decoded(data, swift, reference_engine, yuv=True)
    assert same_digest == digest
    assert swift.manifest.inter.planes is not None
    assert "inter_synthesis" in run
    assert "picture" not in run
    for planes, others in zip(straight, by_rgb, strict=True):
        for plane, other in zip(planes, others, strict=True):
            assert np.abs(plane.astype(int) - other).mean() < 0.6
    for frame, other in zip(again, frames, strict=True):
        assert np.abs(frame.astype(int) - other).mean() < 1.5


def test_frames_before_the_first_wanted_are_not_made_rgb(
    swift: Bundle, reference_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = coded(swift, reference_engine, ExactMode.SYMBOLS)
    _, frames, _ = decoded(data, swift, reference_engine, yuv=False)
    shown, show = [], Interpreter.show
    monkeypatch.setattr(Interpreter, "show", lambda *given: shown.append(given) or show(*given))
    (frame,) = Decoder(io.BytesIO(data), reference_engine, bundle=swift, start=1, limit=1)
    np.testing.assert_array_equal(frame.rgb, frames[1])
    assert len(shown) == 1


class Tap:
    """Counts what it is shown."""

    def __init__(self) -> None:
        self.pictures = 0

    def index(self, _number: int, _tensor: str, _index: NDArray[np.float32]) -> None:
        pass

    def samples(self, frame_number: int, index: NDArray[np.float32]) -> None:
        assert index.shape == (3, HEIGHT, WIDTH)
        assert frame_number == self.pictures
        self.pictures += 1


def test_exact_and_tapped_frames_come_by_way_of_rgb(
    swift: Bundle, reference_engine: Engine
) -> None:
    tap = Tap()
    for exact, given in ((ExactMode.PIXELS, None), (ExactMode.SYMBOLS, tap)):
        data = coded(swift, reference_engine, exact)
        wanted, _, _ = decoded(data, swift, reference_engine, yuv=False)
        found, _, _ = decoded(data, swift, reference_engine, yuv=True, tap=given)
        np.testing.assert_equal(found, wanted)
    assert tap.pictures == 3


def test_codecs_without_planes_and_other_chroma_formats_work_all_the_same(
    swift: Bundle, block_bundle: Bundle, reference_engine: Engine
) -> None:
    for bundle, chroma in ((block_bundle, "420"), (swift, "444")):
        data = coded(bundle, reference_engine, ExactMode.SYMBOLS, chroma)
        wanted, frames, _ = decoded(data, bundle, reference_engine, yuv=False)
        found, others, _ = decoded(data, bundle, reference_engine, yuv=True)
        np.testing.assert_equal(found, wanted)
        np.testing.assert_equal(others, frames)


def test_a_matrix_without_a_conversion_is_an_error_only_when_planes_are_asked_for(
    block_bundle: Bundle, reference_engine: Engine
) -> None:
    file = io.BytesIO()
    info = replace(video_info(WIDTH, HEIGHT), color=ColorSpace(8))
    encoder = Encoder(block_bundle, reference_engine, EncoderSettings())
    encoder.encode(moving_frames(WIDTH, HEIGHT, 1), info, file)
    file.seek(0)
    (frame,) = Decoder(file, reference_engine, bundle=block_bundle).frames(yuv=True)
    assert frame.rgb.shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(VideoError, match="colour matrix"):
        _ = frame.yuv
