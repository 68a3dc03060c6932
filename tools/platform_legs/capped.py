"""Legs whose libraries are told to use an older instruction set.

oneDNN (in OpenVINO and PyTorch), ATen and MKL read their environment variables when they are
loaded, so each leg is a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from nvc_engines import Engine
from platform_legs.cache import Cache
from platform_legs.leg import Leg
from platform_legs.remote import RemoteEngine, python_worker, worker_path

# With SSE41, OpenVINO's generated kernels for some graphs are refused ("bad combination").
_OPENVINO = {"ONEDNN_MAX_CPU_ISA": "AVX"}
_TORCH = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
}


def capped_legs() -> list[Leg]:
    """Return the legs with a capped instruction set."""
    return [
        _leg("openvino-avx", "openvino:cpu,threads=1", "OpenVINO limited to AVX", 2.0, _OPENVINO),
        _leg("torch-sse41", "torch:cpu,threads=1", "PyTorch limited to SSE4.1", 2.0, _TORCH),
    ]


def _leg(name: str, spec: str, title: str, cost: float, limits: Mapping[str, str]) -> Leg:
    def open_leg(cache: Cache) -> Engine:
        del cache
        env = {**limits, "PYTHONPATH": worker_path()}
        return RemoteEngine(python_worker(spec), spec=spec, env=env, flags=limits)

    return Leg(name, title, cost, open_leg)
