"""Opening a video: which reader fits, by content."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from nvc_errors import VideoError
from nvc_runtime.video.container_reader import ContainerReader
from nvc_runtime.video.reader import FrameReader, check_window
from nvc_runtime.video.y4m import MAGIC
from nvc_runtime.video.y4m_reader import Y4mReader


def open_reader(path: str | Path, *, skip: int = 0, limit: int | None = None) -> FrameReader:
    """Open a video for reading.

    Args:
        path: a file FFmpeg can read, or "-" for Y4M on standard input. A named pipe has to
            carry Y4M, too.
        skip: frames to pass over first.
        limit: frames to give at most; None for all.

    Raises:
        VideoError: there is no such file, it is no video, or it is one that is not supported.
        UsageError: ``skip`` or ``limit`` is negative.

    """
    check_window(skip, limit)
    if str(path) == "-":
        standard_input = sys.stdin.buffer
        prefix = standard_input.read(len(MAGIC))
        _check_magic(prefix, "standard input")
        return Y4mReader(
            standard_input, "standard input", prefix=prefix, skip=skip, limit=limit, owned=False
        )
    name = str(path)
    if Path(path).is_dir():
        raise VideoError(f"{name}: is a folder, expected a video file")
    try:
        source = Path(path).open("rb")  # noqa: SIM115 - the reader closes it
    except OSError as error:
        raise VideoError(f"{name}: cannot be opened: {error.strerror}") from None
    try:
        status = Path(path).stat()
        regular = stat.S_ISREG(status.st_mode)
        prefix = source.read(len(MAGIC))
        if prefix == MAGIC or not regular:
            _check_magic(prefix, name)
            size_bytes = status.st_size if regular else None
            return Y4mReader(
                source, name, prefix=prefix, skip=skip, limit=limit, size_bytes=size_bytes
            )
        if not prefix:
            raise VideoError(f"{name}: is empty, expected a video file")
        source.seek(0)
        return ContainerReader(source, name, skip=skip, limit=limit)
    except OSError as error:
        source.close()
        raise VideoError(f"{name}: cannot be read: {error.strerror}") from None
    except BaseException:
        source.close()
        raise


def _check_magic(prefix: bytes, name: str) -> None:
    if prefix != MAGIC:
        found = repr(prefix) if prefix else "nothing"
        raise VideoError(
            f"{name}: found {found}, expected {MAGIC.decode().strip()}; a pipe has to carry Y4M: "
            "`ffmpeg -i INPUT -f yuv4mpegpipe - | ...`"
        )
