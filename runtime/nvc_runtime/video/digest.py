"""Hash of a frame's samples: what two decoders must agree on."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from nvc_runtime.video.info import Frame


def frame_hash(frame: Frame) -> str:
    """Return the MD5 of a frame as 32 lower-case hexadecimal digits.

    Hashed are, in this order: width as u32, height as u32 (little-endian), then the visible
    samples, one byte each, R G B of every pixel, rows from the top, pixels from the left.
    MD5 tells pictures apart here; it protects nothing against an attacker.

    Args:
        frame: uint8 (H, W, 3); any memory layout.

    Raises:
        ValueError: the array is no frame.

    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"frame: found {frame.dtype} {frame.shape}, expected uint8 (H, W, 3)")
    digest = hashlib.md5(struct.pack("<II", frame.shape[1], frame.shape[0]), usedforsecurity=False)
    digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()
