"""ONNX Runtime on the CPU or an NVIDIA GPU.

The CPU engine is the reference of the toolchain: its results depend on the optimisation
level and the CPU's instruction set, not on the thread count. On a GPU TF32 is off, the
convolution algorithm comes from a fixed heuristic instead of a timing race, and tensors are
``OrtValue`` that stay on the device between graphs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cache
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from nvc_engines.checks import (
    check_arrays,
    check_input,
    check_names,
    check_shapes,
    device_errors,
    float32_array,
    reason_of,
)
from nvc_engines.host import cpu_name, usable_threads
from nvc_engines.interface import Engine, EngineInfo, Graph, GraphSource, Shape, Tensor
from nvc_engines.onnx_signature import read_signature
from nvc_engines.spec import EngineSpec
from nvc_errors import EngineError, EngineUnavailableError

_CUDA: Final = "CUDAExecutionProvider"
_FLOAT: Final = "tensor(float)"
_QUIET: Final = 4
"""Only fatal messages go to stderr: failures come back as exceptions."""

_LEVELS: Final = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}

_HEAVY_OPS: Final = frozenset({"Conv", "ConvTranspose", "FusedConv", "GridSample", "Resize"})
"""Operators that must not land on the CPU when a GPU was asked for. Shape arithmetic may."""


class OrtEngine(Engine):
    """ONNX Runtime with the CPU or the CUDA execution provider."""

    def __init__(self, spec: EngineSpec) -> None:
        """Open the engine. Raises ``EngineUnavailableError`` if the provider is not installed."""
        self._level = spec.options.get("opt", "all")
        self._on_gpu = spec.device == "cuda"
        self._sessions: dict[str, Any] | None = {}
        flags = {"opt": self._level}
        threads = 0
        if self._on_gpu:
            if _CUDA not in ort.get_available_providers():
                raise EngineUnavailableError(
                    f"{spec} needs ONNX Runtime with CUDA, but the installed onnxruntime "
                    f"{ort.__version__} offers {', '.join(ort.get_available_providers())}: "
                    "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu"
                )
            if hasattr(ort, "preload_dlls"):
                # CUDA and cuDNN from pip packages; it prints, and stdout belongs to our caller.
                with redirect_stdout(sys.stderr):
                    ort.preload_dlls()
            flags |= {"tf32": "off", "conv_algorithm": "heuristic"}
        else:
            threads = int(spec.options.get("threads", usable_threads()))
        self.info = EngineInfo(
            spec=spec,
            backend_version=f"onnxruntime {ort.__version__}",
            device_name="CUDA device 0" if self._on_gpu else cpu_name(),
            flags=flags,
            threads=threads,
        )
        if self._on_gpu:
            self._check_device()

    def _check_device(self) -> None:
        try:
            self.upload(np.zeros(1, np.float32))
        except EngineError as error:
            raise EngineUnavailableError(
                f"{self.info.spec} cannot use a CUDA device: {reason_of(error)}; "
                "check that nvidia-smi works"
            ) from error

    def load(self, source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        """See ``Engine.load``. One session serves every shape of a source."""
        if self._sessions is None:
            raise EngineError(f"{self.info.spec} is closed; open it again to load graphs")
        signature = read_signature(source.name, source.onnx)
        fitted = check_shapes(source.name, signature.inputs, shapes)
        session = self._sessions.get(source.sha256)
        if session is None:
            session = self._session_from_onnx(source)
            self._sessions[source.sha256] = session
        graph = _DeviceGraph if self._on_gpu else _HostGraph
        return graph(source.name, session, fitted, signature.outputs)

    def _session_from_onnx(self, source: GraphSource) -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = _QUIET
        options.graph_optimization_level = _LEVELS[self._level]
        options.use_deterministic_compute = True
        # Sessions take turns: threads that spin after one has run only slow the next one.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if self._on_gpu:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
            providers: list[Any] = [
                (_CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"})
            ]
        else:
            _register_arena()
            options.add_session_config_entry("session.use_env_allocators", "1")
            options.intra_op_num_threads = self.info.threads
            options.inter_op_num_threads = 1
            providers = ["CPUExecutionProvider"]
        try:
            session = ort.InferenceSession(source.onnx, options, providers=providers)
        except Exception as error:
            raise EngineError(
                f"{self.info.spec} cannot load graph {source.name!r}: {reason_of(error)}"
            ) from error
        if self._on_gpu:
            check_on_gpu(source.name, session)
        return session

    def upload(self, array: NDArray[np.float32]) -> Tensor:
        """See ``Engine.upload``."""
        contiguous = float32_array(array)
        if not self._on_gpu:
            return contiguous
        with device_errors(self.info.spec, "copy to the device", caught=Exception):
            return ort.OrtValue.ortvalue_from_numpy(contiguous, "cuda", 0)

    def download(self, tensor: Tensor) -> NDArray[np.float32]:
        """See ``Engine.download``."""
        if isinstance(tensor, ort.OrtValue):
            with device_errors(self.info.spec, "copy from the device", caught=Exception):
                tensor = tensor.numpy()
        return float32_array(tensor)

    def close(self) -> None:
        """Drop the sessions."""
        self._sessions = None


@cache
def _register_arena() -> None:
    """Make one memory arena for all sessions of this process, instead of one for each.

    The graphs of a codec run in turn: what one has given back is still in the caches when the next
    takes it, and a decoder needs half the memory.
    """
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, None)


def check_on_gpu(graph: str, session: Any) -> None:
    """Raise ``EngineError`` if a session meant for the GPU does its work on the CPU.

    ONNX Runtime drops a provider that fails to start, and hands single operators to the CPU
    when the provider lacks them, with no more than a log line.
    """
    providers = session.get_providers()
    if not providers or providers[0] != _CUDA:
        raise EngineUnavailableError(
            f"ONNX Runtime put graph {graph!r} on {', '.join(providers) or 'no provider'} instead "
            f"of {_CUDA}: the CUDA or cuDNN libraries do not fit this onnxruntime; see the table "
            "of versions in its CUDA provider's documentation"
        )
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return
    stray = {
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != _CUDA
        for node in part.get_nodes()
    }
    if stray & _HEAVY_OPS:
        raise EngineError(
            f"ONNX Runtime has no CUDA kernel for {', '.join(sorted(stray & _HEAVY_OPS))} in graph "
            f"{graph!r} and would run it on the CPU; use another engine or opset"
        )


class _HostGraph(Graph):
    """A session on the CPU; tensors are numpy arrays."""

    def __init__(
        self, name: str, session: Any, shapes: dict[str, Shape], outputs: tuple[str, ...]
    ) -> None:
        self.name = name
        self.input_shapes = shapes
        self.output_names = outputs
        self._session = session

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See ``Graph.run``."""
        arrays = check_arrays(self.name, self.input_shapes, inputs)
        try:
            outputs = self._session.run(self.output_names, arrays)
        except Exception as error:
            raise EngineError(
                f"ONNX Runtime failed in graph {self.name!r}: {reason_of(error)}"
            ) from error
        return dict(zip(self.output_names, outputs, strict=True))


class _DeviceGraph(_HostGraph):
    """A session on the GPU; tensors are ``OrtValue`` in device memory."""

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See ``Graph.run``."""
        check_names(self.name, self.input_shapes, inputs)
        for name, shape in self.input_shapes.items():
            value = inputs[name]
            if not isinstance(value, ort.OrtValue) or value.data_type() != _FLOAT:
                raise EngineError(
                    f"input {name!r} of graph {self.name!r} is a {type(value).__name__}; "
                    "expected a float32 tensor from this engine's upload()"
                )
            check_input(self.name, name, shape, tuple(value.shape()))
        with device_errors("ONNX Runtime", f"run graph {self.name!r}", caught=Exception):
            binding = self._session.io_binding()
            for name in self.input_shapes:
                binding.bind_ortvalue_input(name, inputs[name])
            for name in self.output_names:
                binding.bind_output(name, "cuda", 0)
            self._session.run_with_iobinding(binding)
            return dict(zip(self.output_names, binding.get_outputs(), strict=True))
