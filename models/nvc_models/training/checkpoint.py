"""Checkpoints: one safetensors file with its metadata as JSON inside, written atomically."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from nvc_errors import DamagedInputError

METADATA_KEY = "nvc"


@dataclass
class Checkpoint:
    """Tensors by prefixed name (``model.``, ``ema.``, ``exp_avg.``, ``exp_avg_sq.``) and metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    def section(self, prefix: str) -> dict[str, Tensor]:
        """Tensors under ``prefix.`` with the prefix removed."""
        start = prefix + "."
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write beside ``path``, flush to disk, and rename: a kill leaves the old or the new file."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    tensors = {k: v.detach().contiguous() for k, v in checkpoint.tensors.items()}
    save_file(tensors, temporary, metadata={METADATA_KEY: json.dumps(checkpoint.metadata)})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; raise :class:`DamagedInputError` if it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})[METADATA_KEY])
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise DamagedInputError(f"{path} is not a training checkpoint: {error}") from error
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise DamagedInputError(f"{path} is not a training checkpoint: {error}") from error
        raise
    return Checkpoint(tensors, metadata)


def to_half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Store floating tensors in FP16 (for publishing weights; used in FP32 after loading)."""
    return {k: v.to(torch.float16) if v.is_floating_point() else v for k, v in tensors.items()}
