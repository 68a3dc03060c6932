"""The NVIDIA GPUs that engines are compiled for, and which compiler can target each.

A compiled engine belongs to a compute capability (SM): TensorRT for RTX compiles for a
capability and picks its kernels on the device; TensorRT compiles on the device itself.
Names are lower case without spaces: ``rtx2080``, ``a100``, ``gb10``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from nvc_engines.suggestions import known_names_hint
from nvc_errors import UsageError

TENSORRT_RTX: Final = "tensorrt-rtx"
TENSORRT: Final = "tensorrt"

RTX_TARGET_SMS: Final = (75, 80, 86, 89, 120, 121)
"""Capabilities TensorRT for RTX takes as a build target (``ComputeCapability``)."""

_SM_NOTES: Final = {
    75: "Turing; no TF32 hardware; TensorRT for RTX has no FP32 GEMM here: use 1x1 convolutions",
    80: "Ampere, data centre",
    86: "Ampere",
    87: "Ampere, embedded; TensorRT comes with JetPack",
    89: "Ada Lovelace",
    90: "Hopper; TensorRT for RTX has no SM 9.0 target",
    100: "Blackwell, data centre; TensorRT for RTX has no SM 10.0 target",
    120: "Blackwell",
    121: "Blackwell, DGX Spark",
}

_ROWS: Final = (
    ("t4", "NVIDIA T4", 75),
    ("rtx2060", "NVIDIA GeForce RTX 2060", 75),
    ("rtx2070", "NVIDIA GeForce RTX 2070", 75),
    ("rtx2080", "NVIDIA GeForce RTX 2080", 75),
    ("rtx2080ti", "NVIDIA GeForce RTX 2080 Ti", 75),
    ("a100", "NVIDIA A100", 80),
    ("a30", "NVIDIA A30", 80),
    ("a10", "NVIDIA A10", 86),
    ("a40", "NVIDIA A40", 86),
    ("rtx3050", "NVIDIA GeForce RTX 3050", 86),
    ("rtx3060", "NVIDIA GeForce RTX 3060", 86),
    ("rtx3070", "NVIDIA GeForce RTX 3070", 86),
    ("rtx3080", "NVIDIA GeForce RTX 3080", 86),
    ("rtx3090", "NVIDIA GeForce RTX 3090", 86),
    ("orin", "NVIDIA Jetson Orin", 87),
    ("l4", "NVIDIA L4", 89),
    ("l40", "NVIDIA L40", 89),
    ("l40s", "NVIDIA L40S", 89),
    ("rtx4050", "NVIDIA GeForce RTX 4050", 89),
    ("rtx4060", "NVIDIA GeForce RTX 4060", 89),
    ("rtx4070", "NVIDIA GeForce RTX 4070", 89),
    ("rtx4080", "NVIDIA GeForce RTX 4080", 89),
    ("rtx4090", "NVIDIA GeForce RTX 4090", 89),
    ("h100", "NVIDIA H100", 90),
    ("h200", "NVIDIA H200", 90),
    ("gh200", "NVIDIA GH200", 90),
    ("b200", "NVIDIA B200", 100),
    ("gb200", "NVIDIA GB200", 100),
    ("rtx5050", "NVIDIA GeForce RTX 5050", 120),
    ("rtx5060", "NVIDIA GeForce RTX 5060", 120),
    ("rtx5070", "NVIDIA GeForce RTX 5070", 120),
    ("rtx5080", "NVIDIA GeForce RTX 5080", 120),
    ("rtx5090", "NVIDIA GeForce RTX 5090", 120),
    ("gb10", "NVIDIA GB10", 121),
)


@dataclass(frozen=True)
class Gpu:
    """One GPU model.

    ``sm`` is the compute capability times ten (75 is 7.5); ``backends`` are the engine
    backends whose plans can target it.
    """

    name: str
    display_name: str
    sm: int
    backends: tuple[str, ...]
    note: str

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability as (major, minor), the way CUDA reports it."""
        return divmod(self.sm, 10)


def _backends_for(sm: int) -> tuple[str, ...]:
    return (TENSORRT_RTX, TENSORRT) if sm in RTX_TARGET_SMS else (TENSORRT,)


GPUS: Final[Mapping[str, Gpu]] = MappingProxyType(
    {
        name: Gpu(name, display_name, sm, _backends_for(sm), _SM_NOTES[sm])
        for name, display_name, sm in _ROWS
    }
)
"""Every known GPU by name, ordered by compute capability."""


def gpu_named(name: str) -> Gpu:
    """Return the GPU called ``name``; case, spaces, ``-`` and ``_`` do not matter.

    Raises ``UsageError`` listing the known names and the nearest one.
    """
    folded = re.sub(r"[\s_-]", "", name).casefold()
    gpu = GPUS.get(folded)
    if gpu is None:
        raise UsageError(f"unknown GPU {name!r}; {known_names_hint(folded, GPUS)}")
    return gpu


def gpu_for_backend(name: str, backend: str) -> Gpu:
    """Return the GPU called ``name`` if ``backend`` can target it.

    Raises ``UsageError`` for an unknown GPU, or one the backend has no target for.
    """
    gpu = gpu_named(name)
    if backend not in gpu.backends:
        usable = ", ".join(f"{other}:{gpu.name}" for other in gpu.backends)
        raise UsageError(
            f"{backend} cannot target {gpu.name} (SM {gpu.sm}): {gpu.note}; use {usable}, whose "
            f"plans are compiled on that GPU: build-engine --backend {gpu.backends[0]}"
        )
    return gpu


def gpu_from_device(device_name: str, capability: tuple[int, int]) -> Gpu | None:
    """Return the table's row for a device as the CUDA driver describes it.

    The longest display name contained in ``device_name`` wins (an "RTX 2080 Ti" is not an
    "RTX 2080"), provided the capability fits. A model that is not in the table gets the
    first row of its capability, whose engines it can run; None for an unknown capability.
    """
    words = device_name.casefold().replace("-", " ").split()
    fitting = [gpu for gpu in GPUS.values() if gpu.capability == tuple(capability)]
    named = [gpu for gpu in fitting if _is_model(gpu.display_name, words)]
    if named:
        return max(named, key=lambda gpu: len(gpu.display_name))
    return fitting[0] if fitting else None


def _is_model(display_name: str, words: list[str]) -> bool:
    wanted = display_name.casefold().split()
    return words[: len(wanted)] == wanted
