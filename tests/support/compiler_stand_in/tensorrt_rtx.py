"""Stands in for TensorRT for RTX where it is not installed: the calls, not the compiler.

A "plan" has the header of a real one, the words about TF32, and digests of what went in.
"""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import onnx

__version__ = "1.7.1.116"

BuilderFlag = SimpleNamespace(TF32="tf32")
ComputeCapability = SimpleNamespace(**{f"SM{sm}": sm for sm in (75, 80, 86, 89, 120, 121)})
_MASK = {75: 1, 80: 2, 86: 4, 89: 8, 120: 16, 121: 32}
PLAN_BYTES = 6000


class ILogger:
    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


class _Network:
    def __init__(self) -> None:
        self.model: Any = None

    @property
    def num_inputs(self) -> int:
        return len(self.model.graph.input)

    def get_input(self, index: int) -> Any:
        return self.model.graph.input[index]


class OnnxParser:
    def __init__(self, network: _Network, log: ILogger) -> None:
        self.network, self.log, self.errors = network, log, []

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def parse(self, data: bytes) -> bool:
        self.network.model = onnx.load_from_string(data)
        self.log.log(ILogger.Severity.INFO, "Opset version:    20")
        self.log.log(ILogger.Severity.VERBOSE, "nobody wants to know")
        for node in self.network.model.graph.node:
            if node.op_type == "DeformConv":
                self.errors.append((node.name, "no importer registered for op: DeformConv"))
        return not self.errors

    def get_error(self, index: int) -> Any:
        name, reason = self.errors[index]
        return SimpleNamespace(node_name=lambda: name, desc=lambda: reason)


class _Profile(dict[str, Any]):
    def set_shape(self, name: str, low: Any, usual: Any, high: Any) -> None:
        self[name] = low, usual, high


class _Config:
    def __init__(self) -> None:
        self.tf32, self.num_compute_capabilities, self.sm = True, 0, 0
        self.profile: Any = None

    def clear_flag(self, flag: str) -> None:
        assert flag == BuilderFlag.TF32
        self.tf32 = False

    def get_flag(self, flag: str) -> bool:
        assert flag == BuilderFlag.TF32
        return self.tf32

    def set_compute_capability(self, capability: int, index: int) -> None:
        assert (index, self.num_compute_capabilities) == (0, 1)
        self.sm = capability

    def add_optimization_profile(self, profile: Any) -> int:
        self.profile = profile
        return 0


class Builder:
    forget_tf32 = False
    """A faulty version: compiles with TF32 whatever it is told."""

    def __init__(self, log: ILogger) -> None:
        self.log, self.max_threads = log, 8

    def create_network(self, flags: int) -> _Network:
        assert flags == 0
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        assert self.max_threads == 1
        model = network.model
        if config.sm == 75 and any(node.op_type == "MatMul" for node in model.graph.node):
            self.log.log(ILogger.Severity.ERROR, "FP32 GEMM is\nnot supported")
            return None
        seed = model.SerializeToString(deterministic=True) + repr(config.profile).encode()
        body = b"\n  tf32=%d\n" % (config.tf32 or self.forget_tf32) + hashlib.sha256(seed).digest()
        size = PLAN_BYTES.to_bytes(8, "little")
        header = b"vtrt" + bytes(12) + size + bytes([1, 7, 1, 116]) + b"vtrt"
        return (header + bytes([_MASK[config.sm]]) + body).ljust(PLAN_BYTES, b"\0")
