"""Reads training material as an encoder reads what it codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvc_errors import DamagedInputError, NvcError
from nvc_runtime.video import open_reader


def read_frames(path: Path) -> NDArray[np.uint8]:
    """Decode a clip or picture to uint8 RGB (N, H, W, 3); :class:`DamagedInputError` if it fails.

    With the runtime's colour conversion and interpolation of chroma: FFmpeg's fast conversion
    repeats each chroma sample instead, which a codec never meets in use.
    """
    try:
        with open_reader(path) as reader:
            frames = list(reader)
    except NvcError as error:
        raise DamagedInputError(f"{path}: cannot be decoded: {error}") from error
    if not frames:
        raise DamagedInputError(f"{path}: no frame decoded")
    return np.stack(frames)
