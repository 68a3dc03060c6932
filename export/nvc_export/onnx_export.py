"""PyTorch graphs to ONNX, with dynamic frame size."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Final

import onnx
import torch
from torch import Tensor

from nvc_export.lint import REFUSED_SOMEWHERE
from nvc_export.messages import quiet_exporter
from nvc_export.onnx_passes import simplify
from nvc_export.operators import MODULE_KEY
from nvc_models.graph import CodecGraph, CodecGraphs

OPSET = 20
_SYMBOLS: Final = re.compile(r"(?<!_features)_(z|\d+|expected|symbols|vectors)$")
"""Names of tensors that hold whole numbers."""
_SCOPES_KEY: Final = "pkg.torch.onnx.name_scopes"
EXAMPLE_BLOCKS = (3, 5)
"""Height and width, in units of the alignment, of the tensors a graph is traced with."""


def example_inputs(
    codec: CodecGraphs, graph: CodecGraph, blocks: tuple[int, int] = EXAMPLE_BLOCKS
) -> list[Tensor]:
    """Random inputs of a graph for a frame of ``blocks`` alignment units, each float32 NCHW."""
    height, width = (codec.alignment * b for b in blocks)
    generator = torch.Generator().manual_seed(1)
    inputs = []
    for name in graph.inputs:
        if name in codec.quality_vectors:
            vector = codec.quality_vectors[name][32]
            inputs.append(vector.reshape(1, -1, 1, 1).clone())
            continue
        shape = codec.tensors[name]
        size = (1, shape.channels, height // shape.stride, width // shape.stride)
        sample = torch.rand(size, generator=generator)
        inputs.append(torch.round(sample * 4 - 2) if _SYMBOLS.search(name) else sample)
    return inputs


def export_graph(codec: CodecGraphs, graph: CodecGraph, metadata: Mapping[str, str]) -> bytes:
    """Return the serialized ONNX model of a graph: FP32, inputs and outputs named, H, W dynamic."""
    rows, columns = torch.export.Dim("rows", min=1), torch.export.Dim("columns", min=1)
    shapes: list[dict[int, object] | None] = []
    for name in graph.inputs:
        if name in codec.quality_vectors:
            shapes.append(None)
            continue
        factor = codec.alignment // codec.tensors[name].stride
        shapes.append({2: _times(rows, factor), 3: _times(columns, factor)})
    inputs = tuple(example_inputs(codec, graph))
    module = _Positional(graph.module).eval()
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=(tuple(shapes),),
            optimize=False,
            verbose=False,
        )
        assert program is not None
        simplify(program.model)
    return _finish(program.model_proto, graph, metadata)


class _Positional(torch.nn.Module):
    """Gives every graph the same signature: a tuple of tensors."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        result: Tensor | tuple[Tensor, ...] = self.module(*inputs)
        return result


def _module_of(node: onnx.NodeProto) -> str:
    """Return the path of the module that the exporter says a node comes from, or ""."""
    scopes = {e.key: e.value for e in node.metadata_props}.get(_SCOPES_KEY)
    if scopes is None:
        return ""
    # From the outermost module, which is _Positional, to the operator itself.
    path: str = [*ast.literal_eval(scopes), ""][-3:][0]
    return path.removeprefix("module").removeprefix(".")


def _times(dim: object, factor: int) -> object:
    return dim if factor == 1 else factor * dim  # type: ignore[operator]


def _keep_narrow_indices(graph: onnx.GraphProto) -> None:
    """Let ``GatherElements`` take int32 indices as the models give them; the exporter widens them.

    Half the bytes for each sample that is fetched, which is what fetching costs.
    """
    int32 = onnx.TensorProto.INT32
    narrow = {v.name for v in graph.value_info if v.type.tensor_type.elem_type == int32}
    makers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        cast = makers.get(node.input[1]) if node.op_type == "GatherElements" else None
        if cast is not None and cast.op_type == "Cast" and cast.input[0] in narrow:
            node.input[1] = cast.input[0]
    used = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    unused = [n for n in graph.node if n.op_type == "Cast" and not used.intersection(n.output)]
    for node in unused:
        graph.node.remove(node)


def _finish(model: onnx.ModelProto, graph: CodecGraph, metadata: Mapping[str, str]) -> bytes:
    """Drop what varies between machines or runs (doc strings, traces), add our metadata, check.

    Nodes that some target cannot run keep the module they come from, for the lint.
    """
    model.doc_string = ""
    model.producer_name, model.producer_version = "nvc", ""
    model.graph.name = graph.name
    _keep_narrow_indices(model.graph)
    for node in model.graph.node:
        node.doc_string = ""
        module = _module_of(node)
        del node.metadata_props[:]
        if node.op_type in REFUSED_SOMEWHERE and module:
            entry = node.metadata_props.add()
            entry.key, entry.value = MODULE_KEY, module
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    for key, text in sorted(metadata.items()):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text
    onnx.checker.check_model(model, full_check=True)
    for what, values, expected in (
        ("inputs", model.graph.input, graph.inputs),
        ("outputs", model.graph.output, graph.outputs),
    ):
        found = [value.name for value in values]
        if found != expected:
            raise ValueError(f"graph {graph.name}: exported {what} {found}, expected {expected}")
    data: bytes = model.SerializeToString(deterministic=True)
    return data
