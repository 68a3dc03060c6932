"""Legs in this process: the engines as they are, and a GPU's if there is one."""

from __future__ import annotations

from pathlib import Path

from nvc_engines import Engine, open_engine
from platform_legs.cache import Cache
from platform_legs.leg import REFERENCE, Leg

_ENGINES = (
    (REFERENCE, "ort:cpu,threads=1", "ONNX Runtime, native", 1.0),
    ("ort-basic", "ort:cpu,opt=basic,threads=1", "ONNX Runtime, basic optimisation", 1.2),
    ("openvino", "openvino:cpu,threads=1", "OpenVINO, FP32", 1.0),
    ("torch", "torch:cpu,threads=1", "PyTorch", 1.5),
    ("torch-plain", "torch:cpu,mkldnn=0,threads=1", "PyTorch without oneDNN", 2.0),
    ("ort-cuda", "ort:cuda", "ONNX Runtime on an NVIDIA GPU", 0.5),
    ("torch-cuda", "torch:cuda", "PyTorch on an NVIDIA GPU", 0.5),
)


def local_legs() -> list[Leg]:
    """Return the legs that need no process of their own."""
    return [leg_from_engine(name, spec, title, cost) for name, spec, title, cost in _ENGINES]


def leg_from_engine(
    name: str, spec: str, title: str, cost: float, engines_dir: Path | None = None
) -> Leg:
    """Return a leg for any engine of ``nvc_engines``; ``engines_dir`` holds compiled plans."""

    def open_leg(cache: Cache) -> Engine:
        del cache
        return open_engine(spec, engines_dir=engines_dir)

    return Leg(name, title, cost, open_leg, local=True)
