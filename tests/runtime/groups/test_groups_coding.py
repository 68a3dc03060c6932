"""Groups of pictures side by side give what one after the other gives: bytes, frames, errors."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from block_codec import block_files, moving_frames, video_info, write_archive
from coding import Encoded, decode, encode

from nvc_engines import Engine, EngineInfo, parse_engine_spec
from nvc_errors import BundleError, CalibrationError, TruncatedStreamError, UsageError
from nvc_runtime import Bundle, DecodedFrame, Decoder, Encoder, EncoderSettings
from nvc_runtime.files import decode_file, encode_file
from nvc_runtime.groups import (
    check_jobs,
    decoding_in_processes,
    encoding_in_processes,
    useful_jobs,
)
from nvc_runtime.groups.jobs import MAX_JOBS, MIN_PIXELS, EngineOfJob, jobs_for
from nvc_runtime.stream import ExactMode, FrameKind, FramePacket, StreamReader, StreamWriter
from nvc_runtime.video import Frame, VideoInfo, open_writer

SIZE = (96, 64)


@pytest.fixture(scope="module")
def encoded(block_bundle: Bundle, reference_engine: Engine) -> Encoded:
    """Seven frames in groups of three, three and one."""
    return encode(block_bundle, reference_engine, EncoderSettings(keyint=3), count=7)


def decode_side_by_side(
    data: bytes, bundle: Bundle, engine: Engine, *, yuv: bool = False, **options: int
) -> tuple[list[DecodedFrame], Decoder]:
    decoder = Decoder(io.BytesIO(data), engine, bundle=bundle, **options)
    with decoding_in_processes(decoder, 2) as workers:
        return list(decoder.frames(yuv=yuv, decode=workers)), decoder


def scene_frames() -> list[Frame]:
    """Two scenes, of four frames and of three."""
    rng = np.random.default_rng(5)
    other = rng.integers(0, 256, (SIZE[1] // 16, SIZE[0] // 16, 3), dtype=np.uint8)
    wide = other.repeat(16, axis=0).repeat(16, axis=1)
    return [*moving_frames(*SIZE, 4), *(255 - wide for _ in range(3))]


@pytest.mark.parametrize("exact", list(ExactMode))
def test_the_stream_is_the_same(
    block_bundle: Bundle, reference_engine: Engine, exact: ExactMode
) -> None:
    settings = EncoderSettings(keyint=3, exact=exact)
    expected = encode(block_bundle, reference_engine, settings, frames=scene_frames())
    encoder = Encoder(block_bundle, reference_engine, settings)
    file, info, numbers = io.BytesIO(), video_info(*SIZE), list[int]()
    with encoding_in_processes(encoder, info, 2) as workers:
        report = encoder.encode(
            scene_frames(),
            info,
            file,
            on_frame=lambda frame: numbers.append(frame.number),
            encode=workers,
        )
    assert file.getvalue() == expected.data
    kinds = [frame.kind for frame in expected.frames]
    assert [n for n, kind in enumerate(kinds) if kind is FrameKind.INTRA] == [0, 3, 4]
    assert numbers == list(range(7))
    assert replace(report, elapsed=expected.report.elapsed) == expected.report
    assert report.elapsed.transform_s > 0
    assert report.elapsed.entropy_s > 0


@pytest.mark.parametrize("yuv", [False, True])
@pytest.mark.parametrize("options", [{}, {"start": 4}, {"start": 2, "limit": 3}])
def test_frames_are_the_same(
    block_bundle: Bundle,
    reference_engine: Engine,
    encoded: Encoded,
    options: dict[str, int],
    yuv: bool,
) -> None:
    expected = decode(encoded.data, block_bundle, reference_engine, **options)
    frames, decoder = decode_side_by_side(
        encoded.data, block_bundle, reference_engine, yuv=yuv, **options
    )
    report = decoder.report()
    assert replace(report, elapsed=expected.report.elapsed) == expected.report
    assert report.elapsed.transform_s > 0
    for found, frame in zip(frames, expected.frames, strict=True):
        assert (found.number, found.kind, found.digest) == (frame.number, frame.kind, frame.digest)
        np.testing.assert_array_equal(found.rgb, frame.rgb)
        for plane, expected_plane in zip(found.yuv, frame.yuv, strict=True):
            np.testing.assert_array_equal(plane, expected_plane)


def test_a_cut_stream_gives_its_whole_packets_first(
    block_bundle: Bundle, reference_engine: Engine, encoded: Encoded
) -> None:
    decoder = Decoder(io.BytesIO(encoded.data[:-60]), reference_engine, bundle=block_bundle)
    numbers: list[int] = []
    with (
        decoding_in_processes(decoder, 2) as workers,
        pytest.raises(TruncatedStreamError),
    ):
        numbers.extend(frame.number for frame in decoder.frames(decode=workers))
    sequential: list[int] = []
    alone = Decoder(io.BytesIO(encoded.data[:-60]), reference_engine, bundle=block_bundle)
    with pytest.raises(TruncatedStreamError):
        sequential.extend(frame.number for frame in alone)
    assert numbers == sequential
    assert len(numbers) >= 4


def test_a_frame_that_proves_wrong_stops_everything_after_it(
    block_bundle: Bundle, reference_engine: Engine, encoded: Encoded
) -> None:
    def wrong(packet: FramePacket) -> FramePacket:
        return replace(packet, digest=packet.digest ^ 1) if packet.frame_number == 4 else packet

    data = _changed(encoded.data, wrong)
    messages: list[str] = []
    for jobs in (1, 2):
        decoder = Decoder(io.BytesIO(data), reference_engine, bundle=block_bundle)
        numbers: list[int] = []
        with decoding_in_processes(decoder, 2) as workers:
            frames = decoder.frames(decode=workers if jobs == 2 else None)
            with pytest.raises(CalibrationError) as error:
                numbers.extend(frame.number for frame in frames)
        assert numbers == [0, 1, 2, 3]
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "frame 4" in messages[0]


def test_a_bundle_that_has_been_replaced_is_refused(
    block_bundle: Bundle, reference_engine: Engine, encoded: Encoded, tmp_path: Path
) -> None:
    path = tmp_path / "block.nvcb"
    path.write_bytes(block_bundle.path.read_bytes())
    decoder = Decoder(io.BytesIO(encoded.data), reference_engine, bundle=Bundle(path))
    files = block_files()
    manifest = json.loads(files["manifest.json"])
    manifest["name"] = "another"
    write_archive(path, files | {"manifest.json": json.dumps(manifest).encode()})
    with (
        decoding_in_processes(decoder, 2) as workers,
        pytest.raises(BundleError, match="has been replaced"),
    ):
        next(decoder.frames(decode=workers))


def test_files_are_the_same(block_bundle: Bundle, reference_engine: Engine, tmp_path: Path) -> None:
    clip = tmp_path / "clip.y4m"
    with open_writer(str(clip), video_info(*SIZE)) as writer:
        for frame in moving_frames(*SIZE, 7):
            writer.write(frame)
    encoder = Encoder(block_bundle, reference_engine, EncoderSettings(keyint=3))
    made: list[tuple[bytes, bytes]] = []
    for jobs in (1, 3):
        stream, video = tmp_path / f"{jobs}.nvc", tmp_path / f"{jobs}.y4m"
        coded = encode_file(str(clip), str(stream), encoder, jobs=jobs)
        shown = decode_file(
            str(stream), str(video), reference_engine, bundle=block_bundle, jobs=jobs
        )
        assert coded.jobs == shown.jobs == jobs
        made.append((stream.read_bytes(), video.read_bytes()))
    assert made[0] == made[1]


def _changed(data: bytes, change: Callable[[FramePacket], FramePacket]) -> bytes:
    reader, file = StreamReader(io.BytesIO(data)), io.BytesIO()
    writer = StreamWriter(file, reader.header)
    for packet in reader:
        writer.write(change(packet))
    writer.finish()
    return file.getvalue()


class _NamedEngine:
    """An engine that has nothing but a name, threads and plans."""

    def __init__(self, spec: str, threads: int, engines_dir: Path | None = None) -> None:
        self.info = EngineInfo(parse_engine_spec(spec), "", "", threads=threads)
        self.engines_dir = engines_dir


LARGE = replace(video_info(1280, 720), frame_count=1000)
HUGE = replace(video_info(4096, 2304), frame_count=1000)
SMALL = replace(LARGE, width=100, height=100, frame_count=2 * MIN_PIXELS // 10_000)


@pytest.mark.parametrize(
    ("spec", "threads", "keyint", "info", "jobs"),
    [
        ("ort:cpu", 2, 32, LARGE, 2),
        ("ort:cpu,opt=basic", 3, 32, LARGE, 3),
        ("ort:cpu", 16, 32, LARGE, MAX_JOBS),
        ("ort:cpu", 1, 32, LARGE, 1),
        ("ort:cpu,threads=2", 2, 32, LARGE, 1),
        ("torch:cpu", 2, 32, LARGE, 1),
        ("ort:cuda", 0, 32, LARGE, 1),
        ("ort:cpu", 2, 0, LARGE, 1),
        ("ort:cpu", 4, 64, HUGE, 1),
        ("ort:cpu", 4, 8, HUGE, 3),
        ("ort:cpu", 2, 32, replace(LARGE, frame_count=None), 1),
        ("ort:cpu", 2, 32, replace(LARGE, frame_count=0), 1),
        ("ort:cpu", 2, 32, replace(LARGE, frame_count=32), 1),
        ("ort:cpu", 4, 32, replace(LARGE, frame_count=65), 3),
        ("ort:cpu", 2, 1, SMALL, 2),
        ("ort:cpu", 2, 1, replace(SMALL, frame_count=2 * MIN_PIXELS // 10_000 - 1), 1),
        ("ort:cpu", 2, 1, replace(SMALL, frame_count=1), 1),
    ],
)
def test_as_many_jobs_as_pay_off(
    spec: str, threads: int, keyint: int, info: VideoInfo, jobs: int
) -> None:
    engine = _NamedEngine(spec, threads)
    assert useful_jobs(engine, keyint, info) == jobs  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "threads", "jobs", "expected"),
    [
        ("ort:cpu", 8, 4, "ort:cpu,threads=2"),
        ("ort:cpu,opt=basic", 2, 4, "ort:cpu,opt=basic,threads=1"),
        ("ort:cpu,threads=3", 3, 2, "ort:cpu,threads=3"),
        ("torch:cuda,cuda_graphs=0", 0, 2, "torch:cuda,cuda_graphs=0"),
        ("tensorrt-rtx:rtx4090", 0, 2, "tensorrt-rtx:rtx4090"),
    ],
)
def test_jobs_share_the_threads_of_a_cpu_and_all_of_a_gpu(
    spec: str, threads: int, jobs: int, expected: str
) -> None:
    engine = _NamedEngine(spec, threads)
    assert str(EngineOfJob.like(engine, jobs).spec) == expected  # type: ignore[arg-type]


def test_a_job_finds_the_plans_of_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, Path | None]] = []
    monkeypatch.setattr(
        "nvc_runtime.groups.jobs.open_engine",
        lambda spec, *, engines_dir: opened.append((str(spec), engines_dir)),
    )
    engine = _NamedEngine("tensorrt-rtx:rtx4090", 0, Path("plans"))
    EngineOfJob.like(engine, 2).open()  # type: ignore[arg-type]
    assert opened == [("tensorrt-rtx:rtx4090", Path("plans"))]


def test_jobs_that_are_wanted_are_had_where_groups_have_a_limit() -> None:
    engine = _NamedEngine("torch:cpu", 2)
    assert jobs_for(7, engine, 32, SMALL) == 7  # type: ignore[arg-type]
    assert jobs_for(7, engine, 0, SMALL) == 1  # type: ignore[arg-type]
    assert jobs_for(None, engine, 32, LARGE) == 1  # type: ignore[arg-type]


def test_a_tap_and_processes_do_not_go_together(
    block_bundle: Bundle, reference_engine: Engine, encoded: Encoded
) -> None:
    class Tap:
        def index(self, *_: object) -> None: ...
        def samples(self, *_: object) -> None: ...

    decoder = Decoder(io.BytesIO(encoded.data), reference_engine, bundle=block_bundle, tap=Tap())
    with (
        decoding_in_processes(decoder, 2) as workers,
        pytest.raises(UsageError, match="a tap sees"),
    ):
        next(decoder.frames(decode=workers))


def test_what_is_no_number_of_jobs_is_refused() -> None:
    check_jobs(9)
    with pytest.raises(UsageError, match="at least 1"):
        check_jobs(0)
