"""Y4M output to a file or standard output."""

from __future__ import annotations

from pathlib import Path

from nvc_runtime.video.info import Frame, VideoInfo
from nvc_runtime.video.target import FileTarget, StandardOutput
from nvc_runtime.video.writer import FrameWriter
from nvc_runtime.video.y4m import FRAME_MAGIC, pack_header


class Y4mWriter(FrameWriter):
    """Writes Y4M in the video's chroma format, left-sited; in a pipe, each frame goes out at once.

    ``path``: None for standard output.
    """

    def __init__(self, path: Path | None, info: VideoInfo, *, overwrite: bool) -> None:
        super().__init__(info, chroma=info.chroma)
        self._target = FileTarget(path, overwrite=overwrite) if path else StandardOutput()
        self._head = pack_header(info)

    def _write(self, samples: tuple[Frame, ...]) -> None:
        self._target.write(self._head + FRAME_MAGIC + b"\n")
        self._head = b""
        for plane in samples:
            self._target.write(plane.data)

    def _commit(self) -> None:
        self._target.write(self._head)
        self._target.commit()

    def _discard(self) -> None:
        self._target.discard()
