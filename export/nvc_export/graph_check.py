"""Check exported graphs against the modules they were made of, with Polygraphy's comparator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
from polygraphy.common import TensorMetadata
from polygraphy.comparator import Comparator, CompareFunc
from polygraphy.logger import G_LOGGER

from nvc_errors import VerificationError
from nvc_export.onnx_export import example_inputs
from nvc_models.graph import CodecGraph, CodecGraphs

TOLERANCE: Final = 1e-4
"""Largest difference, relative to the largest value of an output or to 1 if that is smaller."""
DECIDING: Final = frozenset({"Round", "Floor", "Less", "Greater", "Where"})
"""Operators that turn a last bit into a step: their graphs are judged by the mean difference."""
CHECK_BLOCKS: Final = (1, 2)
"""Height and width, in units of the alignment, of the frame that graphs are checked with."""


class _ModuleRunner(BaseRunner):  # type: ignore[misc]
    """Runs a graph's module in PyTorch, as one of Polygraphy's runners."""

    def __init__(self, graph: CodecGraph) -> None:
        super().__init__(name="torch", prefix="torch")
        self.graph = graph

    def get_input_metadata_impl(self) -> TensorMetadata:
        metadata = TensorMetadata()
        for name in self.graph.inputs:
            metadata.add(name, np.float32, (None, None, None, None))
        return metadata

    def infer_impl(self, feed_dict: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
        inputs = [torch.from_numpy(feed_dict[name]) for name in self.graph.inputs]
        start = time.perf_counter()
        with torch.no_grad():
            found = self.graph.module.eval()(*inputs)
        self.inference_time = time.perf_counter() - start
        outputs = (found,) if isinstance(found, torch.Tensor) else found
        return {
            name: np.ascontiguousarray(output.numpy())
            for name, output in zip(self.graph.outputs, outputs, strict=True)
        }


def check_graph(codec: CodecGraphs, graph: CodecGraph, data: bytes) -> float:
    """Run an exported graph on ONNX Runtime and compare it with its module.

    Returns the largest difference of any output, relative as :data:`TOLERANCE` is. Raises
    ``VerificationError`` naming graph and output if one is too large, or of another shape.
    """
    inputs = example_inputs(codec, graph, CHECK_BLOCKS)
    feed = {name: x.numpy() for name, x in zip(graph.inputs, inputs, strict=True)}
    level = G_LOGGER.module_severity
    G_LOGGER.module_severity = G_LOGGER.CRITICAL
    try:
        results = Comparator.run(
            [_ModuleRunner(graph), OnnxrtRunner(SessionFromOnnx(data))], data_loader=[feed]
        )
        expected, found = (iterations[0] for _, iterations in results.items())
        scale = {name: max(1.0, float(np.abs(expected[name]).max())) for name in graph.outputs}
        operators = {node.op_type for node in onnx.load_from_string(data).graph.node}
        compared = Comparator.compare_accuracy(
            results,
            compare_func=CompareFunc.simple(
                rtol=0.0,
                atol={name: TOLERANCE * scale[name] for name in graph.outputs},
                check_error_stat="mean" if operators & DECIDING else "max",
            ),
        )
    finally:
        G_LOGGER.module_severity = level
    differences: dict[str, float] = {}
    for name in graph.outputs:
        if expected[name].shape != found[name].shape:
            raise VerificationError(
                f"graph {graph.name!r}, output {name!r}: exported with shape {found[name].shape}, "
                f"PyTorch gives {expected[name].shape}; report this, and do not ship the bundle"
            )
        differences[name] = float(np.abs(expected[name] - found[name]).max()) / scale[name]
    worst = max(differences, key=lambda name: differences[name])
    if not compared:
        raise VerificationError(
            f"graph {graph.name!r}, output {worst!r}: ONNX Runtime and PyTorch differ by up to "
            f"{differences[worst]:.2g} of its range, allowed is {TOLERANCE:g}; report this, and do "
            "not ship the bundle"
        )
    return differences[worst]
