"""PyTorch on the CPU or an NVIDIA GPU, through the interpreter of ``onnx_interpreter``.

torch keeps precision, threads and kernel choice in process-wide switches. They are set for
the time of each run and put back after it, so that opening this engine changes nothing for
other code in the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from nvc_engines.checks import (
    check_arrays,
    check_input,
    check_names,
    check_shapes,
    device_errors,
    float32_array,
)
from nvc_engines.cuda_buffers import on_host
from nvc_engines.cuda_graph import RecordedProgram
from nvc_engines.host import cpu_name, usable_threads
from nvc_engines.interface import Engine, EngineInfo, Graph, GraphSource, Shape, Tensor
from nvc_engines.onnx_interpreter import Program
from nvc_engines.onnx_signature import read_signature
from nvc_engines.spec import EngineSpec
from nvc_errors import EngineError, EngineUnavailableError

_SWITCHES_LOCK: Final = threading.RLock()
"""The switches belong to the process: one torch engine runs at a time."""


class TorchEngine(Engine):
    """PyTorch; tensors are numpy arrays on the CPU and torch tensors on a GPU."""

    def __init__(self, spec: EngineSpec) -> None:
        """Open the engine. Raises ``EngineUnavailableError`` if CUDA is asked for and absent."""
        self._device = torch.device(spec.device)
        self._channels_last = spec.options.get("channels_last", "0") == "1"
        self._mkldnn = spec.options.get("mkldnn", "1") == "1"
        self.recordings: Any = None
        """The pool of memory of CUDA graphs, if runs are recorded as such."""
        self._programs: dict[str, Program] | None = {}
        flags = {"channels_last": "on" if self._channels_last else "off"}
        threads = 0
        if spec.device == "cuda":
            if not torch.cuda.is_available():
                raise EngineUnavailableError(
                    f"{spec} finds no CUDA device with PyTorch {torch.__version__}: it needs an "
                    "NVIDIA GPU, its driver (check nvidia-smi) and a PyTorch built for CUDA"
                )
            flags |= {"tf32": "off", "cudnn_deterministic": "on", "cudnn_benchmark": "off"}
            recorded = spec.options.get("cuda_graphs", "1") == "1"
            flags["cuda_graphs"] = "on" if recorded else "off"
            with device_errors(spec, "open the device", raised=EngineUnavailableError):
                device_name = torch.cuda.get_device_name()
                if recorded:
                    self.recordings = torch.cuda.graph_pool_handle()
        else:
            device_name = f"{cpu_name()} ({torch.backends.cpu.get_cpu_capability()})"
            threads = int(spec.options.get("threads", usable_threads()))
            flags |= {"bf16": "off", "mkldnn": "on" if self._mkldnn else "off"}
        self.info = EngineInfo(
            spec=spec,
            backend_version=f"torch {torch.__version__}",
            device_name=device_name,
            flags=flags,
            threads=threads,
        )

    def load(self, source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        """See ``Engine.load``. One program serves every shape of a source."""
        if self._programs is None:
            raise EngineError(f"{self.info.spec} is closed; open it again to load graphs")
        signature = read_signature(source.name, source.onnx)
        fitted = check_shapes(source.name, signature.inputs, shapes)
        program = self._programs.get(source.sha256)
        if program is None:
            with device_errors(self.info.spec, f"load graph {source.name!r}"):
                program = Program(
                    source.name, source.onnx, self._device, channels_last=self._channels_last
                )
            self._programs[source.sha256] = program
        graph = _HostGraph if self._device.type == "cpu" else _DeviceGraph
        return graph(self, source.name, program, fitted)

    def upload(self, array: NDArray[np.float32]) -> Tensor:
        """See ``Engine.upload``."""
        contiguous = float32_array(array)
        if self._device.type == "cpu":
            return contiguous
        with device_errors(self.info.spec, "copy to the device"):
            return _tensor_from_array(contiguous).to(self._device)

    def download(self, tensor: Tensor) -> NDArray[np.float32]:
        """See ``Engine.download``."""
        if isinstance(tensor, torch.Tensor):
            with device_errors(self.info.spec, "copy from the device"):
                tensor = on_host(tensor).numpy()
        return float32_array(tensor)

    def synchronize(self) -> None:
        """See ``Engine.synchronize``."""
        if self._device.type == "cuda":
            with device_errors(self.info.spec, "wait for the device"):
                torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """Drop the programs and their weights."""
        self._programs = None

    def precision_switches(self) -> list[tuple[Any, str, Any]]:
        """Return the switches of precision and what they are held at: full precision."""
        return full_precision_switches()

    @contextmanager
    def switches(self) -> Iterator[None]:
        """Hold torch's process-wide switches where this engine needs them.

        A caller's autocast, which belongs to its thread, does not reach the run, either.
        """
        wanted: list[tuple[Any, str, Any]] = [
            (torch.backends.cudnn, "benchmark", False),
            (torch.backends.cudnn, "deterministic", True),
            *self.precision_switches(),
        ]
        full_precision = torch.autocast(self._device.type, enabled=False)
        with _SWITCHES_LOCK, torch.inference_mode(), full_precision:
            before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
            threads, mkldnn = torch.get_num_threads(), torch._C._get_mkldnn_enabled()
            try:
                for owner, name, value in wanted:
                    setattr(owner, name, value)
                torch._C._set_mkldnn_enabled(self._mkldnn)
                if self.info.threads:
                    torch.set_num_threads(self.info.threads)
                yield
            finally:
                torch.set_num_threads(threads)
                torch._C._set_mkldnn_enabled(mkldnn)
                for owner, name, value in before:
                    setattr(owner, name, value)


def full_precision_switches() -> list[tuple[Any, str, Any]]:
    """Return (owner, attribute, value) of every switch that could lower the precision.

    torch 2.9 gave each kind of kernel its own ``fp32_precision`` and made it an error to mix
    that with the older pair of switches.
    """
    if hasattr(torch.backends.cudnn, "conv"):
        backends: Any = torch.backends
        owners = (
            backends.cuda.matmul,
            backends.cudnn.conv,
            backends.mkldnn.conv,
            backends.mkldnn.matmul,
        )
        return [(owner, "fp32_precision", "ieee") for owner in owners]
    return [
        (torch.backends.cuda.matmul, "allow_tf32", False),
        (torch.backends.cudnn, "allow_tf32", False),
    ]


def _tensor_from_array(array: NDArray[np.float32]) -> torch.Tensor:
    # torch has no read-only tensors and warns about an array that is one.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


class _HostGraph(Graph):
    """A program on the CPU; tensors are numpy arrays."""

    def __init__(
        self, engine: TorchEngine, name: str, program: Program, shapes: dict[str, Shape]
    ) -> None:
        self.name = name
        self.input_shapes = shapes
        self.output_names = program.outputs
        self._engine = engine
        self._program = program

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See ``Graph.run``."""
        arrays = check_arrays(self.name, self.input_shapes, inputs)
        tensors = {name: _tensor_from_array(array) for name, array in arrays.items()}
        with self._running():
            outputs = self._program.run(tensors)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    @contextmanager
    def _running(self) -> Iterator[None]:
        spec = self._engine.info.spec
        with device_errors(spec, f"run graph {self.name!r}"), self._engine.switches():
            yield


class _DeviceGraph(_HostGraph):
    """A program on a GPU; tensors are torch tensors in device memory."""

    _recorded: RecordedProgram | None = None

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See ``Graph.run``."""
        check_names(self.name, self.input_shapes, inputs)
        for name, shape in self.input_shapes.items():
            value = inputs[name]
            if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
                raise EngineError(
                    f"input {name!r} of graph {self.name!r} is a {type(value).__name__}; "
                    "expected a float32 tensor from this engine's upload()"
                )
            check_input(self.name, name, shape, tuple(value.shape))
        with self._running():
            if self._engine.recordings is None:
                return self._program.run(inputs)
            if self._recorded is None:
                self._recorded = RecordedProgram(self._program, inputs, self._engine.recordings)
            return self._recorded.run(inputs)
