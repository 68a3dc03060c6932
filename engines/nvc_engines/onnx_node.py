"""ONNX nodes and the table of operators that the torch interpreter knows.

An operator is registered as a *builder*: it reads the node's attributes once, at load time,
and returns the kernel that runs. Attributes it did not read, and values it cannot honour,
are refused at load time too, so a graph that loads means what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import torch
from numpy.typing import NDArray

from nvc_errors import EngineError

Kernel: TypeAlias = Callable[..., "torch.Tensor | tuple[torch.Tensor, ...]"]
"""Takes the node's inputs by position (None for an omitted one)."""

Builder: TypeAlias = "Callable[[Node], Kernel]"


@dataclass(frozen=True)
class Node:
    """One node. ``attributes`` hold Python values; ``opset`` is the model's default opset."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int
    read: set[str] = field(default_factory=set)

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute, or ``default`` if the node does not have it."""
        self.read.add(name)
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def ints(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...] | None:
        """Return an attribute of integers as a tuple, or ``default`` if it is absent."""
        value = self.attribute(name, default)
        return None if value is None else tuple(int(item) for item in value)

    def choice(self, name: str, default: Any, *known: Any) -> Any:
        """Return an attribute. Raises ``EngineError`` unless its value is one of ``known``."""
        value = self.attribute(name, default)
        if value not in known:
            raise self.unsupported(f"{name}={value!r}")
        return value

    def unsupported(self, what: str) -> EngineError:
        """Return the error for a feature of this node that the interpreter lacks."""
        return EngineError(
            f"the torch engine does not support {what} in {self.op} node {self.name!r}; "
            "use another engine, such as ort:cpu"
        )

    def check_all_read(self) -> None:
        """Raise ``EngineError`` if an attribute was not looked at by the builder."""
        unread = sorted(self.attributes.keys() - self.read)
        if unread:
            raise self.unsupported(f"the attribute {', '.join(unread)}")


class Operator(NamedTuple):
    """A builder, and from which input on the inputs are shapes or indices.

    Those stay in host memory: reading them must not make the host wait for the device.
    """

    build: Builder
    first_host_input: int


NO_HOST_INPUTS: Final = 1_000_000

OPERATORS: Final[dict[str, Operator]] = {}
"""ONNX operator type -> operator, filled by the modules that define them."""


def operator(*names: str, first_host_input: int = NO_HOST_INPUTS) -> Callable[[Builder], Builder]:
    """Register a builder for the ONNX operators ``names``."""

    def register(build: Builder) -> Builder:
        for name in names:
            OPERATORS[name] = Operator(build, first_host_input)
        return build

    return register


def tables_on_device(
    make: Callable[..., Sequence[NDArray[Any]]],
) -> Callable[..., Sequence[torch.Tensor]]:
    """Return a function of a device and what ``make`` takes, which gives its arrays there.

    Each set is made and moved once, and kept as long as the function is: a recorded run refers to
    the memory.
    """
    kept: dict[tuple[Any, ...], Sequence[torch.Tensor]] = {}

    def tables(device: torch.device, *key: Any) -> Sequence[torch.Tensor]:
        if (device, *key) not in kept:
            kept[device, *key] = [torch.from_numpy(array).to(device) for array in make(*key)]
        return kept[device, *key]

    return tables


def ints_from(tensor: torch.Tensor) -> list[int]:
    """Return the values of an integer tensor of rank 0 or 1."""
    return [int(value) for value in tensor.reshape(-1).tolist()]


TORCH_DTYPES: Final = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32,
    7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""ONNX element type -> torch dtype."""
