"""``nvc-run verify --bisect``: the first layer of a graph that two engines compute differently.

Every float tensor inside the graph becomes an output (Polygraphy), both engines run it on the same
inputs, and the layers are compared in the graph's order. Outputs in the middle keep an engine from
fusing across them: here it may compute other last bits than it does otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nvc_errors import UsageError, VerificationError
from nvc_runtime.cli.console import print_json

if TYPE_CHECKING:
    from nvc_engines import Engine
    from nvc_runtime import Bundle

SEED = 1
BLOCKS = 2
"""Width of the frame that is compared, in units of the alignment; its height is one."""


@dataclass(frozen=True)
class Layer:
    """One tensor of the graph; ``difference`` is relative to its range, or to 1 if that is less."""

    tensor: str
    node: str
    operator: str
    difference: float


@dataclass(frozen=True)
class Bisection:
    """Result of one graph. ``first``: the first layer beyond ``bound``, None if there is none."""

    graph: str
    engines: tuple[str, str]
    bound: float
    layers: int
    first: Layer | None
    largest: Layer

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def check(self) -> None:
        """Raise ``VerificationError`` if a layer is beyond the bound."""
        if self.first is not None:
            raise VerificationError(
                f"graph {self.graph!r}: {self.engines[1]} differs from {self.engines[0]} first in "
                f"{self.first.operator} {self.first.node!r} (tensor {self.first.tensor!r}), by "
                f"{self.first.difference:.2g} of its range; the bound is {self.bound:g}"
            )


def bisect_graph(
    graph: str,
    names: Sequence[str],
    *,
    bound: float,
    engines_dir: Path | None,
    bundle: str | None,
    json: bool,
) -> None:
    """Compare, print, and raise ``VerificationError`` if a layer differs.

    Raises ``UsageError`` unless there are two engines and a graph of that name, and if Polygraphy
    is missing.
    """
    from nvc_engines import open_engine
    from nvc_runtime import open_bundle

    if len(names) != 2:
        raise UsageError(f"--bisect compares two engines, found {len(names)} in --engines")
    if not bound >= 0.0:
        raise UsageError(f"--bound is {bound}, expected 0 or more")
    opened = open_bundle(bundle)
    if graph not in opened.manifest.graphs:
        known = ", ".join(sorted(opened.manifest.graphs))
        raise UsageError(f"bundle {opened.name} has no graph {graph!r}; it has {known}")
    _check_polygraphy()
    with (
        open_engine(names[0], engines_dir=engines_dir) as first,
        open_engine(names[1], engines_dir=engines_dir) as second,
    ):
        result = bisect(opened, graph, (first, second), (names[0], names[1]), bound)
    if json:
        print_json(result.to_json())
    else:
        _print(result)
    result.check()


def bisect(
    bundle: Bundle, graph: str, engines: tuple[Engine, Engine], names: tuple[str, str], bound: float
) -> Bisection:
    """Run one graph of a bundle on both engines and compare all its layers."""
    from nvc_engines import GraphSource

    onnx, layers = _with_all_outputs(bundle.graph(graph).onnx)
    inputs = _inputs(bundle, graph)
    source = GraphSource.from_onnx(graph, onnx)
    expected, found = (_run(engine, source, inputs) for engine in engines)
    compared = []
    for tensor, (node, operator) in layers.items():
        compared.append(Layer(tensor, node, operator, _difference(expected[tensor], found[tensor])))
    first = next((layer for layer in compared if layer.difference > bound), None)
    largest = max(compared, key=lambda layer: layer.difference)
    return Bisection(graph, names, bound, len(compared), first, largest)


def _difference(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Return the largest difference over the range; infinity for NaN, or an infinity on one side.

    The same infinity on both sides, as in a mask, is no difference and belongs to no range.
    """
    finite = np.abs(expected[np.isfinite(expected)])
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(expected - found)[expected != found].max(initial=0.0)
    return float(error) / max(1.0, float(finite.max(initial=0.0))) if np.isfinite(error) else np.inf


def _check_polygraphy() -> None:
    try:
        import onnx  # noqa: F401
        from polygraphy.backend.onnx import ModifyOutputs  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f'--bisect needs Polygraphy ({error.name} is not installed): pip install "nvc[export]"'
        ) from error


def _with_all_outputs(data: bytes) -> tuple[bytes, dict[str, tuple[str, str]]]:
    """Return the model with every float tensor as an output, and tensor -> (node, operator)."""
    import onnx
    from polygraphy.backend.onnx import ModifyOutputs

    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    values = (*model.graph.value_info, *model.graph.output)
    tensors = [v for v in values if v.type.tensor_type.HasField("shape")]
    floats = {v.name for v in tensors if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    layers = {
        tensor: (node.name, node.op_type)
        for node in model.graph.node
        for tensor in node.output
        if tensor in floats and node.op_type != "Constant"
    }
    marked = ModifyOutputs(model, outputs=list(layers))()
    declared = {value.name: value for value in values}
    for output in marked.graph.output:
        output.CopyFrom(declared[output.name])
    return marked.SerializeToString(), layers


def _inputs(bundle: Bundle, graph: str) -> dict[str, NDArray[np.float32]]:
    """Return seeded random inputs for a frame of one by two blocks; symbols are whole numbers."""
    rng, manifest = np.random.default_rng(SEED), bundle.manifest
    inputs = {}
    for name in manifest.graphs[graph].inputs:
        shape = manifest.tensors[name].shape(manifest.alignment, BLOCKS * manifest.alignment)
        sample = rng.random(shape, dtype=np.float32)
        symbols = name.endswith(("_z", "_0", "_1"))
        inputs[name] = np.rint(sample * 4 - 2) if symbols else sample
    return inputs


def _run(
    engine: Engine, source: Any, inputs: dict[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    graph = engine.load(source, {name: array.shape for name, array in inputs.items()})
    outputs = graph.run({name: engine.upload(array) for name, array in inputs.items()})
    return {name: engine.download(tensor) for name, tensor in outputs.items()}


def _print(result: Bisection) -> None:
    print(f"{result.graph}: {result.layers} layers, bound {result.bound:g}")
    for title, layer in (("first beyond", result.first), ("largest", result.largest)):
        if layer is not None:
            print(
                f"{title}: {layer.difference:.3g} in {layer.operator} {layer.node} ({layer.tensor})"
            )
