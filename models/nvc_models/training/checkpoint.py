"""Checkpoints: one safetensors file with its metadata as JSON inside, written atomically."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nvc_errors import DamagedInputError, OutputError

METADATA_KEY = "nvc"


@dataclass
class Checkpoint:
    """Tensors by prefixed name, and metadata.

    Prefixes: ``model.``, ``ema.``, ``exp_avg.``, ``exp_avg_sq.``.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    def section(self, prefix: str) -> dict[str, Tensor]:
        """Tensors under ``prefix.`` with the prefix removed."""
        start = prefix + "."
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write beside ``path``, flush to disk, and rename: a kill leaves the old or the new file.

    Raises :class:`OutputError` if it cannot be written; what was there before stays.
    """
    temporary = path.with_suffix(path.suffix + ".tmp")
    tensors = {k: v.detach().contiguous() for k, v in checkpoint.tensors.items()}
    try:
        try:
            save_file(tensors, temporary, metadata={METADATA_KEY: json.dumps(checkpoint.metadata)})
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: the checkpoint cannot be written: {error}") from error


def _sync_folder(folder: Path) -> None:
    """Flush a rename to disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; raise :class:`DamagedInputError` if it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    except KeyError as error:
        raise DamagedInputError(
            f"{path} is not a training checkpoint: its metadata lacks {METADATA_KEY!r}"
        ) from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DamagedInputError(f"{path} is not a training checkpoint: {error}") from error
    if not isinstance(metadata, dict):
        raise DamagedInputError(f"{path} is not a training checkpoint: its metadata is no object")
    return Checkpoint(tensors, metadata)
