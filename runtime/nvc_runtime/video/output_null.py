"""Output that is thrown away, to time a decoder or to check a stream."""

from __future__ import annotations

from nvc_runtime.video.info import Frame
from nvc_runtime.video.writer import FrameWriter


class NullWriter(FrameWriter):
    """Checks frames and forgets them."""

    def _write(self, frame: Frame) -> None:
        pass

    def _commit(self) -> None:
        pass

    def _discard(self) -> None:
        pass
