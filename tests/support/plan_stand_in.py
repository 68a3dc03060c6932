"""Stands in for the libraries that run plans, and for the GPU: the calls, not the device.

A "plan" is the ONNX graph itself, run by ONNX Runtime in host memory. It shows that shapes,
addresses and results go where they belong and that failures are told; only a GPU can show that the
real library agrees.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nvc_engines import GraphSource, compiled, open_engine
from nvc_engines.onnx_signature import read_signature
from nvc_engines.plans import PlanRecord

MEMORY: dict[int, np.ndarray] = {}
VERSION = "1.0"


class HostBuffers:
    """Numpy arrays with addresses, in the place of device memory."""

    device_name = "NVIDIA GeForce RTX 2080"
    capability = (7, 5)
    stream_handle = 7

    def empty(self, shape: tuple[int, ...]) -> Any:
        return self.upload(np.full(shape, np.nan, np.float32))

    def upload(self, array: np.ndarray) -> Any:
        address = len(MEMORY) + 1
        MEMORY[address] = np.ascontiguousarray(array, np.float32).copy()
        return SimpleNamespace(shape=array.shape, data_ptr=lambda: address)

    def is_tensor(self, value: object) -> bool:
        return isinstance(value, SimpleNamespace)

    def download(self, tensor: Any) -> np.ndarray:
        return MEMORY[tensor.data_ptr()]

    def synchronize(self) -> None:
        return


class FakeLogger:
    Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, INFO=3)

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


class FakeCache:
    """Takes any kernels, and has some of its own."""

    def __init__(self) -> None:
        self.content = b"new"

    def deserialize(self, blob: bytes) -> bool:
        self.content = blob
        return True

    def serialize(self) -> bytes:
        return self.content


class FakeContext:
    largest = 1 << 14
    """The largest side of an input."""

    def __init__(self, source: GraphSource, log: Any) -> None:
        self.engine = open_engine("ort:cpu,threads=1")
        self.source, self.log = source, log
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return max(shape) <= self.largest

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            zeros = {n: np.zeros(s, np.float32) for n, s in self.shapes.items()}
            self.shapes = {n: a.shape for n, a in self._compute(zeros).items()} | self.shapes
        return self.shapes[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address in MEMORY

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == HostBuffers.stream_handle
        inputs = {n: MEMORY[self.addresses[n]] for n in read_inputs(self.source)}
        if any(x.min() < -1e6 for x in inputs.values()):
            self.log.log(FakeLogger.Severity.INFO, "not worth telling")
            self.log.log(FakeLogger.Severity.ERROR, "device\nlost")
            return False
        for name, array in self._compute(inputs).items():
            MEMORY[self.addresses[name]][...] = array
        return True

    def _compute(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        graph = self.engine.load(self.source, {name: x.shape for name, x in inputs.items()})
        outputs = graph.run({name: self.engine.upload(x) for name, x in inputs.items()})
        return {name: self.engine.download(y) for name, y in outputs.items()}


class FakePlan:
    def __init__(self, onnx: bytes, log: Any) -> None:
        self.source, self.log = GraphSource.from_onnx("inner", onnx), log
        self.inputs = read_inputs(self.source)
        outputs = read_signature("inner", onnx).outputs
        self.names = [*self.inputs, *outputs]
        self.num_io_tensors = len(self.names)
        self.config: Any = None

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in self.inputs else "out"

    def get_tensor_dtype(self, _name: str) -> str:
        return "float"

    def get_tensor_profile_shape(self, _name: str, _profile: int) -> list[tuple[int, ...]]:
        return [(1, 32, 16, 16), (1, 32, 16, 16), (1, 32, 32, 32)]

    def create_runtime_config(self) -> Any:
        self.config = SimpleNamespace(create_runtime_cache=FakeCache)
        self.config.set_runtime_cache = lambda cache: setattr(self.config, "cache", cache) is None
        return self.config

    def create_execution_context(self, config: Any = None) -> FakeContext:
        assert config is self.config
        return FakeContext(self.source, self.log)


class FakeRuntime:
    def __init__(self, log: Any) -> None:
        self.log = log

    def deserialize_cuda_engine(self, plan: bytes) -> FakePlan | None:
        if plan == b"of another version":
            self.log.log(FakeLogger.Severity.ERROR, "version tag does not match")
            return None
        return FakePlan(plan, self.log)


def record_of(source: GraphSource, plan: bytes, backend: str = "tensorrt-rtx") -> PlanRecord:
    """Return the record of a plan of the probe."""
    return PlanRecord(
        backend=backend,
        backend_version="1.0",
        gpu="rtx2080",
        bundle="probe",
        bundle_sha256="ab" * 32,
        frame_sizes=("16x16", "16x16", "64x64"),
        inputs={"x": ((1, 32, 16, 16), (1, 32, 16, 16), (1, 32, 64, 64))},
        onnx_sha256=source.sha256,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        tf32=False,
    )


def read_inputs(source: GraphSource) -> list[str]:
    """Return the names of a graph's inputs."""
    return list(read_signature(source.name, source.onnx).inputs)


def fake_library(name: str) -> ModuleType:
    """Return a module with the calls of ``tensorrt_rtx`` or ``tensorrt`` that run plans."""
    library: Any = ModuleType(name)
    library.__version__ = VERSION
    library.ILogger = FakeLogger
    library.Runtime = FakeRuntime
    library.TensorIOMode = SimpleNamespace(INPUT="in")
    library.DataType = SimpleNamespace(FLOAT="float")
    library.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
    fake: ModuleType = library
    return fake


@contextmanager
def stand_in(backend: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let ``backend`` open on a machine that has neither its library nor a GPU."""
    module = backend.replace("-", "_")
    monkeypatch.setitem(sys.modules, module, fake_library(module))
    monkeypatch.delitem(sys.modules, f"nvc_engines.{module}", raising=False)
    monkeypatch.setattr(compiled, "CudaBuffers", HostBuffers)
    try:
        yield
    finally:
        sys.modules.pop(f"nvc_engines.{module}", None)
        MEMORY.clear()
