"""Y4M output to a file or standard output."""

from __future__ import annotations

from pathlib import Path

from nvc_runtime.video.info import Frame, VideoInfo
from nvc_runtime.video.target import FileTarget, StandardOutput, output_errors
from nvc_runtime.video.writer import FrameWriter
from nvc_runtime.video.y4m import FRAME_MAGIC, pack_header


class Y4mFileWriter(FrameWriter):
    """Writes a Y4M file in the video's chroma format, left-sited."""

    def __init__(self, path: Path, info: VideoInfo, *, overwrite: bool) -> None:
        super().__init__(info, chroma=info.chroma)
        self._target = FileTarget(path, overwrite=overwrite)
        self._head = pack_header(info)

    def _write(self, samples: tuple[Frame, ...]) -> None:
        with output_errors(self._target.path):
            self._target.file.write(self._head + FRAME_MAGIC + b"\n")
            self._head = b""
            for plane in samples:
                self._target.file.write(plane.data)

    def _commit(self) -> None:
        with output_errors(self._target.path):
            self._target.file.write(self._head)
        self._target.commit()

    def _discard(self) -> None:
        self._target.discard()


class Y4mPipeWriter(FrameWriter):
    """Writes Y4M to standard output; each frame goes out at once."""

    def __init__(self, info: VideoInfo) -> None:
        super().__init__(info, chroma=info.chroma)
        self._output = StandardOutput()
        self._head = pack_header(info)

    def _write(self, samples: tuple[Frame, ...]) -> None:
        self._output.write(self._head + FRAME_MAGIC + b"\n")
        self._head = b""
        for plane in samples:
            self._output.write(plane.data)

    def _commit(self) -> None:
        if self._head:
            self._output.write(self._head)
        self._output.close()

    def _discard(self) -> None:
        self._output.close()
