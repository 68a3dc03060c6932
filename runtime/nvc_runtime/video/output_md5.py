"""Output of hashes instead of samples, to compare decoders; the format is in docs/video.md."""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from nvc_runtime.video.digest import frame_hash
from nvc_runtime.video.info import Frame, VideoInfo
from nvc_runtime.video.target import output_errors
from nvc_runtime.video.writer import FrameWriter

FORMAT = "nvc-md5 1"


class Md5Writer(FrameWriter):
    """Prints a hash for every frame and one for all to standard output, at the end."""

    def __init__(self, info: VideoInfo) -> None:
        super().__init__(info)
        self._hashes: list[str] = []
        self._total = hashlib.md5(usedforsecurity=False)

    def _write(self, samples: tuple[Frame, ...]) -> None:
        (frame,) = samples
        self._hashes.append(frame_hash(frame))
        self._total.update(np.ascontiguousarray(frame).data)

    def _commit(self) -> None:
        lines = [f"{FORMAT} {self.info.width}x{self.info.height}"]
        lines += [f"frame {number} {found}" for number, found in enumerate(self._hashes)]
        lines.append(f"total {self.frame_count} {self._total.hexdigest()}")
        with output_errors("standard output"):
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()

    def _discard(self) -> None:
        pass
