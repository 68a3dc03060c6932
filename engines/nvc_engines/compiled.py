"""What TensorRT for RTX and TensorRT share: running plans through the same interface.

Both libraries offer one API (deserialise a plan, make a context, set shapes and addresses,
enqueue on a stream); they differ in where kernels are chosen, which the subclasses handle.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nvc_engines.checks import (
    check_input,
    check_names,
    check_shapes,
    device_errors,
    reason_of,
)
from nvc_engines.cuda_buffers import CudaBuffers
from nvc_engines.gpus import gpu_named
from nvc_engines.interface import Engine, EngineInfo, Graph, GraphSource, Shape, Tensor
from nvc_engines.onnx_signature import OnnxSignature, read_signature
from nvc_engines.plans import StoredPlan, check_plan_shapes, read_plan
from nvc_engines.spec import EngineSpec
from nvc_errors import EngineError, EngineUnavailableError

_LOG: Final = logging.getLogger(__name__)


class CompiledEngine(Engine):
    """Runs plans from ``engines_dir``; tensors are torch tensors in device memory.

    ``library`` is the module ``tensorrt_rtx`` or ``tensorrt``. Subclasses may override
    ``check_device``, ``create_context``, ``keep`` and ``close``.
    """

    def __init__(
        self, spec: EngineSpec, engines_dir: Path | None, library: Any, flags: Mapping[str, str]
    ) -> None:
        """Open device and library.

        Raises ``EngineUnavailableError`` if there is no CUDA device, or another one than the
        spec names.
        """
        self.gpu = gpu_named(spec.device)
        try:
            self.buffers = CudaBuffers()
        except EngineUnavailableError as error:
            raise EngineUnavailableError(f"{spec} cannot run here: {reason_of(error)}") from error
        self.check_device()
        self.library = library
        self.engines_dir = engines_dir
        self._log = _log_of(library)
        self._runtime: Any = library.Runtime(self._log)
        self._plans: dict[str, tuple[StoredPlan, Any]] = {}
        self.info = EngineInfo(
            spec=spec,
            backend_version=f"{library.__name__} {library.__version__}",
            device_name=self.buffers.device_name,
            flags={"tf32": "off", **flags},
        )

    def check_device(self) -> None:
        """Raise ``EngineUnavailableError`` unless this machine's GPU is of the spec's kind."""
        if tuple(self.buffers.capability) != self.gpu.capability:
            raise EngineUnavailableError(
                f"{self.gpu.name} is of compute capability {_dotted(self.gpu.capability)}, but "
                f"this machine's {self.buffers.device_name} has "
                f"{_dotted(self.buffers.capability)}; name the GPU of this machine"
            )

    def load(self, source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        """See ``Engine.load``. A plan is read once; every set of shapes has its own context."""
        if self._runtime is None:
            raise EngineError(f"{self.info.spec} is closed; open it again to load graphs")
        signature = read_signature(source.name, source.onnx)
        fitted = check_shapes(source.name, signature.inputs, shapes)
        if source.sha256 not in self._plans:
            self._plans[source.sha256] = self._engine_from_plan(source)
        stored, plan = self._plans[source.sha256]
        check_plan_shapes(stored, fitted)
        self._log.lines.clear()
        try:
            context = self.create_context(source, plan)
        except Exception as error:
            raise EngineError(
                f"{self.info.spec} cannot set up graph {source.name!r}: {reason_of(error)}"
                f"{self.reasons()}"
            ) from error
        if context is None:
            raise EngineError(
                f"{self.info.spec} cannot set up graph {source.name!r}{self.reasons()}"
            )
        return _PlanGraph(self, source.name, plan, context, fitted, signature)

    def _engine_from_plan(self, source: GraphSource) -> tuple[StoredPlan, Any]:
        if self.engines_dir is None:
            raise EngineUnavailableError(
                f"{self.info.spec} runs compiled plans, and no engines directory was given; "
                f"compile them with: nvc-export build-engine --gpu {self.gpu.name} -o DIR, "
                "and give --engines-dir DIR"
            )
        stored = read_plan(
            self.engines_dir, source, self.info.spec.backend, self.gpu, self.library.__version__
        )
        self._log.lines.clear()
        engine = self._runtime.deserialize_cuda_engine(stored.content)
        if engine is None:
            raise EngineUnavailableError(
                f"{self.info.backend_version} on {self.info.device_name} refuses the plan of graph "
                f"{source.name!r}{self.reasons()}; {stored.advice}"
            )
        return replace(stored, content=b""), engine

    def create_context(self, _source: GraphSource, plan: Any) -> Any:
        """Return a new execution context of a deserialised plan."""
        return plan.create_execution_context()

    def reasons(self) -> str:
        """Return what the library has logged since the last call, as the tail of a message."""
        lines = [line.replace("\n", " ") for line in self._log.lines]
        self._log.lines.clear()
        return f": {'; '.join(lines)}" if lines else ""

    def upload(self, array: NDArray[np.float32]) -> Tensor:
        """See ``Engine.upload``."""
        with device_errors(self.info.spec, "copy to the device"):
            return self.buffers.upload(array)

    def download(self, tensor: Tensor) -> NDArray[np.float32]:
        """See ``Engine.download``."""
        with device_errors(self.info.spec, "copy from the device"):
            return self.buffers.download(tensor)

    def synchronize(self) -> None:
        """See ``Engine.synchronize``."""
        with device_errors(self.info.spec, "wait for the device"):
            self.buffers.synchronize()

    def close(self) -> None:
        """Drop plans and runtime, after the device has finished with them.

        A device that fails only now is logged: the error that has led here must not be replaced.
        """
        if self._runtime is not None:
            try:
                self.synchronize()
            except EngineError as error:
                _LOG.warning("an engine is closed before it has finished: %s", error)
            self.keep()
        self._plans.clear()
        self._runtime = None

    def keep(self) -> None:
        """Save what the next start can use; called once, when the device has finished."""
        return


class _PlanGraph(Graph):
    """A plan with a context for one set of shapes."""

    def __init__(
        self,
        engine: CompiledEngine,
        name: str,
        plan: Any,
        context: Any,
        shapes: dict[str, Shape],
        signature: OnnxSignature,
    ) -> None:
        self.name = name
        self.input_shapes = shapes
        self.output_names = signature.outputs
        self._engine = engine
        self._context = context
        self._used = self._check_plan(engine.library, plan)
        for tensor in self._used:
            if not context.set_input_shape(tensor, shapes[tensor]):
                low, _, high = plan.get_tensor_profile_shape(tensor, 0)
                raise EngineError(
                    f"the plan of graph {name!r} takes input {tensor!r} from {tuple(low)} to "
                    f"{tuple(high)}, not {shapes[tensor]}{engine.reasons()}; compile it for this "
                    "size"
                )
        self._output_shapes = {
            tensor: tuple(context.get_tensor_shape(tensor)) for tensor in self.output_names
        }
        for tensor, shape in self._output_shapes.items():
            if any(dim < 0 for dim in shape):
                raise EngineError(
                    f"output {tensor!r} of graph {name!r} has the shape {shape}, which depends on "
                    f"values; only shapes that follow from the inputs' work{engine.reasons()}"
                )

    def _check_plan(self, library: Any, plan: Any) -> list[str]:
        """Return the inputs the plan kept, after comparing it with the graph."""
        names = [plan.get_tensor_name(index) for index in range(plan.num_io_tensors)]
        used = [n for n in names if plan.get_tensor_mode(n) == library.TensorIOMode.INPUT]
        outputs = set(names) - set(used)
        if not set(used) <= self.input_shapes.keys() or outputs != set(self.output_names):
            raise EngineError(
                f"the plan of graph {self.name!r} has inputs {used} and outputs {sorted(outputs)}, "
                f"the graph {sorted(self.input_shapes)} and {sorted(self.output_names)}; "
                "compile it again"
            )
        for name in names:
            if plan.get_tensor_dtype(name) != library.DataType.FLOAT:
                raise EngineError(
                    f"the plan of graph {self.name!r} has {name!r} as "
                    f"{plan.get_tensor_dtype(name)}; expected FLOAT: compile it again"
                )
        return used

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See ``Graph.run``. Returns when the work is queued; ``download`` waits for it."""
        check_names(self.name, self.input_shapes, inputs)
        buffers = self._engine.buffers
        for name, shape in self.input_shapes.items():
            if not buffers.is_tensor(inputs[name]):
                raise EngineError(
                    f"input {name!r} of graph {self.name!r} is a {type(inputs[name]).__name__}; "
                    "expected a float32 tensor from this engine's upload()"
                )
            check_input(self.name, name, shape, tuple(inputs[name].shape))
        with device_errors(self._engine.info.spec, f"take memory for graph {self.name!r}"):
            outputs = {name: buffers.empty(shape) for name, shape in self._output_shapes.items()}
        bound = {name: inputs[name] for name in self._used} | outputs
        addressed = all(
            self._context.set_tensor_address(name, tensor.data_ptr())
            for name, tensor in bound.items()
        )
        if not (addressed and self._context.execute_async_v3(buffers.stream_handle)):
            raise EngineError(
                f"{self._engine.info.spec} failed in graph {self.name!r}{self._engine.reasons()}"
            )
        return outputs


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _log_of(library: Any) -> Any:
    """Return a logger of the library's kind that keeps errors: they say why a call gave None."""
    kept = {library.ILogger.Severity.ERROR, library.ILogger.Severity.INTERNAL_ERROR}

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in kept:
                self.lines.append(message)

    return Log()
