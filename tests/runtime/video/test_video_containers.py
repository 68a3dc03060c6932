from __future__ import annotations

import io
import wave
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from nvc_errors import UsageError, VideoError
from nvc_runtime.video import ColorSpace, FrameReader, open_reader, open_writer
from nvc_runtime.video.pixel_layout import layout_of_format, planes_of_picture

Encode = Callable[..., Path]


def psnr(one: Any, other: Any) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((one.astype(float) - other) ** 2))))


@pytest.fixture
def encode(tmp_path: Path, make_frame: Any) -> Encode:
    """Write a file with PyAV itself, with timestamps, pixel format and codec of our choice."""

    def run(
        name: str = "a.mkv",
        *,
        pts: Sequence[int] = range(8),
        time_base: Fraction = Fraction(1, 25),
        codec: str = "libx264",
        pixels: str = "yuv420p",
        rotation: int = 0,
        size: tuple[int, int] = (64, 48),
    ) -> Path:
        with av.open(tmp_path / name, "w") as container:
            stream: Any = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            if codec == "libx264":
                stream.options = {"crf": "4"}
            stream.codec_context.time_base = time_base
            if rotation:
                stream.set_display_rotation(rotation)
            for number, stamp in enumerate(pts):
                picture = av.VideoFrame.from_ndarray(make_frame(*size, number), "rgb24")
                picture = picture.reformat(format=pixels)
                picture.pts, picture.time_base = stamp, time_base
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return tmp_path / name

    return run


def read(path: Path, **window: Any) -> tuple[FrameReader, list[Any]]:
    with open_reader(path, **window) as reader:
        return reader, list(reader)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("chroma", ["420", "422", "444"])
@pytest.mark.parametrize(
    "color", [ColorSpace(1, False, 1, 1), ColorSpace(6, True, 6, 6), ColorSpace(9, False, 9, 16)]
)
def test_round_trip(
    tmp_path: Path, make_info: Any, make_frame: Any, suffix: str, chroma: str, color: ColorSpace
) -> None:
    info = make_info(chroma=chroma, color=color, frame_rate=Fraction(24000, 1001))
    frames = [make_frame(number=number) for number in range(5)]
    with open_writer(tmp_path / f"a{suffix}", info) as writer:
        for frame in frames:
            writer.write(frame)
        assert writer.notes == ()
    reader, found = read(tmp_path / f"a{suffix}")
    assert reader.info.color == color
    assert (reader.info.chroma, reader.info.frame_rate) == (chroma, info.frame_rate)
    assert (reader.info.width, reader.info.height) == (64, 48)
    assert reader.info.frame_count == (5 if suffix == ".mp4" else None)
    assert len(found) == 5
    assert min(psnr(a, b) for a, b in zip(found, frames, strict=True)) > 42


@pytest.mark.parametrize(
    ("chroma", "size"), [("420", (33, 48)), ("420", (64, 47)), ("422", (33, 48))]
)
def test_odd_sizes_become_444_with_a_note(
    tmp_path: Path, make_info: Any, make_frame: Any, chroma: str, size: tuple[int, int]
) -> None:
    with open_writer(tmp_path / "a.mp4", make_info(*size, chroma)) as writer:
        writer.write(make_frame(*size))
    assert "writing 444" in writer.notes[0]
    reader, (frame,) = read(tmp_path / "a.mp4")
    assert reader.info.chroma == "444"
    assert frame.shape == (size[1], size[0], 3)


def test_crf_0_is_lossless_in_yuv(tmp_path: Path, make_info: Any, make_frame: Any) -> None:
    for name in ("a.mp4", "a.y4m"):
        with open_writer(tmp_path / name, make_info(), crf=0) as writer:
            writer.write(make_frame())
    assert (read(tmp_path / "a.mp4")[1][0] == read(tmp_path / "a.y4m")[1][0]).all()
    with pytest.raises(UsageError, match="crf"):
        open_writer(tmp_path / "b.mp4", make_info(), crf=52)


def test_content_decides_not_the_name(encode: Encode, tmp_path: Path) -> None:
    path = encode("a.mkv").rename(tmp_path / "frame_%03d.y4m")
    assert len(read(path)[1]) == 8


@pytest.mark.parametrize(
    "name",
    ["a.txt", "a.mp4", "a.y4m", "a.png", "a%d.png", "a.m3u8", "a.ffconcat", "a.srt", "a.ans"],
)
def test_what_is_no_video(tmp_path: Path, name: str) -> None:
    contents = {
        "a.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n",
        "a.ffconcat": b"ffconcat version 1.0\nfile 'other.mp4'\n",
        "a.srt": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n",
        "a.ans": b"\x1b[2J\x1b[1;31mHello" * 50,
    }
    (tmp_path / name).write_bytes(contents.get(name, b"The quick brown fox\n" * 300))
    with pytest.raises(VideoError) as caught:
        open_reader(tmp_path / name)
    assert str(caught.value).isprintable()
    assert str(tmp_path / name) in str(caught.value)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    (tmp_path / "a.mp4").write_bytes(buffer.getvalue())
    with pytest.raises(VideoError, match="no video stream"):
        open_reader(tmp_path / "a.mp4")


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path, message in [
        ("none.mp4", "No such file"),
        ("empty", "is empty"),
        (".", "is a folder"),
    ]:
        with pytest.raises(VideoError, match=message):
            open_reader(tmp_path / path)


@pytest.mark.parametrize(("option", "value"), [("skip", -1), ("limit", -1)])
def test_negative_window(tmp_path: Path, option: str, value: int) -> None:
    with pytest.raises(UsageError, match=option):
        open_reader(tmp_path / "a", **{option: value})  # type: ignore[arg-type]


def test_window(encode: Encode) -> None:
    path = encode("a.mp4")
    every = read(path)[1]
    reader, found = read(path, skip=2, limit=3)
    assert reader.info.frame_count == 3
    assert np.array_equal(found, every[2:5])
    assert read(path, skip=99)[1] == []
    assert read(path, limit=0)[1] == []


def test_a_reader_iterates_once(encode: Encode) -> None:
    with open_reader(encode()) as reader:
        next(iter(reader))
        with pytest.raises(UsageError, match="once"):
            iter(reader)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rate_is_refused_at_the_offending_frame(encode: Encode, name: str) -> None:
    path = encode(name, pts=[0, 1, 2, 3, 4, 6, 7, 9, 10, 11])
    given: list[Any] = []
    with (
        open_reader(path) as reader,
        pytest.raises(VideoError, match=r"variable frame rate.*-fps_mode cfr"),
    ):
        given.extend(reader)
    assert len(given) <= 5


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60)])
def test_constant_frame_rate_in_milliseconds_is_accepted(
    tmp_path: Path, make_info: Any, make_frame: Any, rate: Fraction
) -> None:
    with open_writer(tmp_path / "a.mkv", make_info(frame_rate=rate)) as writer:
        for number in range(100):
            writer.write(make_frame(number=number))
    reader, found = read(tmp_path / "a.mkv")
    assert reader.info.time_base == Fraction(1, 1000)
    assert reader.info.frame_rate == rate
    assert len(found) == 100


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_more_than_8_bits_are_refused(encode: Encode, pixels: str) -> None:
    with pytest.raises(VideoError, match=rf"found {pixels}.*-pix_fmt yuv420p"):
        open_reader(encode(pixels=pixels))


def test_other_subsampling_is_refused(encode: Encode) -> None:
    with pytest.raises(VideoError, match="found yuv411p"):
        open_reader(encode(codec="ffv1", pixels="yuv411p"))


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "yuva420p", "gray", "bgr0"])
def test_pixel_formats(encode: Encode, make_frame: Any, pixels: str) -> None:
    reader, found = read(encode(codec="ffv1", pixels=pixels))
    chroma = {"yuv422p": "422", "yuv444p": "444", "bgr0": "444"}.get(pixels, "420")
    assert reader.info.chroma == chroma
    assert reader.info.color.matrix == 6
    expected = make_frame()
    if pixels == "gray":
        assert (found[0] == found[0][:, :, :1]).all()
    else:
        assert psnr(found[0], expected) > (99 if pixels == "bgr0" else 35)


@pytest.mark.parametrize(
    ("pixels", "order"),
    [
        ("nv12", "UV"),
        ("nv21", "VU"),
        ("nv16", "UV"),
        ("nv24", "UV"),
        ("nv42", "VU"),
        ("uyvy422", "UYVY"),
        ("yuyv422", "YUYV"),
        ("yvyu422", "YVYU"),
    ],
)
def test_interleaved_planes_are_found(pixels: str, order: str) -> None:
    layout = layout_of_format(pixels)
    assert layout is not None
    picture = av.VideoFrame(18, 16, pixels)
    planes = [np.frombuffer(plane, np.uint8) for plane in picture.planes]
    if len(planes) == 2:
        planes[0][:] = ord("Y")
    pattern = np.frombuffer(order.encode(), np.uint8)
    planes[-1][:] = np.resize(pattern, planes[-1].shape)
    for letter, found in zip("YUV", planes_of_picture(picture, layout), strict=True):
        assert (found == ord(letter)).all()


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied(encode: Encode, rotation: int) -> None:
    plain = read(encode("a.mp4"))[1][0]
    reader, (frame, *_) = read(encode("b.mp4", rotation=rotation))
    assert np.array_equal(frame, np.rot90(plain, rotation // 90))
    assert frame.shape == reader.info.shape
    assert frame.flags.c_contiguous


def test_other_rotations_are_refused(encode: Encode) -> None:
    with pytest.raises(VideoError, match="multiple of 90"):
        open_reader(encode("a.mp4", rotation=45))


def test_too_small_is_refused_with_the_limits(encode: Encode) -> None:
    with pytest.raises(VideoError, match="found 14x16, expected 16x16 to 4096x2304"):
        open_reader(encode(codec="ffv1", size=(14, 16)))


def test_damage_is_reported(encode: Encode) -> None:
    """As far as the decoder notices it: MPEG-4's does, H.264's conceals in silence."""
    path = encode("a.mp4", codec="mpeg4", size=(320, 240), pts=range(12))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = np.random.default_rng(6).bytes(64)
    path.write_bytes(data)
    with pytest.raises(VideoError) as caught:
        read(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_mp4(encode: Encode, part: float) -> None:
    path = encode("a.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(VideoError) as caught:
        read(path)
    assert str(caught.value).isprintable()
