"""A convolution that tells FP32 from TF32 and BF16, in ONNX, made without the onnx package.

The runtime has no need of onnx, so the few messages of the model are encoded here by hand:
a protobuf message is a row of (field number, wire type) keys and values.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from nvc_engines.interface import Engine, GraphSource
from nvc_errors import EngineError

_CHANNELS: Final = 32
_SIZE: Final = 16
_FLOAT: Final = 1
_OPSET: Final = 17
_IR_VERSION: Final = 8

TOLERANCE: Final = 2e-5
"""Largest error relative to the largest output. FP32 stays below 2e-6; inputs rounded to TF32
(10 bits) are off by 5e-4 or more, to BF16 (7 bits) by 3e-3 or more."""


def probe_source() -> GraphSource:
    """Return ``y = conv3x3(x, w)``, x and y float32 (1, 32, 16, 16), padding 1."""
    shape = (1, _CHANNELS, _SIZE, _SIZE)
    node = (
        _text(1, "x")
        + _text(1, "w")
        + _text(2, "y")
        + _text(4, "Conv")
        + _bytes(5, _ints_attribute("kernel_shape", (3, 3)))
        + _bytes(5, _ints_attribute("pads", (1, 1, 1, 1)))
    )
    weight = _weight()
    tensor = (
        b"".join(_int(1, dim) for dim in weight.shape)
        + _int(2, _FLOAT)
        + _text(8, "w")
        + _bytes(9, weight.astype("<f4").tobytes())
    )
    graph = (
        _bytes(1, node)
        + _text(2, "probe")
        + _bytes(5, tensor)
        + _bytes(11, _value_info("x", shape))
        + _bytes(12, _value_info("y", shape))
    )
    model = _int(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _int(2, _OPSET))
    return GraphSource.from_onnx("probe", model)


def check_precision(engine: Engine) -> float:
    """Run the probe and return the error relative to the largest output.

    Raises ``EngineError`` if it exceeds ``TOLERANCE``: the engine does not compute in FP32.
    """
    source = probe_source()
    values = _input()
    graph = engine.load(source, {"x": values.shape})
    found = engine.download(graph.run({"x": engine.upload(values)})["y"])
    exact = _exact(values)
    error = float(np.abs(found - exact).max() / np.abs(exact).max())
    if not error <= TOLERANCE:
        raise EngineError(
            f"{engine.info.spec} does not compute in FP32: a convolution is off by {error:.1e} of "
            f"its largest output, expected at most {TOLERANCE:.0e}; a reduced precision is on"
        )
    return error


def _input() -> NDArray[np.float32]:
    """Return float32 (1, C, S, S) in [-0.5, 0.5) whose values use all 24 bits."""
    count = _CHANNELS * _SIZE * _SIZE
    steps = (np.arange(count, dtype=np.int64) * 7_919_191 + 12_345) % (1 << 23)
    values = (steps / (1 << 23) - 0.5).astype(np.float32)
    return values.reshape(1, _CHANNELS, _SIZE, _SIZE)


def _weight() -> NDArray[np.float32]:
    """Return float32 (C, C, 3, 3) in [-0.5, 0.5) whose values use all 24 bits."""
    count = _CHANNELS * _CHANNELS * 9
    steps = (np.arange(count, dtype=np.int64) * 5_368_709 + 54_321) % (1 << 23)
    values = (steps / (1 << 23) - 0.5).astype(np.float32)
    return values.reshape(_CHANNELS, _CHANNELS, 3, 3)


def _exact(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the convolution in float64, (1, C, S, S)."""
    padded = np.pad(values[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    result = np.einsum("chwij,ocij->ohw", windows, _weight().astype(np.float64), optimize=True)
    return np.asarray(result[np.newaxis])


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _ints_attribute(name: str, values: tuple[int, ...]) -> bytes:
    ints_type = 7
    return _text(1, name) + b"".join(_int(8, value) for value in values) + _int(20, ints_type)


def _value_info(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_bytes(1, _int(1, dim)) for dim in shape)
    tensor_type = _int(1, _FLOAT) + _bytes(2, dims)
    return _text(1, name) + _bytes(2, _bytes(1, tensor_type))
