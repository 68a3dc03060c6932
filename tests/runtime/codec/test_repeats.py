"""Frames that hardly differ from the one before are not coded, and shown again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from block_codec import moving_frames, video_info

from nvc_engines import Engine
from nvc_errors import CalibrationError, EngineError, StreamError
from nvc_runtime import (
    Bundle,
    DecodedFrame,
    Decoder,
    Encoder,
    EncoderSettings,
    open_bundle,
)
from nvc_runtime.codec.interpreter import Reconstruction
from nvc_runtime.codec.repeat import MAX_SHARE, RepeatDetector
from nvc_runtime.codec.scene import BLOCK
from nvc_runtime.files import decode_file
from nvc_runtime.groups import decoding_in_processes, encoding_in_processes
from nvc_runtime.probe import probe_stream
from nvc_runtime.stream import ExactMode, FrameKind, StreamReader, StreamWriter
from nvc_runtime.video import Frame, open_reader

INTRA, INTER, REPEAT = FrameKind.INTRA, FrameKind.INTER, FrameKind.REPEAT
WIDTH, HEIGHT = 96, 64
SHOWN = (0, 1, 1, 1, 2, 3, 3)
"""Which of four different frames each frame of a clip is."""
WHOLE = EncoderSettings(keyint=0)
KINDS = [INTRA, INTER, REPEAT, REPEAT, INTER, INTER, REPEAT]


@pytest.fixture(scope="module")
def clip() -> list[Frame]:
    """Seven frames, of which four are different."""
    different = list(moving_frames(WIDTH, HEIGHT, 4))
    return [different[number] for number in SHOWN]


def encode(
    bundle: Bundle, engine: Engine, clip: Sequence[Frame], settings: EncoderSettings
) -> tuple[bytes, list[Frame]]:
    """Encode; return the stream and what the encoder says will be shown."""
    file = io.BytesIO()
    shown: list[Frame] = []
    info = video_info(WIDTH, HEIGHT)
    report = Encoder(bundle, engine, settings).encode(
        clip, info, file, on_frame=lambda frame: shown.append(frame.rgb)
    )
    assert sum(report.bits.values()) == pytest.approx(8 * report.size_bytes)
    return file.getvalue(), shown


def kinds_of(stream: bytes) -> list[FrameKind]:
    return [packet.kind for packet in StreamReader(io.BytesIO(stream))]


@pytest.mark.parametrize("exact", list(ExactMode))
def test_repeats_are_shown_again(
    block_bundle: Bundle, reference_engine: Engine, clip: list[Frame], exact: ExactMode
) -> None:
    settings = EncoderSettings(keyint=0, exact=exact, pixel_epsilon=1e-4)
    stream, shown = encode(block_bundle, reference_engine, clip, settings)
    decoder = Decoder(io.BytesIO(stream), reference_engine, bundle=block_bundle)
    frames = list(decoder)
    assert [frame.kind for frame in frames] == KINDS
    for frame, expected in zip(frames, shown, strict=True):
        np.testing.assert_array_equal(frame.rgb, expected)
    for number, first in ((2, 1), (3, 1), (6, 5)):
        np.testing.assert_array_equal(frames[number].rgb, frames[first].rgb)
    packets = list(StreamReader(io.BytesIO(stream)))
    assert {packets[n].sizes.total for n in (2, 3, 6)} == {15}


def test_coded_frames_are_those_of_a_clip_without_the_others(
    block_bundle: Bundle, reference_engine: Engine, clip: list[Frame]
) -> None:
    stream, _ = encode(block_bundle, reference_engine, clip, WHOLE)
    alone, _ = encode(block_bundle, reference_engine, moving_frames(WIDTH, HEIGHT, 4), WHOLE)
    coded = [p for p in StreamReader(io.BytesIO(stream)) if p.kind is not REPEAT]
    assert [p.payload for p in coded] == [p.payload for p in StreamReader(io.BytesIO(alone))]


@pytest.mark.parametrize("start", [2, 3, 4, 6])
@pytest.mark.parametrize("yuv", [False, True])
def test_decoding_may_start_at_a_repeat(
    block_bundle: Bundle, reference_engine: Engine, clip: list[Frame], start: int, yuv: bool
) -> None:
    stream, _ = encode(block_bundle, reference_engine, clip, WHOLE)
    whole, part = (
        Decoder(io.BytesIO(stream), reference_engine, bundle=block_bundle, start=first)
        for first in (0, start)
    )
    expected = list(whole.frames(yuv=yuv))[start:]
    for frame, same in zip(part.frames(yuv=yuv), expected, strict=True):
        np.testing.assert_array_equal(frame.rgb, same.rgb)


def test_groups_side_by_side(
    block_bundle: Bundle, reference_engine: Engine, clip: list[Frame]
) -> None:
    settings = EncoderSettings(keyint=3)
    stream, shown = encode(block_bundle, reference_engine, clip, settings)
    # Where a group starts a frame is coded, whatever is before.
    assert kinds_of(stream) == [INTRA, INTER, REPEAT, INTRA, INTER, INTER, INTRA]
    encoder, info = Encoder(block_bundle, reference_engine, settings), video_info(WIDTH, HEIGHT)
    file = io.BytesIO()
    with encoding_in_processes(encoder, info, 2) as work:
        encoder.encode(clip, info, file, encode=work)
    assert file.getvalue() == stream
    decoder = Decoder(io.BytesIO(stream), reference_engine, bundle=block_bundle)
    with decoding_in_processes(decoder, 2) as workers:
        for frame, expected in zip(decoder.frames(decode=workers), shown, strict=True):
            np.testing.assert_array_equal(frame.rgb, expected)


def test_sync_frames_are_coded(
    block_bundle: Bundle, reference_engine: Engine, clip: list[Frame]
) -> None:
    settings = EncoderSettings(keyint=0, sync=3, pixel_epsilon=1e-4)
    stream, shown = encode(block_bundle, reference_engine, clip, settings)
    packets = list(StreamReader(io.BytesIO(stream)))
    assert [p.frame_number for p in packets if p.sync] == [3, 6]
    assert [p.kind for p in packets] == [INTRA, INTER, REPEAT, INTER, INTER, INTER, INTER]
    decoder = Decoder(io.BytesIO(stream), reference_engine, bundle=block_bundle)
    for frame, expected in zip(decoder, shown, strict=True):
        np.testing.assert_array_equal(frame.rgb, expected)


def test_without_repeats_every_frame_is_coded(
    block_bundle: Bundle, reference_engine: Engine, clip: list[Frame]
) -> None:
    settings = EncoderSettings(keyint=0, repeats=False)
    stream, _ = encode(block_bundle, reference_engine, clip, settings)
    assert kinds_of(stream) == [INTRA, *[INTER] * 6]


def test_a_tap_sees_the_samples_of_repeats(
    block_bundle: Bundle, reference_engine: Engine, clip: list[Frame]
) -> None:
    class Tap:
        def __init__(self) -> None:
            self.indices: set[int] = set()
            self.shown: list[int] = []

        def index(self, frame_number: int, *_: object) -> None:
            self.indices.add(frame_number)

        def samples(self, frame_number: int, *_: object) -> None:
            self.shown.append(frame_number)

    stream, _ = encode(block_bundle, reference_engine, clip, WHOLE)
    tap = Tap()
    for _ in Decoder(io.BytesIO(stream), reference_engine, bundle=block_bundle, tap=tap):
        pass
    assert tap.shown == list(range(7))
    assert tap.indices == {0, 1, 4, 5}


def test_a_file_with_repeats(
    block_bundle: Bundle, reference_engine: Engine, clip: list[Frame], tmp_path: Path
) -> None:
    stream, shown = encode(block_bundle, reference_engine, clip, WHOLE)
    source, video = tmp_path / "a.nvc", tmp_path / "frames"
    source.write_bytes(stream)
    report = decode_file(str(source), f"{video}/", reference_engine, bundle=block_bundle)
    assert report.frames == 7
    for path, expected in zip(sorted(video.glob("*.png")), shown, strict=True):
        with open_reader(path) as reader:
            np.testing.assert_array_equal(next(iter(reader)), expected)
    assert probe_stream(io.BytesIO(stream)).to_json()["repeated_frames"] == 3


def test_what_refers_to_a_lost_frame_is_no_repeat(
    block_bundle: Bundle, reference_engine: Engine, clip: list[Frame]
) -> None:
    stream, _ = encode(block_bundle, reference_engine, clip, WHOLE)
    reader = StreamReader(io.BytesIO(stream))
    packets = list(reader)
    file = io.BytesIO()
    with StreamWriter(file, reader.header) as writer:
        writer.write(packets[0])
        writer.write(replace(packets[1], digest=packets[1].digest ^ 1))
        writer.write(packets[2])
    decoder = Decoder(io.BytesIO(file.getvalue()), reference_engine, bundle=block_bundle)
    frames = iter(decoder)
    next(frames)
    with pytest.raises(CalibrationError, match="frame 1"):
        next(frames)
    with pytest.raises(StreamError, match="frame 2 refers to one that could not be decoded"):
        next(iter(decoder))


def test_what_refers_to_a_picture_that_was_never_seen_is_no_repeat(
    block_bundle: Bundle,
    reference_engine: Engine,
    clip: list[Frame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, _ = encode(block_bundle, reference_engine, clip, WHOLE)
    decoder = Decoder(io.BytesIO(stream), reference_engine, bundle=block_bundle)
    next(frames := iter(decoder))

    def fail(_: Reconstruction) -> None:
        raise EngineError("the device is gone")

    with monkeypatch.context() as broken:
        broken.setattr(Reconstruction, "rgb", fail)
        with pytest.raises(EngineError, match="the device is gone"):
            next(frames)
    with pytest.raises(StreamError, match="frame 2 refers to one that could not be decoded"):
        next(iter(decoder))


@pytest.mark.parametrize(
    ("lost", "expected"),
    [(1, [0, 4, 5, 6]), (2, [0, 1, 4, 5, 6]), (3, [0, 1, 2, 4, 5, 6]), (4, [0, 1, 2, 3])],
)
def test_damage_before_a_repeat(
    block_bundle: Bundle,
    reference_engine: Engine,
    clip: list[Frame],
    lost: int,
    expected: list[int],
) -> None:
    stream, shown = encode(block_bundle, reference_engine, clip, EncoderSettings(keyint=4))
    assert kinds_of(stream) == [INTRA, INTER, REPEAT, REPEAT, INTRA, INTER, REPEAT]
    sizes = [packet.sizes.total for packet in StreamReader(io.BytesIO(stream))]
    place = probe_stream(io.BytesIO(stream)).bits["header"] // 8 + sum(sizes[:lost]) + 8
    broken = bytearray(stream)
    broken[int(place)] ^= 1
    decoder = Decoder(
        io.BytesIO(bytes(broken)), reference_engine, bundle=block_bundle, resume_at_intra=True
    )
    frames = {frame.number: frame.rgb for frame in decoder}
    assert list(frames) == expected
    assert decoder.report().damage
    for number, rgb in frames.items():
        np.testing.assert_array_equal(rgb, shown[number])


@pytest.mark.parametrize("yuv", [False, True])
def test_planes_are_shown_again(
    reference_engine: Engine, clip: list[Frame], yuv: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle("swift-s")
    stream, _ = encode(bundle, reference_engine, clip, WHOLE)
    assert kinds_of(stream) == KINDS
    fetched: list[str] = []
    for name in ("rgb", "planes"):
        own = getattr(Reconstruction, name)
        monkeypatch.setattr(
            Reconstruction, name, lambda self, n=name, f=own: (fetched.append(n), f(self))[1]
        )

    def frames(start: int, *, yuv: bool) -> list[DecodedFrame]:
        decoder = Decoder(io.BytesIO(stream), reference_engine, bundle=bundle, start=start)
        return list(decoder.frames(yuv=yuv))

    whole = frames(0, yuv=yuv)
    assert fetched == ["planes" if yuv else "rgb"] * 4
    # The frame before, which is not shown, was made of planes.
    part = frames(2, yuv=yuv)
    for frame, same in zip(part, whole[2:], strict=True):
        for plane, expected in zip(frame.yuv, same.yuv, strict=True):
            np.testing.assert_array_equal(plane, expected)
        np.testing.assert_array_equal(frame.rgb, same.rgb)


def test_a_repeat_may_differ_a_little_everywhere_and_not_much_anywhere() -> None:
    rng = np.random.default_rng(1)
    source = rng.integers(50, 200, (3 * BLOCK + 5, 2 * BLOCK + 3, 3), np.uint8)
    detector = RepeatDetector()
    assert not detector.is_repeat(source)
    detector.accept(source, 36.0)
    assert detector.is_repeat(source)
    error = 255.0**2 / 10.0**3.6
    assert MAX_SHARE * error > 1.0
    assert detector.is_repeat(source + 1)
    assert not detector.is_repeat(source + 2)
    # One sample of a partial block of 45 in the corner: 13 squared is less than 4 times 45.
    for change, expected in ((13, True), (14, False)):
        moved = source.copy()
        moved[-1, -1, 1] += change
        assert detector.is_repeat(moved) is expected, change
    # However bad the frame is, and no worse than the frame is.
    for psnr, change, expected in ((10.0, 2, True), (10.0, 3, False), (45.0, 1, False)):
        detector.accept(source, psnr)
        assert detector.is_repeat(source + change) is expected, (psnr, change)
    moved = source.copy()
    moved[-1, -1, 1] += 10
    detector.accept(source, 45.0)
    assert not detector.is_repeat(moved)
    for quality in (float("inf"), float("nan")):
        detector.accept(source, quality)
        assert detector.is_repeat(source) is (quality == float("inf"))
        assert not detector.is_repeat(source + 1)


def test_the_source_may_be_used_again() -> None:
    source = np.full((32, 32, 3), 100, np.uint8)
    detector = RepeatDetector()
    detector.accept(source, 40.0)
    source += 50
    assert not detector.is_repeat(source)
