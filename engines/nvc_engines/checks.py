"""Checks on what callers hand to an engine, with one wording for every backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from nvc_engines.interface import Shape
from nvc_errors import EngineError, NvcError


def check_names(graph: str, expected: Mapping[str, object], found: Mapping[str, object]) -> None:
    """Raise ``EngineError`` unless ``found`` has exactly the inputs of the graph."""
    missing = sorted(expected.keys() - found.keys())
    unknown = sorted(found.keys() - expected.keys())
    if missing or unknown:
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unknown {', '.join(unknown)}"] if unknown else []
        raise EngineError(
            f"wrong inputs for graph {graph!r}: {'; '.join(parts)}; "
            f"expected exactly {', '.join(sorted(expected))}"
        )


def check_shapes(
    graph: str, declared: Mapping[str, tuple[int | None, ...]], shapes: Mapping[str, Shape]
) -> dict[str, Shape]:
    """Return ``shapes`` as plain tuples after fitting them to what the graph declares.

    ``declared`` has None where a dimension is free. Raises ``EngineError`` for a wrong set
    of names, rank or fixed dimension, or a dimension that is not positive.
    """
    check_names(graph, declared, shapes)
    fitted = {}
    for name, dims in declared.items():
        shape = tuple(int(dim) for dim in shapes[name])
        fits = len(shape) == len(dims) and all(
            have > 0 and want in (None, have) for have, want in zip(shape, dims, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if dim is None else str(dim) for dim in dims)
            raise EngineError(
                f"graph {graph!r} cannot take input {name!r} of shape {shape}: "
                f"it declares ({wanted})"
            )
        fitted[name] = shape
    return fitted


def check_input(graph: str, name: str, shape: Shape, found: Shape) -> None:
    """Raise ``EngineError`` if an input has another shape than the graph was loaded for."""
    if found != shape:
        raise EngineError(
            f"input {name!r} of graph {graph!r} has shape {found}, but the graph was loaded for "
            f"{shape}; load it again for the new shape"
        )


def check_arrays(
    graph: str, shapes: Mapping[str, Shape], inputs: Mapping[str, object]
) -> dict[str, NDArray[np.float32]]:
    """Return ``inputs`` as C-contiguous arrays in the graph's order.

    Raises ``EngineError`` for wrong names, for anything but float32 arrays, and for wrong
    shapes.
    """
    check_names(graph, shapes, inputs)
    arrays = {}
    for name, shape in shapes.items():
        value = inputs[name]
        if not isinstance(value, np.ndarray) or value.dtype != np.float32:
            kind = f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
            raise EngineError(
                f"input {name!r} of graph {graph!r} is a {kind}; expected a float32 array"
            )
        check_input(graph, name, shape, value.shape)
        arrays[name] = np.ascontiguousarray(value)
    return arrays


def float32_array(array: object) -> NDArray[np.float32]:
    """Return ``array`` C-contiguous. Raises ``EngineError`` unless it is a float32 array."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        kind = f"{array.dtype} array" if isinstance(array, np.ndarray) else type(array).__name__
        raise EngineError(f"engines take float32 arrays, not a {kind}; convert it first")
    return np.ascontiguousarray(array)


@contextmanager
def device_errors(
    engine: object,
    action: str,
    *,
    caught: type[Exception] = RuntimeError,
    raised: type[EngineError] = EngineError,
) -> Iterator[None]:
    """Turn a library's error, such as a lost device, into "ENGINE cannot ACTION: reason".

    PyTorch raises ``RuntimeError`` whatever a device does wrong, at the call that comes to wait
    for it.
    """
    try:
        yield
    except NvcError:
        raise
    except caught as error:
        raise raised(f"{engine} cannot {action}: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """Return a library's error message on one line, or its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
