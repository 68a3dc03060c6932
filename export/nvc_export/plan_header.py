"""What a plan says of itself, read without the library and without a GPU.

The layout is not documented. It was found by compiling one graph for every target with TensorRT
for RTX 1.7.1: treat what is read here as a check of what the record says, never as the truth.

====== ==== ==========================================================================
offset size
====== ==== ==========================================================================
0      4    ``vtrt`` (TensorRT for RTX); TensorRT's marks end with ``trt``, too
16     8    length of the file, little-endian
24     4    version: major, minor, patch, build
32     1    TensorRT for RTX: targets as a mask (7.5, 8.0, 8.6, 8.9, 12.0, 12.1 from bit 0)
====== ==== ==========================================================================

Somewhere in the rest the compiler's options are kept as text, among them ``tf32=0`` or ``tf32=1``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from nvc_engines.gpus import RTX_TARGET_SMS, TENSORRT, TENSORRT_RTX
from nvc_errors import EngineError

HEADER_BYTES: Final = 33
TF32_ON: Final = b"tf32=1"
TF32_OFF: Final = b"tf32=0"

_MARK: Final = b"vtrt"
_MARK_END: Final = b"trt"


@dataclass(frozen=True)
class PlanHeader:
    """Facts of one plan. ``targets`` are capabilities times ten; None where nothing tells.

    ``tf32`` is None if the plan does not mention it, True if any part of it was compiled with it.
    """

    backend: str
    version: str | None
    targets: tuple[int, ...] | None
    tf32: bool | None
    size_bytes: int
    sha256: str


def header_from_plan(plan: bytes, name: str) -> PlanHeader:
    """Return what ``plan`` says of itself; ``name`` is for messages.

    Raises ``EngineError`` if it is no plan, or has lost its end.
    """
    if plan[1:4] != _MARK_END or len(plan) < HEADER_BYTES:
        raise EngineError(
            f"{name} is no compiled plan: its {len(plan)} bytes begin with {plan[:4]!r}, expected "
            f"{_MARK!r} or another letter and {_MARK_END!r}; compile it again"
        )
    backend = TENSORRT_RTX if plan.startswith(_MARK) else TENSORRT
    version = targets = None
    if backend == TENSORRT_RTX:
        declared = int.from_bytes(plan[16:24], "little")
        if declared != len(plan):
            raise EngineError(
                f"{name} is damaged: it has {len(plan)} bytes and says {declared}; compile it again"
            )
        version = ".".join(map(str, plan[24:28]))
        targets = tuple(sm for bit, sm in enumerate(RTX_TARGET_SMS) if plan[32] >> bit & 1)
    tf32 = True if TF32_ON in plan else False if TF32_OFF in plan else None
    digest = hashlib.sha256(plan).hexdigest()
    return PlanHeader(backend, version, targets, tf32, len(plan), digest)
