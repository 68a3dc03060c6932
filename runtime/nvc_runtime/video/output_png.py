"""A folder of PNG pictures: frame_000000.png, frame_000001.png ..."""

from __future__ import annotations

from pathlib import Path

from nvc_runtime.video.info import Frame, VideoInfo
from nvc_runtime.video.png import png_from_frame
from nvc_runtime.video.target import FolderTarget, output_errors
from nvc_runtime.video.writer import FrameWriter


class PngWriter(FrameWriter):
    """Writes the R'G'B' samples as they are, without loss and without colour tags."""

    def __init__(self, path: Path, info: VideoInfo, *, overwrite: bool) -> None:
        super().__init__(info)
        self._target = FolderTarget(path, "frame_[0-9]*.png", overwrite=overwrite)

    def _write(self, samples: tuple[Frame, ...]) -> None:
        (frame,) = samples
        picture = png_from_frame(frame)
        with output_errors(self._target.path):
            file = self._target.folder / f"frame_{self.frame_count:06d}.png"
            file.write_bytes(picture)

    def _commit(self) -> None:
        self._target.commit()

    def _discard(self) -> None:
        self._target.discard()
