"""Output that is thrown away, to time a decoder or to check a stream."""

from __future__ import annotations

from nvc_runtime.video.info import Frame, VideoInfo
from nvc_runtime.video.writer import FrameWriter
from nvc_runtime.video.yuv import MATRIX_WEIGHTS


class NullWriter(FrameWriter):
    """Checks frames and forgets them."""

    def __init__(self, info: VideoInfo) -> None:
        super().__init__(info)
        self.takes_yuv = info.color.matrix in MATRIX_WEIGHTS

    def _write(self, samples: tuple[Frame, ...]) -> None:
        pass

    def _commit(self) -> None:
        pass

    def _discard(self) -> None:
        pass
