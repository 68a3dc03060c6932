"""A folder of PNG pictures: frame_000000.png, frame_000001.png ..."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from nvc_errors import OutputError
from nvc_runtime.video.info import Frame, VideoInfo
from nvc_runtime.video.target import FolderTarget, output_errors
from nvc_runtime.video.writer import FrameWriter


class PngWriter(FrameWriter):
    """Writes the R'G'B' samples as they are, without loss and without colour tags."""

    def __init__(self, path: Path, info: VideoInfo, *, overwrite: bool) -> None:
        super().__init__(info)
        encoder = av.CodecContext.create("png", "w")
        encoder.width, encoder.height, encoder.pix_fmt = info.width, info.height, "rgb24"
        encoder.time_base = Fraction(1)
        # With threads the encoder would hold pictures back.
        encoder.thread_count = 1
        encoder.options = {"compression_level": "1", "pred": "sub"}
        self._encoder = encoder
        self._target = FolderTarget(path, "frame_[0-9]*.png", overwrite=overwrite)

    def _write(self, samples: tuple[Frame, ...]) -> None:
        (frame,) = samples
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        picture.pts = self.frame_count
        packets = self._encoder.encode(picture)
        if len(packets) != 1:
            raise OutputError(f"{self._target.path}: the PNG encoder gave {len(packets)} pictures")
        with output_errors(self._target.path):
            file = self._target.folder / f"frame_{self.frame_count:06d}.png"
            file.write_bytes(memoryview(packets[0]))

    def _commit(self) -> None:
        self._target.commit()

    def _discard(self) -> None:
        self._target.discard()
