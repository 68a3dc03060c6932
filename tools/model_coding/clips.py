"""The first frames of a clip, as a model takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nvc_errors import UsageError
from nvc_runtime.video import open_reader


def read_clip(path: Path, frames: int) -> Tensor:
    """Return the first frames, float32 (T, 3, H, W), whole multiples of 1/255 in [0, 1].

    Raises :class:`UsageError` if the clip has fewer.
    """
    with open_reader(path, limit=frames) as reader:
        pictures = list(reader)
    if len(pictures) != frames:
        raise UsageError(f"{path}: has {len(pictures)} frames, expected at least {frames}")
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
