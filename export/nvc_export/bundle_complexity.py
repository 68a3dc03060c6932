"""Parameters and multiply-accumulate operations of a bundle, from its ONNX graphs.

The count is that of :mod:`nvc_export.complexity`, without the PyTorch model: each graph runs once
on ONNX Runtime, for a square of blocks, with every convolution's input and output beside its own
outputs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from nvc_engines import GraphSource, Shape
from nvc_errors import EngineError
from nvc_export.complexity import BLOCKS, PROGRAMS, Convolution, GraphCost, ProgramCost
from nvc_export.onnx_passes import fold_all_constants
from nvc_export.operators import content_from_graph
from nvc_runtime.bundle import Bundle, RunStep

CONVOLUTIONS = ("Conv", "ConvTranspose")


def complexity_from_bundle(bundle: Bundle) -> tuple[ProgramCost, ...]:
    """Measure the intra and the inter program of a bundle.

    A layer that two graphs share is known by its weights. Raises ``EngineError`` for a graph that
    ONNX Runtime does not run, ``BundleError`` for a damaged bundle.
    """
    manifest = bundle.manifest
    side = BLOCKS * manifest.alignment
    found: dict[str, tuple[Convolution, ...]] = {}
    costs = []
    for program in PROGRAMS:
        graphs = []
        for step in getattr(manifest, program).steps:
            if not isinstance(step, RunStep):
                continue
            name = step.graph
            if name not in found:
                inputs = manifest.graphs[name].inputs
                shapes = {i: manifest.tensors[i].shape(side, side) for i in inputs}
                found[name] = convolutions_of_graph(bundle.graph(name), shapes)
            graphs.append(GraphCost(name, not step.encode_only, found[name], side))
        costs.append(ProgramCost(program, tuple(graphs)))
    return tuple(costs)


def convolutions_of_graph(
    source: GraphSource, inputs: Mapping[str, Shape]
) -> tuple[Convolution, ...]:
    """Run a graph on ones of the shapes ``inputs`` and record its convolutions.

    Raises ``EngineError`` as :func:`complexity_from_bundle` does.
    """
    content_from_graph(source)
    folded = ir.from_proto(onnx.load_from_string(source.onnx))
    fold_all_constants(folded)
    model = ir.to_proto(folded)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in CONVOLUTIONS]
    shapes = _shapes(model, source.name, inputs, nodes)
    convolutions = []
    for node in nodes:
        tensors = [weights[name] for name in node.input[1:] if name in weights]
        if len(tensors) != sum(bool(name) for name in node.input[1:]):
            raise EngineError(
                f"graph {source.name!r}: the weights of {node.name or node.op_type} are computed, "
                "not stored; export the bundle again"
            )
        # Every weight meets every position of the output; a transposed one, of the input.
        batch, _, *places = shapes[
            node.input[0] if node.op_type == "ConvTranspose" else node.output[0]
        ]
        digest = hashlib.sha256(b"".join(tensor.tobytes() for tensor in tensors)).digest()
        convolutions.append(
            Convolution(
                int.from_bytes(digest),
                sum(tensor.size for tensor in tensors),
                tensors[0].size * batch * math.prod(places),
            )
        )
    return tuple(convolutions)


def _shapes(
    model: Any, graph: str, inputs: Mapping[str, Shape], nodes: Sequence[Any]
) -> dict[str, Shape]:
    """Return the shapes of what enters and leaves ``nodes``, which become outputs of ``model``."""
    wanted = sorted(
        {name for node in nodes for name in (node.input[0], node.output[0])} - {*inputs}
    )
    declared = {value.name for value in model.graph.output}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in wanted if name not in declared
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    feeds = {name: np.ones(shape, np.float32) for name, shape in inputs.items()}
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        outputs = session.run(wanted, feeds) if wanted else []
    except Exception as error:
        raise EngineError(
            f"graph {graph!r} does not run on ONNX Runtime: {' '.join(str(error).split())}"
        ) from error
    found = {name: tuple(array.shape) for name, array in zip(wanted, outputs, strict=True)}
    return {**inputs, **found}
