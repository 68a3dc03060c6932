"""What an encoder writes is what every decoder reads: symbols always, samples where promised."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from block_codec import moving_frames, video_info
from coding import Encoded, decode, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_calib import PositionCoder
from nvc_engines import Engine, open_engine
from nvc_runtime import Bundle, Decoder, Encoder, EncoderSettings, open_bundle
from nvc_runtime.entropy import FrameDecoder, FrameEncoder
from nvc_runtime.stream import ExactMode, FrameKind, StreamReader

PIXELS = EncoderSettings(exact=ExactMode.PIXELS)


@pytest.fixture(scope="module")
def plain(block_bundle: Bundle, reference_engine: Engine) -> Encoded:
    return encode(block_bundle, reference_engine, count=6)


def test_decoder_repeats_the_encoder(
    plain: Encoded, block_bundle: Bundle, reference_engine: Engine
) -> None:
    decoded = decode(plain.data, block_bundle, reference_engine)
    assert decoded.equals(plain)
    assert [f.number for f in decoded.frames] == list(range(6))
    assert [f.kind for f in decoded.frames] == [f.kind for f in plain.frames]
    assert decoded.frames[0].rgb.shape == (64, 96, 3)
    assert decoded.frames[0].rgb.dtype == np.uint8


def test_codec_codes(plain: Encoded) -> None:
    """The codec of the tests is no sham: pictures resemble the source, every section is used."""
    for frame, source in zip(plain.frames, moving_frames(96, 64, 6), strict=True):
        error = np.mean((frame.rgb.astype(float) - source) ** 2)
        assert 10 * np.log10(255**2 / error) == pytest.approx(frame.psnr_rgb_db)
        assert frame.psnr_rgb_db > 19
    used = {name for name, bits in plain.report.bits.items() if bits > 0}
    assert used >= {"hyper", "intra", "inter", "calibration", "checks", "framing", "header"}


def test_every_engine_reads_the_same_symbols(
    plain: Encoded, block_bundle: Bundle, any_engine: Engine
) -> None:
    decoded = decode(plain.data, block_bundle, any_engine)
    assert decoded.report.symbols_digest == plain.report.symbols_digest
    for ours, theirs in zip(decoded.frames, plain.frames, strict=True):
        assert np.abs(ours.rgb.astype(int) - theirs.rgb).max() <= 1


def test_every_engine_can_encode(
    block_bundle: Bundle, any_engine: Engine, reference_engine: Engine
) -> None:
    encoded = encode(block_bundle, any_engine, count=3)
    assert decode(encoded.data, block_bundle, any_engine).equals(encoded)
    decoded = decode(encoded.data, block_bundle, reference_engine)
    assert decoded.report.symbols_digest == encoded.report.symbols_digest


def test_exact_pixels_are_the_same_on_every_engine(
    block_bundle: Bundle, reference_engine: Engine, any_engine: Engine
) -> None:
    encoded = encode(block_bundle, reference_engine, PIXELS)
    assert decode(encoded.data, block_bundle, any_engine).equals(encoded)


@pytest.mark.parametrize("coder", [PositionCoder.RETRIEVAL, PositionCoder.RPC])
@pytest.mark.parametrize("sync", [0, 1, 2])
@pytest.mark.parametrize("exact", list(ExactMode))
def test_sync_frames_rebuild_the_references(
    block_bundle: Bundle,
    reference_engine: Engine,
    coder: PositionCoder,
    sync: int,
    exact: ExactMode,
) -> None:
    choice = EncoderSettings(sync=sync, exact=exact, keyint=0, calibration=coder)
    encoded = encode(block_bundle, reference_engine, choice)
    assert decode(encoded.data, block_bundle, reference_engine).equals(encoded)
    packets = list(StreamReader(io.BytesIO(encoded.data)))
    assert [p.sync for p in packets] == [bool(sync and n and n % sync == 0) for n in range(5)]


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (32, 32), (33, 16), (65, 49), (96, 64)])
@pytest.mark.parametrize("exact", list(ExactMode))
def test_any_frame_size(
    block_bundle: Bundle, reference_engine: Engine, size: tuple[int, int], exact: ExactMode
) -> None:
    encoded = encode(block_bundle, reference_engine, EncoderSettings(exact=exact), size=size)
    decoded = decode(encoded.data, block_bundle, reference_engine)
    assert decoded.equals(encoded)
    assert decoded.frames[0].rgb.shape == (size[1], size[0], 3)
    assert (encoded.report.width, encoded.report.height) == size


@pytest.mark.parametrize(("keyint", "kinds"), [(0, "IPPPPPP"), (1, "IIIIIII"), (3, "IPPIPPI")])
def test_keyint_places_intra_frames(
    block_bundle: Bundle, reference_engine: Engine, keyint: int, kinds: str
) -> None:
    choice = EncoderSettings(keyint=keyint)
    encoded = encode(block_bundle, reference_engine, choice, count=7)
    decoded = decode(encoded.data, block_bundle, reference_engine)
    assert decoded.equals(encoded)
    assert [f.kind is FrameKind.INTRA for f in decoded.frames] == [k == "I" for k in kinds]


@pytest.mark.parametrize(("offset", "qualities"), [(0, "1111"), (1, "2112"), (3, "3113")])
def test_intra_frames_are_as_much_better_as_there_are_qualities(
    block_bundle: Bundle, reference_engine: Engine, offset: int, qualities: str
) -> None:
    choice = EncoderSettings(quality=1, intra_offset=offset, keyint=3)
    encoded = encode(block_bundle, reference_engine, choice, count=4)
    assert decode(encoded.data, block_bundle, reference_engine).equals(encoded)
    reader = StreamReader(io.BytesIO(encoded.data))
    assert reader.header.quality == 1
    assert "".join(str(packet.quality) for packet in reader) == qualities


@pytest.mark.parametrize(("given", "keyint", "expected"), [(None, 1, 0), (None, 2, 36), (5, 1, 5)])
def test_where_no_frame_refers_to_intra_frames_they_are_as_asked_for(
    reference_engine: Engine, given: int | None, keyint: int, expected: int
) -> None:
    choice = EncoderSettings(quality=20, intra_offset=given, keyint=keyint)
    encoder = Encoder(open_bundle("swift-s"), reference_engine, choice)
    assert encoder.intra_quality == 20 + expected


@settings(max_examples=30, deadline=None)
@given(
    quality=st.integers(0, 3),
    keyint=st.integers(0, 4),
    skip_level=st.integers(-1, 30),
    epsilon=st.sampled_from([0.0, 1e-6, 1e-3, 0.24]),
    calibration=st.sampled_from(list(PositionCoder)),
    pixels=st.booleans(),
    sync=st.integers(0, 2),
    width=st.integers(16, 48),
    height=st.integers(16, 48),
    seed=st.integers(0, 9),
)
def test_any_settings(
    block_bundle: Bundle,
    reference_engine: Engine,
    quality: int,
    keyint: int,
    skip_level: int,
    epsilon: float,
    calibration: PositionCoder,
    pixels: bool,
    sync: int,
    width: int,
    height: int,
    seed: int,
) -> None:
    protected = calibration is not PositionCoder.NONE
    exact = ExactMode.PIXELS if pixels and protected else ExactMode.SYMBOLS
    choice = EncoderSettings(
        quality=quality,
        keyint=keyint,
        skip_level=skip_level,
        epsilon=epsilon,
        pixel_epsilon=epsilon,
        calibration=calibration,
        exact=exact,
        sync=sync if protected else 0,
    )
    frames = list(moving_frames(width, height, 3, seed))
    size = (width, height)
    encoded = encode(block_bundle, reference_engine, choice, size=size, frames=frames)
    assert decode(encoded.data, block_bundle, reference_engine).equals(encoded)
    assert sum(encoded.report.bits.values()) == pytest.approx(8 * len(encoded.data), abs=1e-3)


@pytest.mark.parametrize("exact", list(ExactMode))
def test_bits_by_section_are_all_bits(
    block_bundle: Bundle, reference_engine: Engine, exact: ExactMode
) -> None:
    encoded = encode(block_bundle, reference_engine, EncoderSettings(exact=exact))
    report = encoded.report
    assert report.size_bytes == len(encoded.data)
    assert sum(report.bits.values()) == pytest.approx(8 * report.size_bytes, abs=1e-3)
    assert report.bits_per_pixel == 8 * report.size_bytes / (5 * 96 * 64)
    assert (report.bits["pixels"] > 0) == (exact is ExactMode.PIXELS)
    packets = sum(f.size_bytes for f in encoded.frames)
    ends = (report.bits["header"] + report.bits["index"]) / 8
    assert packets + ends == report.size_bytes


def test_skipping_leaves_out_symbols(block_bundle: Bundle, reference_engine: Engine) -> None:
    sizes = [
        encode(block_bundle, reference_engine, EncoderSettings(skip_level=level)).report.size_bytes
        for level in (-1, 12, 30)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[2]


def test_retrieval_is_cheaper_than_relative_positions(
    block_bundle: Bundle, reference_engine: Engine
) -> None:
    bits = {
        coder: encode(
            block_bundle, reference_engine, EncoderSettings(calibration=coder, skip_level=-1)
        ).report.bits["calibration"]
        for coder in PositionCoder
    }
    assert bits[PositionCoder.NONE] < bits[PositionCoder.RETRIEVAL] < bits[PositionCoder.RPC]


def test_encoding_again_gives_the_same_bytes(
    block_bundle: Bundle, reference_engine: Engine
) -> None:
    encoder = Encoder(block_bundle, reference_engine, PIXELS)
    info, written = video_info(65, 49), []
    for _ in range(2):
        file = io.BytesIO()
        encoder.encode(moving_frames(65, 49, 4), info, file)
        written.append(file.getvalue())
    with open_engine("ort:cpu,threads=1") as engine:
        written.append(encode(block_bundle, engine, PIXELS, size=(65, 49), count=4).data)
    assert written[0] == written[1] == written[2]


def test_symbols_beyond_the_tables_are_coded(
    block_bundle: Bundle, reference_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Black and white noise is more than the scales foresee: escapes must occur and come back."""
    escapes = 0
    original = FrameEncoder._encode_group

    def counting(self: FrameEncoder, symbols: Any, table: Any) -> None:
        nonlocal escapes
        escapes += int(np.count_nonzero((symbols < table.lowest) | (symbols > table.highest)))
        original(self, symbols, table)

    monkeypatch.setattr(FrameEncoder, "_encode_group", counting)
    rng = np.random.default_rng(1)
    frames = [255 * rng.integers(0, 2, (64, 96, 3), np.uint8) for _ in range(3)]
    choice = EncoderSettings(quality=3, skip_level=-1)
    encoded = encode(block_bundle, reference_engine, choice, frames=frames)
    assert escapes > 10
    assert decode(encoded.data, block_bundle, reference_engine).equals(encoded)


@pytest.mark.parametrize("value", [0, 255])
def test_flat_frames(block_bundle: Bundle, reference_engine: Engine, value: int) -> None:
    frames = [np.full((64, 96, 3), value, np.uint8)] * 3
    encoded = encode(block_bundle, reference_engine, PIXELS, frames=frames)
    assert decode(encoded.data, block_bundle, reference_engine).equals(encoded)


def test_frames_are_taken_and_written_one_at_a_time(
    block_bundle: Bundle, reference_engine: Engine
) -> None:
    seen: list[str] = []

    def source() -> Any:
        for number, frame in enumerate(moving_frames(32, 32, 3)):
            seen.append(f"take {number}")
            yield frame

    Encoder(block_bundle, reference_engine).encode(
        source(),
        video_info(32, 32),
        io.BytesIO(),
        on_frame=lambda f: seen.append(f"done {f.number}"),
    )
    assert seen == [f"{what} {n}" for n in range(3) for what in ("take", "done")]


class Pipe(io.RawIOBase):
    """A stream that can only be read forward, a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 7) if size >= 0 else 7)


def test_stream_can_be_read_from_a_pipe(
    plain: Encoded, block_bundle: Bundle, reference_engine: Engine
) -> None:
    pipe: Any = Pipe(plain.data)
    frames = list(Decoder(pipe, reference_engine, bundle=block_bundle, start=5))
    np.testing.assert_array_equal(frames[0].rgb, plain.frames[5].rgb)


@pytest.mark.parametrize(("start", "limit"), itertools.product([0, 1, 3, 4, 5], [None, 0, 1, 2, 9]))
def test_start_and_limit(
    plain: Encoded,
    block_bundle: Bundle,
    reference_engine: Engine,
    start: int,
    limit: int | None,
) -> None:
    decoded = decode(plain.data, block_bundle, reference_engine, start=start, limit=limit)
    stop = 6 if limit is None else min(6, start + limit)
    expected = plain.frames[start:stop]
    assert [f.number for f in decoded.frames] == [f.number for f in expected]
    assert decoded.report.frames == len(expected)
    for ours, theirs in zip(decoded.frames, expected, strict=True):
        np.testing.assert_array_equal(ours.rgb, theirs.rgb)


def test_start_decodes_no_more_than_it_must(
    plain: Encoded, block_bundle: Bundle, reference_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keyint is 4: frame 5 needs frames 4 and 5, not the first group."""
    finished = []
    original = FrameDecoder.finish

    def counting(self: FrameDecoder, **keywords: Any) -> None:
        finished.append(keywords)
        original(self, **keywords)

    monkeypatch.setattr(FrameDecoder, "finish", counting)
    decode(plain.data, block_bundle, reference_engine, start=5)
    assert len(finished) == 2


def test_iteration_can_be_interrupted(
    plain: Encoded, block_bundle: Bundle, reference_engine: Engine
) -> None:
    decoder = Decoder(io.BytesIO(plain.data), reference_engine, bundle=block_bundle)
    first = [next(iter(decoder)) for _ in range(2)]
    frames = [*first, *decoder]
    assert [f.number for f in frames] == list(range(6))
    assert decoder.report().symbols_digest == plain.report.symbols_digest


def test_reports_are_plain_data(
    plain: Encoded, block_bundle: Bundle, reference_engine: Engine
) -> None:
    report = plain.report.to_json()
    assert report["bytes"] == len(plain.data)
    assert set(report["elapsed_s"]) == {"total", "transform", "entropy", "calibration", "io"}
    parts = report["elapsed_s"]
    assert 0 < parts["transform"] <= parts["total"]
    assert sum(v for k, v in parts.items() if k != "total") <= parts["total"] * 1.001
    decoded = decode(plain.data, block_bundle, reference_engine).report.to_json()
    assert decoded["symbols_digest"] == report["symbols_digest"]
    assert decoded["damage"] == []
    assert decoded["fps"] > 0


def test_header_says_what_the_decoder_needs(block_bundle: Bundle, reference_engine: Engine) -> None:
    choice = replace(PIXELS, quality=1, skip_level=5, epsilon=0.01, keyint=2)
    data = encode(block_bundle, reference_engine, choice).data
    header = Decoder(io.BytesIO(data), reference_engine, bundle=block_bundle).header
    assert header.bundle_digest == block_bundle.digest
    assert (header.quality, header.skip_level, header.keyint) == (1, 5, 2)
    assert header.epsilon == pytest.approx(0.01)
    assert header.pixel_epsilon == pytest.approx(0.01)
