"""An engine that computes what another one does, and then gets it wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nvc_engines import Engine, Graph, GraphSource, Shape, Tensor

Array = NDArray[np.float32]
Drift = Callable[[str, Array], Array]
"""``drift(tensor name, values) -> values``, a new array."""


class DriftingEngine(Engine):
    """Passes the outputs of a CPU engine's graphs through `drift`; the inner engine stays open."""

    def __init__(self, inner: Engine, drift: Drift) -> None:
        self.inner, self.info, self._drift = inner, inner.info, drift

    def load(self, source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        return _DriftingGraph(self.inner.load(source, shapes), self._drift, self.inner)

    def upload(self, array: Array) -> Tensor:
        return self.inner.upload(array)

    def download(self, tensor: Tensor) -> Array:
        return self.inner.download(tensor)

    def close(self) -> None:
        pass


class _DriftingGraph(Graph):
    def __init__(self, inner: Graph, drift: Drift, engine: Engine) -> None:
        self.name, self.input_shapes = inner.name, inner.input_shapes
        self.output_names = inner.output_names
        self._inner, self._drift, self._engine = inner, drift, engine

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = self._inner.run(inputs)
        return {
            name: self._engine.upload(self._drift(name, self._engine.download(tensor)))
            for name, tensor in outputs.items()
        }


def moved_towards_boundary(values: Array, bound: float) -> Array:
    """Move every value by at most `bound`, exactly, across the nearest whole number if it can."""
    wide = values.astype(np.float64)
    nearest = np.rint(wide)
    # Onto the far side: just below a boundary for values at or above it, and the reverse.
    direction = np.where(wide >= nearest, -1.0, 1.0)
    moved = (values + direction * bound).astype(np.float32)
    too_far = np.abs(moved.astype(np.float64) - values) > bound
    back = np.nextafter(moved, values)
    result: Array = np.where(too_far, back, moved)
    return result


@dataclass
class AdversarialDrift:
    """Moves chosen tensors across the nearest whole number wherever `bound` allows."""

    tensors: Collection[str]
    bound: float
    crossed: int = field(default=0, init=False)
    """Elements whose floor has changed."""

    def __call__(self, name: str, values: Array) -> Array:
        if name not in self.tensors:
            return values
        moved = moved_towards_boundary(values, self.bound)
        self.crossed += int(np.count_nonzero(np.floor(moved) != np.floor(values)))
        return moved


@dataclass
class SampleDrift:
    """Moves a reconstruction so that 8-bit samples round the other way wherever it can.

    ``bound`` is in 8-bit units, of the index 255 x + 1/2.
    """

    tensor: str
    bound: float
    crossed: int = field(default=0, init=False)

    def __call__(self, name: str, values: Array) -> Array:
        if name != self.tensor:
            return values
        index = values.astype(np.float64) * 255 + 0.5
        direction = np.where(index >= np.rint(index), -1.0, 1.0)
        moved = (values + direction * self.bound / 255).astype(np.float32)
        changed = np.floor(moved * 255.0 + 0.5) != np.floor(index)
        self.crossed += int(np.count_nonzero(changed))
        return moved


@dataclass
class Noise:
    """Adds uniform noise within `bound` to every tensor of every graph, relative to 1."""

    bound: float
    seed: int = 1

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def __call__(self, name: str, values: Array) -> Array:
        del name
        noise = self._rng.uniform(-self.bound, self.bound, values.shape)
        return (values + noise).astype(np.float32)


@dataclass
class Poison:
    """Puts a number that is not finite into one element of a tensor, from the given run on."""

    tensor: str
    value: float = float("nan")
    after: int = 0

    def __call__(self, name: str, values: Array) -> Array:
        if name != self.tensor:
            return values
        self.after -= 1
        if self.after >= 0:
            return values
        poisoned = values.copy()
        poisoned.flat[poisoned.size // 2] = self.value
        return poisoned
