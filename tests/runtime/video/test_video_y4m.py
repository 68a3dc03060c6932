from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nvc_errors import VideoError
from nvc_runtime.video import ColorSpace, VideoInfo, open_reader, open_writer
from nvc_runtime.video.y4m import pack_header, unpack_header
from nvc_runtime.video.y4m_reader import Y4mReader

HEADER = b"YUV4MPEG2 W16 H16 F25:1 C420jpeg\n"
GOOD = HEADER + b"FRAME\n" + bytes(range(256)) + bytes(128)


def read_all(data: bytes) -> list[Any]:
    return list(Y4mReader(io.BytesIO(data), "test"))


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
@pytest.mark.parametrize("size", [(16, 16), (17, 16), (16, 17), (35, 23)])
def test_round_trip(
    tmp_path: Path, make_info: Any, make_frame: Any, chroma: str, size: tuple[int, int]
) -> None:
    color = ColorSpace(9, True, 9, 14)
    info = make_info(*size, chroma, frame_rate=Fraction(30000, 1001), color=color)
    frames = [make_frame(*size, number) for number in range(3)]
    with open_writer(tmp_path / "a.y4m", info) as writer:
        for frame in frames:
            writer.write(frame)
    with open_reader(tmp_path / "a.y4m") as reader:
        assert reader.info == VideoInfo(
            *size, info.frame_rate, info.color, chroma, 3, info.time_base
        )
        found = list(reader)
    assert len(found) == 3
    for one, other in zip(found, frames, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 1.5


@pytest.mark.parametrize(
    ("tags", "chroma"),
    [
        ("", "420"),
        ("C420", "420"),
        ("C420jpeg", "420"),
        ("C420mpeg2", "420"),
        ("C420paldv", "420"),
        ("C422", "422"),
        ("C444", "444"),
        ("Cmono", "420"),
    ],
)
def test_chroma_tags(tags: str, chroma: str) -> None:
    header = unpack_header(f"YUV4MPEG2 W17 H19 F24:1 It A1:1 {tags} XYSCSS=any".encode())
    assert header.info.chroma == chroma
    expected = {"420": 17 * 19 + 2 * 90, "422": 17 * 19 + 2 * 171, "444": 17 * 19 * 3}
    assert header.frame_bytes == (17 * 19 if header.mono else expected[chroma])


def test_mono_is_grey() -> None:
    header = b"YUV4MPEG2 W16 H16 F1:1 Cmono XCOLORRANGE=FULL\n"
    (frame,) = read_all(header + b"FRAME\n" + bytes(range(256)))
    assert (frame == np.arange(256).reshape(16, 16, 1)).all()


def test_siting_matters() -> None:
    rng = np.random.default_rng(3)
    body = b"FRAME\n" + rng.integers(0, 256, 384, np.uint8).tobytes()
    frames = [
        read_all(b"YUV4MPEG2 W16 H16 F1:1 C420" + tag + b"\n" + body)[0]
        for tag in (b"jpeg", b"mpeg2", b"paldv")
    ]
    assert (frames[0] != frames[1]).any()
    assert (frames[1] != frames[2]).any()


@pytest.mark.parametrize(
    ("tags", "color"),
    [
        ("", ColorSpace(6, False)),
        ("XCOLORRANGE=FULL", ColorSpace(6, True)),
        ("XCOLORRANGE=LIMITED XH273=1,9,16", ColorSpace(1, False, 9, 16)),
        ("XH273=2,1,13", ColorSpace(6, False, 1, 13)),
    ],
)
def test_color_tags(tags: str, color: ColorSpace) -> None:
    assert unpack_header(f"YUV4MPEG2 W16 H16 F25:1 {tags}".encode()).info.color == color


@pytest.mark.parametrize(
    "tags",
    [
        "",
        "W16 H16",
        "H16 F25:1",
        "W16 F25:1",
        "W15 H16 F25:1",
        "W16 H9999999999 F25:1",
        "W-16 H16 F25:1",
        "W16 W16 H16 F25:1",
        "W16 H16 F25",
        "W16 H16 F0:0",
        "W16 H16 F25:0",
        "W16 H16 F9999999999:1",
        "W16 H16 F25:1 C420p10",
        "W16 H16 F25:1 C411",
        "W16 H16 F25:1 C444alpha",
        "W16 H16 F25:1 Ix",
        "W16 H16 F25:1 XCOLORRANGE=WIDE",
        "W16 H16 F25:1 XH273=1,2",
        "W16 H16 F25:1 XH273=1,2,256",
        "W16 H16 F25:1 C\u00e9",
    ],
)
def test_bad_headers(tags: str) -> None:
    with pytest.raises(VideoError) as caught:
        read_all(f"YUV4MPEG2 {tags}\n".encode())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("cut", [1, 9, 20, len(HEADER) - 1, len(HEADER) + 3, len(GOOD) - 1])
def test_truncation_is_reported(cut: int) -> None:
    with pytest.raises(VideoError):
        read_all(GOOD[:cut])


def test_whole_frames_before_a_truncation_are_given() -> None:
    reader = Y4mReader(io.BytesIO(GOOD + GOOD[len(HEADER) : -5]), "clip")
    frames = iter(reader)
    next(frames)
    with pytest.raises(VideoError, match=r"clip: ends within frame 1.*after 1 whole frames"):
        next(frames)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damage_gives_frames_or_a_video_error(data: st.DataObject) -> None:
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(HEADER) + 8))] = data.draw(st.integers(0, 255))
    try:
        frames = read_all(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    except VideoError as error:
        message = str(error)
    else:
        message = ""
        assert all(frame.dtype == np.uint8 for frame in frames)
    assert message.isprintable()


@given(st.binary(max_size=200), st.booleans())
@example(b"", False)
@example(b"W" * 2000, True)
@settings(max_examples=150, deadline=None)
def test_junk_gives_a_video_error(junk: bytes, with_magic: bool) -> None:
    with pytest.raises(VideoError):
        read_all((b"YUV4MPEG2 " if with_magic else b"") + junk)


@given(
    st.integers(16, 4096),
    st.integers(16, 2304),
    st.fractions(Fraction(1, 1000), 1000, max_denominator=100_000),
    st.sampled_from(["420", "422", "444"]),
    st.builds(
        ColorSpace,
        st.integers(0, 255).filter(lambda code: code != 2),
        st.booleans(),
        st.integers(0, 255),
        st.integers(0, 255),
    ),
)
@settings(max_examples=100, deadline=None)
def test_headers_round_trip(
    width: int, height: int, rate: Fraction, chroma: str, color: ColorSpace
) -> None:
    info = VideoInfo(width, height, rate, color, chroma)
    assert unpack_header(pack_header(info)[:-1]).info == info


def test_frame_lines_may_carry_parameters() -> None:
    assert len(read_all(HEADER + b"FRAME Ipp\n" + bytes(384))) == 1
    with pytest.raises(VideoError, match="expected FRAME"):
        read_all(HEADER + b"FRAMES\n" + bytes(384))


@pytest.mark.parametrize(
    ("skip", "limit", "numbers"),
    [(0, None, [0, 1, 2, 3]), (1, 2, [1, 2]), (3, 9, [3]), (9, None, []), (0, 0, [])],
)
def test_window(tmp_path: Path, skip: int, limit: int | None, numbers: list[int]) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(
        b"YUV4MPEG2 W16 H16 F25:1 Cmono XCOLORRANGE=FULL\n"
        + b"".join(b"FRAME\n" + bytes([10 * number]) * 256 for number in range(4))
    )
    with open_reader(path, skip=skip, limit=limit) as reader:
        assert reader.info.frame_count == len(numbers)
        assert [int(frame[0, 0, 0]) // 10 for frame in reader] == numbers


class _Endless(io.RawIOBase):
    """A pipe that holds very many frames and forbids seeking."""

    def __init__(self, frames: int) -> None:
        self._chunks = self._make(frames)
        self._rest = b""

    @staticmethod
    def _make(frames: int) -> Iterator[bytes]:
        yield b"YUV4MPEG2 W640 H480 F25:1 C420mpeg2\n"
        body = b"FRAME\n" + bytes(640 * 480 * 3 // 2)
        for _ in range(frames):
            yield body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        part = self._rest[: len(buffer)]
        buffer[: len(part)] = part
        self._rest = self._rest[len(part) :]
        return len(part)


def test_memory_stays_constant() -> None:
    reader = Y4mReader(io.BufferedReader(_Endless(200)), "pipe")  # type: ignore[type-var]
    tracemalloc.start()
    try:
        count = sum(1 for _ in reader)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 200
    assert peak < 12 << 20  # 200 frames have 184 MB


def test_limit_takes_no_more_bytes_than_it_needs() -> None:
    """A producer that waits for its reader must not be waited for."""
    source, sink = os.pipe()
    with os.fdopen(source, "rb") as readable, os.fdopen(sink, "wb", buffering=0) as writable:
        writable.write(GOOD)
        got: list[Any] = []
        worker = threading.Thread(
            target=lambda: got.extend(Y4mReader(readable, "pipe", limit=1)), daemon=True
        )
        worker.start()
        worker.join(10)
        assert len(got) == 1


COPY = """
import sys
from nvc_errors import NvcError
from nvc_runtime.video import open_reader, open_writer
try:
    with open_reader("-") as reader, open_writer("-", reader.info) as writer:
        for frame in reader:
            writer.write(frame)
except NvcError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_copy_through_pipes() -> None:
    rng = np.random.default_rng(5)
    header = b"YUV4MPEG2 W32 H32 F30000:1001 Ip A0:0 C444 XCOLORRANGE=LIMITED XH273=9,2,2\n"
    grey = [np.full((32, 32), 128, np.uint8)] * 2
    frames = [rng.integers(16, 236, (32, 32), np.uint8) for _ in range(3)]
    data = header + b"".join(
        b"FRAME\n" + b"".join(p.tobytes() for p in (luma, *grey)) for luma in frames
    )
    done = subprocess.run([sys.executable, "-c", COPY], input=data, capture_output=True, check=True)
    assert done.stdout == data
    assert done.stderr == b""


def test_standard_input_that_is_no_video() -> None:
    done = subprocess.run([sys.executable, "-c", COPY], input=b"RIFFxxxx", capture_output=True)
    assert done.returncode == 3
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert b"expected YUV4MPEG2" in done.stderr


def test_a_reader_of_standard_output_may_go_away() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COPY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    try:
        process.stdin.write(GOOD + GOOD[len(HEADER) :] * 20)
        process.stdin.close()
    except BrokenPipeError:
        pass
    message = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 1
    assert message == b"standard output: its reader has closed the pipe\n"
