"""Compile one graph with TensorRT for RTX or TensorRT: FP32, TF32 off, and proven off.

The two libraries share this API. TensorRT for RTX compiles for a compute capability, without a
GPU; TensorRT times kernels on the GPU in this machine, which must be of the target's capability.
With either, two builds may differ in their bytes.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nvc_engines import gpu_named
from nvc_engines.gpus import TENSORRT, TENSORRT_RTX, Gpu
from nvc_engines.onnx_signature import read_signature
from nvc_engines.plans import ShapeRange
from nvc_errors import EngineError, EngineUnavailableError
from nvc_export.plan_header import TF32_ON, header_from_plan

COMPILER_OPTIONS: Final = "fp32 tf32=off profile=1"
"""What this module sets, apart from target and shapes; part of the key of the cache."""

_MODULES: Final = {TENSORRT_RTX: "tensorrt_rtx", TENSORRT: "tensorrt"}
BACKENDS: Final = tuple(_MODULES)


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
    waiting for other work on the machine.
    """

    content: bytes = field(repr=False)
    log: str = field(repr=False)
    elapsed_s: float
    cpu_s: float


def load_library(backend: str) -> Any:
    """Import the compiler of ``backend``.

    Raises ``EngineUnavailableError`` saying what to install.
    """
    try:
        return importlib.import_module(_MODULES[backend])
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


def compile_plan(job: CompileJob) -> CompiledPlan:
    """Compile a graph.

    Raises ``EngineError`` with what the library logged if it refuses the graph, and if the plan
    is not for the target alone or does not prove that TF32 is off.
    """
    library, gpu = load_library(job.backend), gpu_named(job.gpu)
    where = f"{job.backend} cannot compile graph {job.graph!r} for {gpu.name} (SM {gpu.sm})"
    _check_inputs(job)
    log = _log_of(library)
    start, cpu_start = time.perf_counter(), time.process_time()
    try:
        content = _build(library, log, job, gpu)
    except EngineError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EngineError(f"{where}: {reason}{log.errors()}") from error
    if content is None:
        raise EngineError(f"{where}{log.errors() or ': the library gives no reason'}")
    elapsed_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    _check_plan(content, job, gpu)
    return CompiledPlan(content, "".join(f"{line}\n" for line in log.lines), elapsed_s, cpu_s)


def _build(library: Any, log: Any, job: CompileJob, gpu: Gpu) -> bytes | None:
    builder = library.Builder(log)
    network = builder.create_network(_network_flags(library, job.backend))
    parser = library.OnnxParser(network, log)
    if not parser.parse(job.onnx):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = "; ".join(f"{e.node_name()}: {e.desc()}" for e in errors)
        raise EngineError(
            f"{job.backend} cannot read graph {job.graph!r}: {reasons or 'no reason given'}; "
            "export it again, or express what it lacks by other operators"
        )
    config = builder.create_builder_config()
    config.clear_flag(library.BuilderFlag.TF32)
    if job.backend == TENSORRT_RTX:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, f"SM{gpu.sm}"), 0)
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        name = network.get_input(index).name
        profile.set_shape(name, *job.inputs[name])
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(
            f"{job.backend} cannot take the shapes {dict(job.inputs)} for graph {job.graph!r}"
            f"{log.errors()}"
        )
    plan = builder.build_serialized_network(network, config)
    if config.get_flag(library.BuilderFlag.TF32):
        raise EngineError(f"{job.backend} has switched TF32 on by itself; use another version")
    return None if plan is None else bytes(plan)


def _network_flags(library: Any, backend: str) -> int:
    """Return flags for a strongly typed network; TensorRT for RTX has no other kind."""
    if backend == TENSORRT_RTX:
        return 0
    return 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _check_inputs(job: CompileJob) -> None:
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


def _log_of(library: Any) -> Any:
    """Return a logger of the library's kind that keeps everything from INFO up."""
    severity = library.ILogger.Severity
    names = {severity.INTERNAL_ERROR: "error", severity.ERROR: "error"}
    names |= {severity.WARNING: "warning", severity.INFO: "info"}

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in names:
                self.lines.append(f"{names[severity]}: {' '.join(message.split())}")

        def errors(self) -> str:
            """Return the reasons of a failure, as the tail of a message."""
            reasons = [line for line in self.lines if line.startswith("error: ")]
            return "".join(f"; {line.removeprefix('error: ')}" for line in dict.fromkeys(reasons))

    return Log()
