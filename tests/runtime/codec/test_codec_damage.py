"""Damaged streams and wrong arguments: an NvcError, never a crash, never a wrong picture."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_codec import block_files, block_manifest, moving_frames, video_info, write_archive
from coding import Encoded, decode, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_calib import PositionCoder
from nvc_engines import Engine
from nvc_errors import (
    BundleError,
    NvcError,
    OutputError,
    StreamError,
    TruncatedStreamError,
    UsageError,
    VideoError,
)
from nvc_runtime import Bundle, Decoder, Encoder, EncoderSettings
from nvc_runtime.stream import ExactMode, FramePacket, StreamHeader, StreamReader, StreamWriter

SIZE = (32, 32)
COUNT = 6
KEYINT = 2


@pytest.fixture(scope="module")
def small(block_bundle: Bundle, reference_engine: Engine) -> Encoded:
    """I P I P I P, with everything a packet can hold."""
    choice = EncoderSettings(exact=ExactMode.PIXELS, keyint=KEYINT)
    return encode(block_bundle, reference_engine, choice, size=SIZE, count=COUNT)


@pytest.fixture(scope="module")
def offsets(small: Encoded) -> list[int]:
    """Where each packet starts, and where the end packet does."""
    sizes = [f.size_bytes for f in small.frames]
    first = int(small.report.bits["header"]) // 8
    return [first + sum(sizes[:n]) for n in range(COUNT + 1)]


def frames_before_error(data: bytes, bundle: Bundle, engine: Engine) -> tuple[list[Any], NvcError]:
    frames: list[Any] = []
    try:
        for frame in Decoder(io.BytesIO(data), engine, bundle=bundle):
            frames.append(frame)  # noqa: PERF402 - an error must not lose the frames before it
    except NvcError as error:
        return frames, error
    pytest.fail("the damage was not noticed")


def test_every_truncation_is_reported(
    small: Encoded, offsets: list[int], block_bundle: Bundle, reference_engine: Engine
) -> None:
    step = max(1, len(small.data) // 150)
    edges = {place + d for place in offsets for d in (-1, 0, 1)}
    for size in sorted({*range(0, len(small.data), step), *edges}):
        frames, error = frames_before_error(small.data[:size], block_bundle, reference_engine)
        assert isinstance(error, TruncatedStreamError)
        assert len(frames) == sum(place <= size for place in offsets[1:])
        for frame, expected in zip(frames, small.frames, strict=False):
            np.testing.assert_array_equal(frame.rgb, expected.rgb)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_every_bit_flip_is_noticed(
    small: Encoded, block_bundle: Bundle, reference_engine: Engine, data: st.DataObject
) -> None:
    damaged = bytearray(small.data)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    frames, _ = frames_before_error(bytes(damaged), block_bundle, reference_engine)
    for frame, expected in zip(frames, small.frames, strict=False):
        np.testing.assert_array_equal(frame.rgb, expected.rgb)


@pytest.mark.parametrize("hit", range(COUNT))
def test_decoding_resumes_at_the_next_intra_frame(
    small: Encoded, offsets: list[int], block_bundle: Bundle, reference_engine: Engine, hit: int
) -> None:
    damaged = bytearray(small.data)
    damaged[offsets[hit] + 20] ^= 0x10
    decoded = decode(bytes(damaged), block_bundle, reference_engine, resume_at_intra=True)
    resumed = (hit // KEYINT + 1) * KEYINT
    numbers = [n for n in range(COUNT) if n < hit or n >= resumed]
    assert [f.number for f in decoded.frames] == numbers
    for frame in decoded.frames:
        np.testing.assert_array_equal(frame.rgb, small.frames[frame.number].rgb)
    damage = decoded.report.damage
    assert f"frame {hit}" in damage[0]
    assert f"frames {hit}..{resumed - 1} are lost" in damage[-1]
    with pytest.raises(StreamError, match=f"frame {hit}"):
        decode(bytes(damaged), block_bundle, reference_engine)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_resuming_never_shows_a_wrong_picture(
    small: Encoded, block_bundle: Bundle, reference_engine: Engine, data: st.DataObject
) -> None:
    damaged = bytearray(small.data)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        patch = data.draw(st.binary(max_size=8))
        damaged[place : place + data.draw(st.integers(0, 8))] = patch
    try:
        decoded = decode(bytes(damaged), block_bundle, reference_engine, resume_at_intra=True)
    except NvcError:
        return
    for frame in decoded.frames:
        np.testing.assert_array_equal(frame.rgb, small.frames[frame.number].rgb)
    if bytes(damaged) != small.data and len(decoded.frames) < COUNT:
        assert decoded.report.damage


def rewritten(data: bytes, change: Any, header: Any = lambda h: h) -> bytes:
    """The stream as a broken encoder would have written it, CRCs and all."""
    reader = StreamReader(io.BytesIO(data))
    file = io.BytesIO()
    with StreamWriter(file, header(reader.header)) as writer:
        for packet in reader:
            writer.write(change(packet))
    return file.getvalue()


def payload_flipped(packet: FramePacket) -> FramePacket:
    flipped = bytearray(packet.payload)
    flipped[len(flipped) // 2] ^= 4
    return replace(packet, payload=bytes(flipped))


def calibration_cut(packet: FramePacket) -> FramePacket:
    return replace(packet, calibration=b"\xff" * 3)


BROKEN_PACKETS: list[tuple[Any, type[NvcError], str]] = [
    (payload_flipped, NvcError, "frame 0"),
    (calibration_cut, NvcError, "frame 0"),
    (lambda p: replace(p, digest=p.digest ^ 1), NvcError, "frame 0"),
    (lambda p: replace(p, payload=p.payload + b"sixteen more byte"), NvcError, "frame 0"),
    (lambda p: replace(p, payload=p.payload + b"\0"), StreamError, "frame 0"),
    (lambda p: replace(p, payload=b""), NvcError, "frame 0"),
    (lambda p: replace(p, quality=4), StreamError, "frame 0 has quality 4"),
    (lambda p: replace(p, quality=1), NvcError, "frame 0"),
    (lambda p: replace(p, calibration=b"\1\0"), StreamError, "frame 0, latent 'all'"),
    (lambda p: replace(p, pixels=b""), NvcError, "frame 0, samples"),
    (lambda p: replace(p, pixels=bytes(4)), NvcError, "frame 0, samples"),
    (lambda p: replace(p, pixels=(p.pixels or b"")[:-2]), NvcError, "samples"),
    (
        lambda p: replace(p, pixels=zlib.crc32(b"").to_bytes(4, "little") + b"\xff" * 9),
        NvcError,
        "frame 0, samples",
    ),
]


@pytest.mark.parametrize(("change", "kind", "message"), BROKEN_PACKETS)
@pytest.mark.parametrize("coder", [PositionCoder.RETRIEVAL, PositionCoder.RPC])
def test_packets_of_a_broken_encoder_are_refused(
    block_bundle: Bundle,
    reference_engine: Engine,
    change: Any,
    kind: type[NvcError],
    message: str,
    coder: PositionCoder,
) -> None:
    # A large epsilon, so that the decoder relies on what the side information says.
    choice = EncoderSettings(
        exact=ExactMode.PIXELS, calibration=coder, skip_level=-1, epsilon=0.1, pixel_epsilon=0.1
    )
    encoded = encode(block_bundle, reference_engine, choice, size=SIZE, count=2)
    with pytest.raises(kind, match=message):
        decode(rewritten(encoded.data, change), block_bundle, reference_engine)


def test_skip_level_beyond_the_bundle_is_refused(
    small: Encoded, block_bundle: Bundle, reference_engine: Engine
) -> None:
    def with_skip_level(header: StreamHeader) -> StreamHeader:
        return replace(header, skip_level=31)

    data = rewritten(small.data, lambda p: p, with_skip_level)
    with pytest.raises(StreamError, match="skip level 31"):
        Decoder(io.BytesIO(data), reference_engine, bundle=block_bundle)


def other_bundle(folder: Path, **changes: Any) -> Bundle:
    manifest = block_manifest() | changes
    return Bundle(write_archive(folder / "other.nvcb", block_files(manifest)))


def test_another_bundle_is_refused(
    small: Encoded, reference_engine: Engine, tmp_path: Path
) -> None:
    """Even if it differs in nothing that matters: the digest identifies it."""
    other = other_bundle(tmp_path, card={"comment": "retrained"})
    with pytest.raises(BundleError, match=r"made with bundle 'block'.*other\.nvcb"):
        Decoder(io.BytesIO(small.data), reference_engine, bundle=other)


def test_bundle_is_found_by_digest(
    small: Encoded,
    block_bundle: Bundle,
    reference_engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NVC_BUNDLES", str(tmp_path))
    with pytest.raises(BundleError, match=r"'block'.*NVC_BUNDLES"):
        Decoder(io.BytesIO(small.data), reference_engine)
    (tmp_path / "anything.nvcb").write_bytes(block_bundle.path.read_bytes())
    frames = list(Decoder(io.BytesIO(small.data), reference_engine))
    np.testing.assert_array_equal(frames[-1].rgb, small.frames[-1].rgb)


def test_sync_needs_a_sync_program(reference_engine: Engine, tmp_path: Path) -> None:
    programs = block_manifest()["programs"]
    del programs["sync"]
    with pytest.raises(UsageError, match="sync"):
        Encoder(
            other_bundle(tmp_path, programs=programs), reference_engine, EncoderSettings(sync=2)
        )


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((32, 33, 3), np.uint8),
        np.zeros((33, 32, 3), np.uint8),
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 32, 3), np.float32),
        np.zeros((32, 32, 3), np.uint16),
    ],
    ids=lambda frame: f"{frame.dtype}{frame.shape}",
)
def test_wrong_frame_is_refused(block_bundle: Bundle, reference_engine: Engine, frame: Any) -> None:
    file = io.BytesIO()
    frames = [next(moving_frames(*SIZE, 1)), frame]
    with pytest.raises(VideoError, match="frame 1"):
        Encoder(block_bundle, reference_engine).encode(frames, video_info(*SIZE), file)
    with pytest.raises(TruncatedStreamError, match="1 frames are whole"):
        decode(file.getvalue(), block_bundle, reference_engine)


def test_clip_without_frames_is_refused(block_bundle: Bundle, reference_engine: Engine) -> None:
    with pytest.raises(VideoError, match="no frame"):
        encode(block_bundle, reference_engine, frames=[])


def test_file_that_cannot_be_written(block_bundle: Bundle, reference_engine: Engine) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 500:
                raise OSError(28, "No space left on device")
            return super().write(data)

    with pytest.raises(OutputError, match="No space left"):
        Encoder(block_bundle, reference_engine).encode(
            moving_frames(*SIZE, 20), video_info(*SIZE), Full()
        )


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (EncoderSettings(quality=4), "quality is 4"),
        (EncoderSettings(quality=-1), "quality is -1"),
        (EncoderSettings(intra_offset=4), "intra offset is 4"),
        (EncoderSettings(intra_offset=-1), "intra offset is -1"),
        (EncoderSettings(keyint=-1), "keyint"),
        (EncoderSettings(keyint=2**32), "keyint"),
        (EncoderSettings(skip_level=31), "skip level"),
        (EncoderSettings(skip_level=-2), "skip level"),
        (EncoderSettings(epsilon=0.25), "epsilon"),
        (EncoderSettings(epsilon=-1e-9), "epsilon"),
        (EncoderSettings(epsilon=float("nan")), "epsilon"),
        (EncoderSettings(pixel_epsilon=0.3), "pixel epsilon"),
        (EncoderSettings(sync=-1), "sync"),
        (
            EncoderSettings(exact=ExactMode.PIXELS, calibration=PositionCoder.NONE),
            "need calibration",
        ),
        (EncoderSettings(sync=1, calibration=PositionCoder.NONE), "need calibration"),
    ],
)
def test_settings_out_of_range_are_refused(
    block_bundle: Bundle, reference_engine: Engine, choice: EncoderSettings, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Encoder(block_bundle, reference_engine, choice)


@pytest.mark.parametrize("window", [{"start": -1}, {"limit": -1}])
def test_negative_window_is_refused(
    small: Encoded, block_bundle: Bundle, reference_engine: Engine, window: dict[str, int]
) -> None:
    with pytest.raises(UsageError, match="negative"):
        decode(small.data, block_bundle, reference_engine, **window)


@pytest.mark.parametrize("start", [COUNT, 1000])
def test_start_beyond_the_end_says_how_many_frames_there_are(
    small: Encoded, block_bundle: Bundle, reference_engine: Engine, start: int
) -> None:
    with pytest.raises(UsageError, match=f"start is {start}.*{COUNT} frames"):
        decode(small.data, block_bundle, reference_engine, start=start)


def test_start_works_without_an_index(
    small: Encoded, offsets: list[int], block_bundle: Bundle, reference_engine: Engine
) -> None:
    """A recording that was cut off has no index; its intra frames are found by reading."""
    cut = small.data[: offsets[-1]]
    decoder = Decoder(io.BytesIO(cut), reference_engine, bundle=block_bundle, start=3, limit=2)
    assert [f.number for f in decoder] == [3, 4]


@pytest.mark.parametrize("data", [b"", b"\x89NVC", b"not a stream at all, but long enough"])
def test_what_is_no_stream_is_refused(
    block_bundle: Bundle, reference_engine: Engine, data: bytes
) -> None:
    with pytest.raises(StreamError):
        Decoder(io.BytesIO(data), reference_engine, bundle=block_bundle)
    with pytest.raises(StreamError):
        Decoder(io.BytesIO(data), reference_engine, bundle=block_bundle, start=1)
