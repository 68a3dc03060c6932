"""What a graph consists of, read from its ONNX bytes: operators, parameters, origin of nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import onnx

from nvc_engines import GraphSource
from nvc_engines.onnx_signature import read_signature
from nvc_errors import EngineError

STANDARD_DOMAINS: Final = ("", "ai.onnx")
MODULE_KEY: Final = "namespace"
_SCOPE_KEYS: Final = (MODULE_KEY, "pkg.torch.onnx.name_scopes")
"""Metadata in which exporters keep the path of the module a node was traced from."""


@dataclass(frozen=True)
class Operator:
    """One node: ``type`` is prefixed by its domain unless that is ONNX's own.

    ``module`` is the path of the module it comes from, "" if nothing tells.
    """

    type: str
    node: str
    module: str


@dataclass(frozen=True)
class GraphContent:
    """Inputs and outputs with their dimensions (None: free), parameters, and nodes in order."""

    inputs: dict[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    parameters: int
    parameter_bytes: int
    operators: tuple[Operator, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of nodes by operator, the most frequent first."""
        counted = Counter(operator.type for operator in self.operators)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def content_from_graph(source: GraphSource) -> GraphContent:
    """Return what ``source`` consists of, including functions and subgraphs.

    Parameters are the elements of float32 initializers. Raises ``EngineError`` for bytes that
    are no ONNX model.
    """
    signature = read_signature(source.name, source.onnx)
    try:
        model = onnx.load_from_string(source.onnx)
    except Exception as error:
        raise EngineError(
            f"graph {source.name!r} is not an ONNX model ({len(source.onnx)} bytes: "
            f"{' '.join(str(error).split())}); export it again or fetch the bundle again"
        ) from error
    functions = {(f.domain, f.name): f for f in model.functions}
    parameters = sum(
        _elements(tensor.dims)
        for graph in _graphs(model.graph)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    )
    weights = {tensor.name for graph in _graphs(model.graph) for tensor in graph.initializer}
    operators = tuple(_operators(model.graph.node, functions, weights, ""))
    return GraphContent(signature.inputs, signature.outputs, parameters, 4 * parameters, operators)


def _operators(
    nodes: Any, functions: dict[tuple[str, str], Any], weights: set[str], caller: str
) -> Iterator[Operator]:
    for node in nodes:
        module = _module_of(node, weights) or caller
        function = functions.get((node.domain, node.op_type))
        if function is not None:
            inner = {key: value for key, value in functions.items() if value is not function}
            yield from _operators(function.node, inner, weights, module or function.name)
            continue
        domain = "" if node.domain in STANDARD_DOMAINS else f"{node.domain}::"
        yield Operator(f"{domain}{node.op_type}", node.name, module)
        for graph in _subgraphs(node):
            yield from _operators(graph.node, functions, weights, module)


def _module_of(node: Any, weights: set[str]) -> str:
    """Return the module's path from the exporter's metadata, or from the name of a weight."""
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    for key in _SCOPE_KEYS:
        if metadata.get(key):
            return str(metadata[key]).strip("[]'\" ")
    for name in node.input:
        if name in weights and "." in name:
            return str(name).rpartition(".")[0]
    return ""


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for inner in _subgraphs(node):
            yield from _graphs(inner)


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def _elements(dims: Any) -> int:
    count = 1
    for dim in dims:
        count *= dim
    return count
