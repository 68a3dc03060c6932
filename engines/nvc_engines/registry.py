"""Open an engine by name; find out which engines work on this machine."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from nvc_engines.checks import reason_of
from nvc_engines.cuda_buffers import CudaBuffers
from nvc_engines.gpus import TENSORRT, TENSORRT_RTX, gpu_from_device
from nvc_engines.interface import Engine
from nvc_engines.probe_graph import check_precision
from nvc_engines.spec import GPU_DEVICE, EngineSpec, engine_names, parse_engine_spec
from nvc_errors import EngineUnavailableError, NvcError


class _Backend(NamedTuple):
    """Where a backend lives, and the extra of the distribution that brings its library."""

    module: str
    engine: str
    extra: str
    compiled: bool = False


_BACKENDS: Final = {
    "ort": _Backend("nvc_engines.ort", "OrtEngine", ""),
    "openvino": _Backend("nvc_engines.openvino", "OpenVinoEngine", "openvino"),
    "torch": _Backend("nvc_engines.torch", "TorchEngine", "torch"),
    TENSORRT_RTX: _Backend(
        "nvc_engines.tensorrt_rtx", "TensorRtRtxEngine", "tensorrt-rtx,torch", compiled=True
    ),
    TENSORRT: _Backend("nvc_engines.tensorrt", "TensorRtEngine", "tensorrt,torch", compiled=True),
}


class EngineProbe(NamedTuple):
    """Whether an engine works here. ``reason`` says what it is, or what is missing."""

    spec: str
    available: bool
    reason: str


def open_engine(
    spec: str | EngineSpec, *, engines_dir: str | os.PathLike[str] | None = None
) -> Engine:
    """Open the engine called ``spec``.

    ``engines_dir`` holds the compiled plans, one ``<graph>.plan`` per graph; engines that
    compile ONNX themselves ignore it. Raises ``UsageError`` for a name that does not exist
    and ``EngineUnavailableError`` if the engine cannot run on this machine: never is another
    engine opened instead.
    """
    if isinstance(spec, str):
        spec = parse_engine_spec(spec)
    backend = _BACKENDS[spec.backend]
    engine_class = _engine_class(spec, backend)
    if not backend.compiled:
        return engine_class(spec)
    return engine_class(spec, None if engines_dir is None else Path(engines_dir))


def _engine_class(spec: EngineSpec, backend: _Backend) -> Callable[..., Engine]:
    try:
        module = importlib.import_module(backend.module)
    except (ImportError, OSError) as error:
        package = f'"nvc[{backend.extra}]"' if backend.extra else '"nvc"'
        raise EngineUnavailableError(
            f"engine {spec} needs a library that cannot be imported ({reason_of(error)}): "
            f"pip install {package}"
        ) from error
    engine_class: Callable[..., Engine] = getattr(module, backend.engine)
    return engine_class


def probe_engines() -> list[EngineProbe]:
    """Try every engine and return one ``EngineProbe`` each, in the order of the names.

    An engine that takes ONNX is opened and runs a small convolution whose result shows
    whether it really computes in FP32. An engine of compiled plans is opened for this
    machine's GPU, which proves driver and libraries; its plans are not looked at.
    """
    return [_probe(name) for name in engine_names()]


def _probe(name: str) -> EngineProbe:
    if name.endswith(GPU_DEVICE):
        backend = name.removesuffix(f":{GPU_DEVICE}")
        gpu, missing = _compiled_engine_here(backend)
        if missing:
            return EngineProbe(name, False, "; ".join(missing))
        name = f"{backend}:{gpu}"
    try:
        with open_engine(name) as engine:
            info = engine.info
            detail = f"{info.backend_version} on {info.device_name}"
            if _BACKENDS[info.spec.backend].compiled:
                return EngineProbe(name, True, f"{detail}; runs compiled plans")
            check_precision(engine)
    except NvcError as error:
        return EngineProbe(name, False, str(error))
    except Exception as error:
        # A report on every engine must not stop at the first one that breaks.
        return EngineProbe(name, False, f"unexpected {type(error).__name__}: {reason_of(error)}")
    return EngineProbe(name, True, detail)


def _compiled_engine_here(backend: str) -> tuple[str, list[str]]:
    """Return the name of this machine's GPU, and everything that ``backend`` misses here."""
    missing = []
    try:
        importlib.import_module(_BACKENDS[backend].module)
    except (ImportError, OSError) as error:
        missing.append(f'{reason_of(error)}: pip install "nvc[{_BACKENDS[backend].extra}]"')
    try:
        buffers = CudaBuffers()
    except EngineUnavailableError as error:
        return "", [*missing, str(error)]
    gpu = gpu_from_device(buffers.device_name, buffers.capability)
    if gpu is None:
        missing.append(
            f"{buffers.device_name} (compute capability {buffers.capability}) is not in the table"
        )
    elif backend not in gpu.backends:
        missing.append(f"{backend} cannot target {buffers.device_name}: {gpu.note}")
    return gpu.name if gpu else "", missing
