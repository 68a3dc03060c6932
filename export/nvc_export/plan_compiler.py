"""What goes into a compiler and what comes out, checked: a plan in FP32, TF32 proven off.

TensorRT for RTX compiles for a compute capability, without a GPU; TensorRT times kernels on the GPU
in this machine, which must be of the target's capability. :mod:`nvc_export.plan_process` runs
either so that a second build gives the same bytes where that is possible.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nvc_engines import gpu_named
from nvc_engines.gpus import TENSORRT, TENSORRT_RTX, Gpu
from nvc_engines.onnx_signature import read_signature
from nvc_engines.plans import ShapeRange
from nvc_errors import EngineError, EngineUnavailableError
from nvc_export import plan_worker
from nvc_export.plan_header import TF32_ON, header_from_plan

COMPILER_OPTIONS: Final = "fp32 tf32=off profile=1 threads=1"
"""What the worker sets, apart from target and shapes; part of the key of the cache."""

MODULES: Final = {TENSORRT_RTX: "tensorrt_rtx", TENSORRT: "tensorrt"}
BACKENDS: Final = tuple(MODULES)


@dataclass(frozen=True)
class CompileJob:
    """One graph for one target. ``inputs``: name -> smallest, optimal, largest shape."""

    backend: str
    gpu: str
    graph: str
    onnx: bytes = field(repr=False)
    inputs: Mapping[str, ShapeRange]


@dataclass(frozen=True)
class CompiledPlan:
    """A compiler's output: the plan, what it logged, and the time it took.

    ``cpu_s`` is the processor time of all its threads: what remains of ``elapsed_s`` was spent
    waiting for other work on the machine. ``fixed``: it ran where another build would give the
    same bytes.
    """

    content: bytes = field(repr=False)
    log: str = field(repr=False)
    elapsed_s: float
    cpu_s: float
    fixed: bool = True


def load_library(backend: str) -> Any:
    """Import the compiler of ``backend``.

    Raises ``EngineUnavailableError`` saying what to install.
    """
    try:
        return importlib.import_module(MODULES[backend])
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        raise EngineUnavailableError(
            f"compiling for {backend} needs a library that cannot be imported ({reason}): "
            f'pip install "nvc[{backend},export]"'
        ) from error


def check_device(backend: str, gpu: Gpu) -> None:
    """Raise ``EngineUnavailableError`` if plans for ``gpu`` cannot be compiled on this machine.

    TensorRT for RTX needs no GPU at all.
    """
    if backend == TENSORRT_RTX:
        return
    from nvc_engines.cuda_buffers import CudaBuffers

    try:
        buffers = CudaBuffers()
    except EngineUnavailableError as error:
        raise EngineUnavailableError(
            f"{backend} compiles on the GPU that the plan is for: {error}"
        ) from error
    if tuple(buffers.capability) != gpu.capability:
        major, minor = buffers.capability
        raise EngineUnavailableError(
            f"{backend} compiles on the GPU that the plan is for: {gpu.name} has SM {gpu.sm}, this "
            f"machine's {buffers.device_name} has SM {major}{minor}; run this on a {gpu.name}"
        )


def checked_plan(
    job: CompileJob,
    content: bytes | None,
    *,
    lines: list[str],
    error: str | None,
    elapsed_s: float,
    cpu_s: float,
    fixed: bool,
) -> CompiledPlan:
    """Return what a compiler gave, if it is a plan for the target alone without TF32.

    Raises ``EngineError`` with ``error`` and what the library logged otherwise.
    """
    gpu = gpu_named(job.gpu)
    where = f"{job.backend} cannot compile graph {job.graph!r} for {gpu.name} (SM {gpu.sm})"
    reasons = plan_worker.errors_in(lines)
    if error is not None:
        raise EngineError(f"{where}: {error}{'' if reasons in error else reasons}")
    if content is None:
        raise EngineError(f"{where}{reasons or ': the library gives no reason'}")
    _check_plan(content, job, gpu)
    log = "".join(f"{line}\n" for line in lines)
    return CompiledPlan(content, log, elapsed_s, cpu_s, fixed)


def check_inputs(job: CompileJob) -> None:
    """Raise ``EngineError`` if the graph is damaged or has other inputs than the manifest says."""
    signature = read_signature(job.graph, job.onnx)
    if signature.inputs.keys() != job.inputs.keys():
        raise EngineError(
            f"graph {job.graph!r} has inputs {sorted(signature.inputs)}, but the manifest says "
            f"{sorted(job.inputs)}; export the bundle again"
        )
    for name, dims in signature.inputs.items():
        for shape in job.inputs[name]:
            fits = len(dims) == len(shape) and all(
                want in (None, have) for want, have in zip(dims, shape, strict=True)
            )
            if not fits:
                wanted = ", ".join("any" if dim is None else str(dim) for dim in dims)
                raise EngineError(
                    f"graph {job.graph!r} takes input {name!r} as ({wanted}), and the manifest "
                    f"makes it {shape}; export the bundle again"
                )


def _check_plan(content: bytes, job: CompileJob, gpu: Gpu) -> None:
    name = f"the plan of graph {job.graph!r} for {gpu.name}"
    if job.backend == TENSORRT:
        # What its plans look like is not known well enough: the cleared flag is the proof.
        if TF32_ON in content:
            raise EngineError(f"{name} says tf32=1: FP32 is not proven; use another version")
        return
    header = header_from_plan(content, name)
    if header.targets != (gpu.sm,):
        raise EngineError(
            f"{name} is for SM {header.targets}, expected {gpu.sm} alone; this version of "
            f"{job.backend} is not known to this toolchain: use one that is"
        )
    if header.tf32 is not False:
        found = "says tf32=1" if header.tf32 else "does not say tf32=0"
        raise EngineError(f"{name} {found}: FP32 is not proven; use another version of the library")
