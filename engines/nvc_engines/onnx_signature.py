"""Read a graph's inputs and outputs out of ONNX bytes, without the onnx package.

Backends disagree here: some drop an input that no node uses, some rename an output that is
an alias. What the file declares is the contract, the same for every engine. Only the few
fields needed are decoded; everything else is skipped by its length (weights are not copied).
Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nvc_errors import EngineError

_MODEL_GRAPH: Final = 7
_GRAPH_INITIALIZER: Final = 5
_GRAPH_INPUT: Final = 11
_GRAPH_OUTPUT: Final = 12
_TENSOR_NAME: Final = 8
_FLOAT32: Final = 1

_ELEMENT_TYPES: Final = {
    1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 16: "bfloat16",
}  # fmt: skip

_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH: Final = 2
_FIXED32: Final = 5
_MAX_VARINT_BYTES: Final = 10


@dataclass(frozen=True)
class OnnxSignature:
    """Inputs with their declared dimensions (None where free) and outputs, in file order.

    Every one of them is float32.
    """

    inputs: dict[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]


def read_signature(graph: str, onnx: bytes) -> OnnxSignature:
    """Return the signature of the ONNX model ``onnx``; ``graph`` is its name for messages.

    Raises ``EngineError`` for bytes that are no ONNX model, a model without outputs, or an
    input or output that is not a float32 tensor.
    """
    try:
        parts = list(_fields(memoryview(onnx)))
        body = next((_message(value) for field, value in parts if field == _MODEL_GRAPH), None)
        if body is None:
            raise _WireError("it holds no graph")
        initialized = set()
        inputs: dict[str, tuple[int | None, ...]] = {}
        outputs: dict[str, tuple[int | None, ...]] = {}
        for field, value in _fields(body):
            if field == _GRAPH_INITIALIZER:
                initialized.add(_text(_only(_message(value), _TENSOR_NAME)))
            elif field in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                name, dims = _read_value_info(graph, _message(value))
                (inputs if field == _GRAPH_INPUT else outputs)[name] = dims
    except _WireError as error:
        raise EngineError(
            f"graph {graph!r} is not an ONNX model ({len(onnx)} bytes: {error}); "
            "export it again or fetch the bundle again"
        ) from error
    if not outputs:
        raise EngineError(f"graph {graph!r} has no outputs; export it again")
    return OnnxSignature(
        {name: dims for name, dims in inputs.items() if name not in initialized}, tuple(outputs)
    )


class _WireError(Exception):
    """The bytes break the protobuf wire format or lack a field that ONNX requires."""


def _read_value_info(graph: str, info: memoryview) -> tuple[str, tuple[int | None, ...]]:
    name = _text(_only(info, 1))
    tensor_type = _first(_only(info, 2), 1)
    if tensor_type is None:
        raise EngineError(f"graph {graph!r} has {name!r} that is no tensor; only tensors work")
    element, dims = 0, []
    for field, value in _fields(_message(tensor_type)):
        if field == 1 and isinstance(value, int):
            element = value
        elif field == 2:
            dims = [_dimension(_message(dim)) for key, dim in _fields(_message(value)) if key == 1]
    if element != _FLOAT32:
        raise EngineError(
            f"graph {graph!r} has {name!r} as {_ELEMENT_TYPES.get(element, f'type {element}')}; "
            "inputs and outputs must be float32: export it again with a Cast inside the graph"
        )
    return name, tuple(dims)


def _dimension(dim: memoryview) -> int | None:
    value = _first(dim, 1)
    return value if isinstance(value, int) else None


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield field, value
            continue
        if kind == _LENGTH:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise _WireError(f"wire type {kind} does not exist")
        if size > len(message) - at:
            raise _WireError(f"a field of {size} bytes has only {len(message) - at} left")
        yield field, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if at + count >= len(message):
            raise _WireError("it ends inside a number")
        byte = message[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise _WireError("a number is too long")


def _first(message: memoryview, wanted: int) -> int | memoryview | None:
    return next((value for field, value in _fields(message) if field == wanted), None)


def _only(message: memoryview, wanted: int) -> memoryview:
    value = _first(message, wanted)
    if value is None:
        raise _WireError(f"field {wanted} is missing")
    return _message(value)


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _WireError("a number stands where a message belongs")
    return value


def _text(value: memoryview) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise _WireError("a name is not UTF-8") from error
