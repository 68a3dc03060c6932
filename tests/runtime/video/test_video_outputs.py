from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from nvc_errors import OutputError, UsageError, VideoError
from nvc_runtime.video import (
    ColorSpace,
    Frame,
    VideoInfo,
    frame_hash,
    open_reader,
    open_writer,
)
from nvc_runtime.video.png import png_from_frame
from nvc_runtime.video.yuv import YuvConverter

FILES = ["a.y4m", "a.mp4", "a.mkv", "a/"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(
    path: Path | str,
    info: VideoInfo,
    frames: list[Frame],
    error: type[BaseException] | None = None,
) -> None:
    """Write frames, then fail if asked to."""
    with open_writer(path, info) as writer:
        for frame in frames:
            writer.write(frame)
        if error is not None:
            raise error


@pytest.mark.parametrize("name", FILES)
def test_nothing_under_the_final_name_before_the_end(
    tmp_path: Path, make_info: Any, make_frame: Any, name: str
) -> None:
    with open_writer(f"{tmp_path}/{name}", make_info()) as writer:
        writer.write(make_frame())
        (temporary,) = names(tmp_path)
        assert temporary.startswith(".")
        assert temporary.endswith(".part")
    assert names(tmp_path) == [name.rstrip("/")]
    writer.close()
    writer.abort()
    assert names(tmp_path) == [name.rstrip("/")]
    with pytest.raises(UsageError, match="closed"):
        writer.write(make_frame())


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", FILES)
def test_an_error_leaves_nothing(
    tmp_path: Path,
    make_info: Any,
    make_frame: Any,
    name: str,
    error: type[BaseException],
    count: int,
) -> None:
    with pytest.raises(error):
        write(f"{tmp_path}/{name}", make_info(), [make_frame()] * count, error)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a.y4m", "a.mp4", "a.mkv"])
def test_overwriting_has_to_be_asked_for(
    tmp_path: Path, make_info: Any, make_frame: Any, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"precious")
    with pytest.raises(UsageError, match="use -y"):
        open_writer(path, make_info())
    assert path.read_bytes() == b"precious"
    with pytest.raises(RuntimeError), open_writer(path, make_info(), overwrite=True):
        raise RuntimeError
    assert path.read_bytes() == b"precious"
    with open_writer(path, make_info(), overwrite=True) as writer:
        writer.write(make_frame())
    assert names(tmp_path) == [name]
    with open_reader(path) as reader:
        assert len(list(reader)) == 1


def test_a_folder_with_files_has_to_be_asked_for(
    tmp_path: Path, make_info: Any, make_frame: Any
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with open_writer(folder, make_info()) as writer:
        for number in range(3):
            writer.write(make_frame(number=number))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="use -y"):
        open_writer(folder, make_info())
    with open_writer(folder, make_info(), overwrite=True) as writer:
        writer.write(make_frame())
    assert names(folder) == ["frame_000000.png", "notes.txt"]
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is no folder"):
        open_writer(f"{tmp_path}/file/", make_info())


def test_pictures_for_a_folder_that_exists_are_collected_in_it(
    tmp_path: Path, make_info: Any, make_frame: Any
) -> None:
    """It may be a mount point: nothing can be renamed into it from beside it."""
    folder = tmp_path / "a"
    folder.mkdir()
    with open_writer(folder, make_info()) as writer:
        writer.write(make_frame())
        assert names(tmp_path) == ["a"]
        (temporary,) = names(folder)
        assert temporary.startswith(".frames.")
    assert names(folder) == ["frame_000000.png"]
    writer = open_writer(folder, make_info(), overwrite=True)
    writer.write(make_frame())
    writer.abort()
    assert names(folder) == ["frame_000000.png"]


def test_the_working_folder_as_output(
    tmp_path: Path, make_info: Any, make_frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(".", make_info(), [make_frame()])
    assert names(tmp_path) == ["frame_000000.png"]


def test_old_pictures_stay_if_new_ones_cannot_be_moved(
    tmp_path: Path, make_info: Any, make_frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f"{tmp_path}/a/", make_info(), [make_frame(number=n) for n in range(3)])
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}

    def fail(_self: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(Path, "replace", fail)
    with (
        pytest.raises(OutputError, match="cannot be written"),
        open_writer(tmp_path / "a", make_info(), overwrite=True) as writer,
    ):
        writer.write(make_frame(number=9))
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


@pytest.mark.parametrize(("width", "height"), [(17, 16), (64, 48)])
def test_one_picture_as_png(make_frame: Any, width: int, height: int) -> None:
    frame = make_frame(width, height)
    planar = np.moveaxis(np.ascontiguousarray(np.moveaxis(frame, -1, 0)), 0, -1)
    data = png_from_frame(planar)
    with av.open(io.BytesIO(data)) as container:
        (picture,) = container.decode(video=0)
    np.testing.assert_array_equal(picture.to_ndarray(format="rgb24"), frame)
    assert png_from_frame(frame) == data


def test_png_is_lossless(tmp_path: Path, make_info: Any) -> None:
    rng = np.random.default_rng(2)
    frames = [rng.integers(0, 256, (47, 33, 3), np.uint8) for _ in range(2)]
    with open_writer(f"{tmp_path}/p/", make_info(33, 47, color=ColorSpace(0))) as writer:
        for frame in frames:
            writer.write(frame)
    assert names(tmp_path / "p") == ["frame_000000.png", "frame_000001.png"]
    for number, frame in enumerate(frames):
        with av.open(tmp_path / "p" / f"frame_{number:06d}.png") as container:
            (picture,) = container.decode(video=0)
            assert (picture.to_ndarray(format="rgb24") == frame).all()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_folder_is_an_output_error(tmp_path: Path, make_info: Any, name: str) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        open_writer(f"{tmp_path}/none/{name}", make_info())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_an_unwritable_folder_is_an_output_error(tmp_path: Path, make_info: Any) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        open_writer(tmp_path / "a.y4m", make_info())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("name", ["a.y4m", "a.mp4", "a.mkv"])
def test_a_full_disk_is_an_output_error(
    tmp_path: Path, make_info: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "full.part"

    def full(_: Path) -> Path:
        return temporary

    opened = Path.open

    def open_full(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if path == temporary:
            return opened(Path("/dev/full"), "wb", *rest, **named)
        return opened(path, mode, *rest, **named)

    monkeypatch.setattr("nvc_runtime.video.target.temporary_beside", full)
    monkeypatch.setattr(Path, "open", open_full)
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(20)]
    with pytest.raises(OutputError, match="No space left") as caught:
        write(tmp_path / name, make_info(), frames)
    assert str(caught.value).isprintable()
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a", "a.avi", "a.png", "nul", "/dev/null"])
def test_a_name_that_tells_no_format(tmp_path: Path, make_info: Any, name: str) -> None:
    with pytest.raises(UsageError, match=r"expected \.y4m"):
        open_writer(tmp_path / name, make_info())


@pytest.mark.parametrize("name", ["a.y4m", "a.mp4"])
def test_a_matrix_without_conversion(tmp_path: Path, make_info: Any, name: str) -> None:
    with pytest.raises(VideoError, match="colour matrix"):
        open_writer(tmp_path / name, make_info(color=ColorSpace(4)))
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_film_without_frames_is_refused(tmp_path: Path, make_info: Any, name: str) -> None:
    with pytest.raises(OutputError, match="no frames"), open_writer(tmp_path / name, make_info()):
        pass
    assert names(tmp_path) == []


def test_y4m_without_frames_is_a_header(tmp_path: Path, make_info: Any) -> None:
    with open_writer(tmp_path / "a.y4m", make_info()):
        pass
    with open_reader(tmp_path / "a.y4m") as reader:
        assert list(reader) == []


@pytest.mark.parametrize("name", ["null", "md5", "a.y4m", "a/"])
def test_wrong_frames_are_refused(tmp_path: Path, make_info: Any, name: str) -> None:
    path = name if name in ("null", "md5") else f"{tmp_path}/{name}"
    writer = open_writer(path, make_info())
    for wrong in (np.zeros((48, 65, 3), np.uint8), np.zeros((48, 64, 3), np.float32)):
        with pytest.raises(ValueError, match="expected uint8"):
            writer.write(wrong)
    writer.abort()
    assert names(tmp_path) == []


def test_null_counts(make_info: Any, make_frame: Any) -> None:
    with open_writer("null", make_info()) as writer:
        for number in range(3):
            writer.write(make_frame(number=number))
    assert writer.frame_count == 3


def test_md5_is_as_documented(
    make_info: Any, make_frame: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [make_frame(number=number) for number in range(2)]
    with open_writer("md5", make_info()) as writer:
        for frame in frames:
            writer.write(frame)
        assert capsys.readouterr().out == ""
    total = hashlib.md5(b"".join(frame.tobytes() for frame in frames)).hexdigest()
    assert capsys.readouterr().out.splitlines() == [
        "nvc-md5 1 64x48",
        f"frame 0 {frame_hash(frames[0])}",
        f"frame 1 {frame_hash(frames[1])}",
        f"total 2 {total}",
    ]


def test_md5_prints_nothing_after_an_error(
    make_info: Any, make_frame: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError):
        write("md5", make_info(), [make_frame()], RuntimeError)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["a.y4m", "a.mp4"])
def test_planes_give_the_same_file_as_the_frame_they_are_of(
    tmp_path: Path, make_info: Any, make_frame: Any, name: str
) -> None:
    info, frame = make_info(), make_frame()
    planes = YuvConverter(info.width, info.height, info.chroma, info.color).yuv_from_rgb(frame)
    for folder in ("frame", "planes"):
        (tmp_path / folder).mkdir()
        with open_writer(tmp_path / folder / name, info) as writer:
            assert writer.takes_yuv
            if folder == "planes":
                writer.write_yuv(planes)
            else:
                writer.write(frame)
        assert writer.frame_count == 1
        with pytest.raises(UsageError, match="closed"):
            writer.write_yuv(planes)
    assert (tmp_path / "planes" / name).read_bytes() == (tmp_path / "frame" / name).read_bytes()


def test_wrong_planes_are_refused(tmp_path: Path, make_info: Any) -> None:
    def planes(dtype: type, *sides: int) -> Any:
        return tuple(np.zeros((side, side), dtype) for side in sides)

    with open_writer(tmp_path / "a.y4m", make_info(32, 32)) as writer:
        writer.write_yuv(planes(np.uint8, 32, 16, 16))
        for wrong in (planes(np.uint8, 32, 32, 32), planes(np.float32, 32, 16, 16)):
            with pytest.raises(ValueError, match="expected"):
                writer.write_yuv(wrong)
        assert writer.frame_count == 1


def test_outputs_of_rgb_say_so(tmp_path: Path, make_info: Any) -> None:
    planes = (np.zeros((32, 32), np.uint8), *np.zeros((2, 16, 16), np.uint8))
    for output in (f"{tmp_path}/p/", "md5"):
        with open_writer(output, make_info(32, 32)) as writer:
            assert not writer.takes_yuv
            with pytest.raises(ValueError, match="takes RGB"):
                writer.write_yuv(planes)
    with open_writer("null", make_info(32, 32, color=ColorSpace(8))) as writer:
        assert not writer.takes_yuv
    with open_writer("null", make_info(32, 32)) as writer:
        writer.write_yuv(planes)
        assert writer.frame_count == 1


def test_an_odd_size_in_h264_takes_rgb(tmp_path: Path, make_info: Any) -> None:
    with open_writer(tmp_path / "a.mp4", make_info(33, 47)) as writer:
        assert not writer.takes_yuv
        with pytest.raises(ValueError, match="takes RGB"):
            writer.write_yuv((np.zeros((47, 33), np.uint8), *np.zeros((2, 24, 17), np.uint8)))
        writer.write(np.zeros((47, 33, 3), np.uint8))
