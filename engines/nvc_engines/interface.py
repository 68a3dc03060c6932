"""The one interface that every backend implements.

An ``Engine`` is a backend opened on a device. It turns a ``GraphSource`` and concrete input
shapes into a ``Graph``, which maps named tensors to named tensors. Tensors belong to the
backend (numpy arrays on a CPU, device buffers on a GPU), so that what one graph returns can
go into the next without leaving the device; ``upload`` and ``download`` are the only ways in
and out. Every graph input and output is float32, NCHW with N = 1.

Engines are not thread-safe: one engine and its graphs belong to one thread at a time.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nvc_engines.spec import EngineSpec
from nvc_errors import EngineError

Tensor: TypeAlias = Any
"""A backend's own tensor, float32. Only its engine looks inside."""

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class EngineInfo:
    """What an engine is: enough to tell two legs of a comparison apart.

    ``precision`` is always ``"fp32"``; ``flags`` says how that was made sure of and what
    else changes results (``{"tf32": "off"}``). ``threads`` is 0 where the device has no
    such number.
    """

    spec: EngineSpec
    backend_version: str
    device_name: str
    precision: str = "fp32"
    flags: Mapping[str, str] = field(default_factory=dict, hash=False)
    threads: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "flags", MappingProxyType(dict(sorted(self.flags.items()))))


@dataclass(frozen=True)
class GraphSource:
    """An ONNX graph as a bundle stores it. ``sha256`` is the lower-case hex digest of ``onnx``.

    Raises ``EngineError`` if the digest is not that of the bytes, or if the name could not
    be a file name (compiled plans are looked up by it).
    """

    name: str
    onnx: bytes = field(repr=False)
    sha256: str

    def __post_init__(self) -> None:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name) is None:
            raise EngineError(
                f"graph name {self.name!r} is not possible: expected a letter or digit, then up "
                "to 99 letters, digits, '.', '_' or '-'"
            )
        found = hashlib.sha256(self.onnx).hexdigest()
        if found != self.sha256:
            raise EngineError(
                f"graph {self.name!r} is damaged: sha256 of its {len(self.onnx)} bytes is "
                f"{found}, expected {self.sha256}; fetch the bundle again"
            )

    @classmethod
    def from_onnx(cls, name: str, onnx: bytes) -> Self:
        """Return the source for ``onnx`` with the digest worked out."""
        return cls(name, onnx, hashlib.sha256(onnx).hexdigest())


class Graph(ABC):
    """One graph, ready to run at one set of input shapes."""

    name: str
    input_shapes: Mapping[str, Shape]
    output_names: tuple[str, ...]

    @abstractmethod
    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return every output by name.

        ``inputs`` holds exactly the graph's inputs, float32, of the shapes it was loaded
        for. Outputs are new tensors that the caller owns: they share no memory with inputs
        or with another run's outputs. Raises ``EngineError`` for a wrong name, dtype or
        shape, and if the backend fails.
        """


class Engine(ABC):
    """A backend opened on a device. Close it, or use it as a context manager."""

    info: EngineInfo
    engines_dir: Path | None = None
    """Where compiled plans come from; None where an engine compiles ONNX itself."""

    @abstractmethod
    def load(self, source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        """Return the graph made ready for inputs of ``shapes`` (name -> NCHW).

        Loading the same source again for other shapes is cheap where the backend allows it.
        Raises ``EngineError`` if the backend rejects the graph or the shapes do not fit it.
        """

    @abstractmethod
    def upload(self, array: NDArray[np.float32]) -> Tensor:
        """Return ``array`` (float32, any strides) as this engine's tensor.

        A CPU engine may keep a view: leave the array unchanged while the tensor is in use.
        Raises ``EngineError`` if ``array`` is not float32.
        """

    @abstractmethod
    def download(self, tensor: Tensor) -> NDArray[np.float32]:
        """Return a tensor of this engine as a C-contiguous float32 array of the same shape.

        A CPU engine may return a view. Waits for the device.
        """

    def synchronize(self) -> None:
        """Wait until everything started on the device has finished; for timing."""
        return

    @abstractmethod
    def close(self) -> None:
        """Release the device. Graphs and tensors of a closed engine must not be used."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
