"""What passes leave out of an exported graph, and that it computes the same without."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor, nn

from nvc_export.messages import quiet_exporter
from nvc_export.onnx_passes import simplify


class Wasteful(nn.Module):
    """Products with 1, sums with 0, slices of everything, dimensions added twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.one: Tensor
        self.register_buffer("one", torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        x = 1.0 * (self.conv(x) * self.one) + 0.0
        x = x[:, :, 0:][:, 0:3]
        return x[:, None, None].squeeze(1).squeeze(1)


class Sliced(nn.Module):
    """Slices along two axes, and along one of them again."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 1:-2, 2:-1] + x[:, :, 2:-1, 1:][..., 1:-1]


def export(module: nn.Module) -> ir.Model:
    rows = torch.export.Dim("rows", min=4)
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (torch.rand(1, 3, 6, 5),),
            dynamo=True,
            dynamic_shapes=({2: rows},),
            optimize=False,
            verbose=False,
        )
    assert program is not None
    return program.model


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: x})
    return result


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def test_nodes_that_do_nothing_are_left_out() -> None:
    model = export(Wasteful())
    before = operators(model)
    assert before["Mul"] == 2
    assert before["Add"] == 1
    x = np.random.default_rng(1).random((1, 3, 7, 5), np.float32)
    expected = run(model, x)
    simplify(model)
    left = operators(model)
    assert left["Conv"] == 1
    assert not {"Add", "Mul", "Identity", "Slice"} & set(left), left
    np.testing.assert_array_equal(run(model, x), expected)


def test_simplifying_twice_changes_nothing() -> None:
    model = export(Wasteful())
    simplify(model)
    once = ir.to_proto(model).SerializeToString(deterministic=True)
    simplify(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == once


def test_slices_along_two_axes_become_one_and_those_along_one_stay() -> None:
    model = export(Sliced())
    assert operators(model)["Slice"] == 5
    x = np.random.default_rng(2).random((1, 3, 7, 5), np.float32)
    expected = run(model, x)
    assert expected.shape == (1, 3, 4, 2)
    simplify(model)
    assert operators(model) == {"Slice": 3, "Add": 1}
    np.testing.assert_array_equal(run(model, x), expected)
