"""Pictures as PNG."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from nvc_runtime.video.info import Frame


def png_from_frame(frame: Frame) -> bytes:
    """Return one picture, uint8 (H, W, 3), as PNG: without loss, and without colour tags."""
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width, _ = frame.shape
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1)
    # Threads would share out pictures, and there is one.
    encoder.thread_count = 1
    encoder.options = {"compression_level": "1", "pred": "sub"}
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
    return b"".join(bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None)))
