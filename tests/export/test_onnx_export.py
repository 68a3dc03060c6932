"""Every exported graph gives what its PyTorch module gives, and holds nothing unexpected."""

from __future__ import annotations

import logging

import onnx
import pytest
import torch
from exported_codec import Exported
from tiny_codec import TINY_SEPARABLE, moving_picture, random_codec
from torch import Tensor, nn
from torch_program import tensors_of_frames

from nvc_engines import GraphSource, gpu_named, open_engine
from nvc_export.lint import lint_graphs
from nvc_export.messages import quiet_exporter
from nvc_export.onnx_export import OPSET, example_inputs, export_graph
from nvc_models.graph import CodecGraph, CodecGraphs, TensorShape
from nvc_models.tian2023.graphs import graphs_from_model

TOLERANCE = 1e-4
"""Largest difference, as a share of the largest magnitude of a tensor."""

ALLOWED_OPERATORS = {
    "Abs",
    "Add",
    "AveragePool",
    "Cast",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Conv",
    "DepthToSpace",
    "Div",
    "Expand",
    "Floor",
    "Gather",
    "GatherElements",
    "Greater",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "Pad",
    "Range",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Reshape",
    "Resize",
    "Round",
    "Shape",
    "Sign",
    "Slice",
    "Split",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
}
"""What every engine runs exactly enough: notably no Exp, Log, Pow, Softmax or random numbers."""


@pytest.mark.parametrize("size", [(64, 128), (192, 64)], ids=str)
def test_every_tensor_is_that_of_the_pytorch_module(
    exported: Exported, size: tuple[int, int]
) -> None:
    codec, frames = exported.codec, moving_picture(3, *size)
    if codec.family == "swift":  # noise cannot be foretold: every part has something to code
        torch.manual_seed(1)
        frames = (frames + 0.5 * torch.randn_like(frames)).clamp(0.0, 1.0)
    tensors = tensors_of_frames(codec, frames)
    wrong = []
    with open_engine("ort:cpu,threads=1") as engine:
        for graph in codec.graphs:
            inputs = {name: tensors[name] for name in graph.inputs}
            with torch.no_grad():
                expected = graph.module(*inputs.values())
            arrays = {name: engine.upload(t.numpy()) for name, t in inputs.items()}
            loaded = engine.load(
                exported.bundle.graph(graph.name), {n: t.shape for n, t in arrays.items()}
            )
            outputs = loaded.run(arrays)
            values = (expected,) if isinstance(expected, torch.Tensor) else expected
            for name, value in zip(graph.outputs, values, strict=True):
                found = torch.from_numpy(engine.download(outputs[name]).copy())
                assert found.shape == value.shape, name
                assert float(value.std()) > 0, f"{name} of {graph.name} would hide mistakes"
                difference = float((found - value).abs().max() / value.abs().max().clamp_min(1e-6))
                if not difference <= TOLERANCE:
                    wrong.append((graph.name, name, difference))
    assert wrong == []


def test_graphs_hold_no_unexpected_operator(exported: Exported) -> None:
    for graph in exported.codec.graphs:
        model = onnx.load_from_string(exported.bundle.graph(graph.name).onnx)
        assert {node.op_type for node in model.graph.node} <= ALLOWED_OPERATORS, graph.name
        assert {node.domain for node in model.graph.node} == {""}
        assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
        assert len(model.functions) == 0


def test_graphs_hold_nothing_of_the_machine_they_were_made_on(exported: Exported) -> None:
    for graph in exported.codec.graphs:
        data = exported.bundle.graph(graph.name).onnx
        assert b"site-packages" not in data, graph.name
        assert b".py" not in data, graph.name
        model = onnx.load_from_string(data)
        assert (model.producer_name, model.producer_version) == ("nvc", "")
        assert model.graph.name == graph.name
        metadata = {p.key: p.value for p in model.metadata_props}
        assert metadata == {"nvc.bundle": exported.options.name}


def test_inputs_and_outputs_are_named_float32_with_a_free_frame_size(exported: Exported) -> None:
    for graph in exported.codec.graphs:
        model = onnx.load_from_string(exported.bundle.graph(graph.name).onnx)
        assert [value.name for value in model.graph.input] == graph.inputs
        assert [value.name for value in model.graph.output] == graph.outputs
        for value in (*model.graph.input, *model.graph.output):
            kind = value.type.tensor_type
            assert kind.elem_type == onnx.TensorProto.FLOAT
            dimensions = kind.shape.dim
            assert len(dimensions) == 4
            assert dimensions[0].dim_value == 1
            if value.name not in exported.codec.quality_vectors:
                assert not dimensions[2].dim_value, (graph.name, value.name)
                assert not dimensions[3].dim_value, (graph.name, value.name)


def test_example_inputs_have_the_promised_shapes(exported: Exported) -> None:
    codec = exported.codec
    for graph in codec.graphs:
        for name, sample in zip(graph.inputs, example_inputs(codec, graph, (2, 3)), strict=True):
            assert sample.dtype == torch.float32
            if name not in codec.quality_vectors:
                shape = codec.tensors[name]
                size = (128 // shape.stride, 192 // shape.stride)
                assert sample.shape == (1, shape.channels, *size)


def smallest() -> tuple[CodecGraph, ...]:
    codec = graphs_from_model(random_codec(TINY_SEPARABLE, seed=5))
    return tuple(g for g in codec.graphs if g.name in ("intra_prior", "reference"))


def test_exporting_is_quiet_and_repeatable(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    codec = graphs_from_model(random_codec(TINY_SEPARABLE, seed=5))
    for graph in smallest():
        first = export_graph(codec, graph, {"a": "b"})
        assert export_graph(codec, graph, {"a": "b"}) == first
        assert export_graph(codec, graph, {"a": "c"}) != first
    assert capfd.readouterr().err == ""
    assert caplog.text == ""


def test_a_module_whose_outputs_are_not_the_promised_ones_is_refused() -> None:
    codec = graphs_from_model(random_codec(TINY_SEPARABLE, seed=5))
    graph = next(g for g in codec.graphs if g.name == "reference")
    twice = CodecGraph(graph.name, graph.module, graph.inputs, [*graph.outputs, "ghost"])
    with pytest.raises(Exception, match=r"(?i)output|ghost"):
        export_graph(codec, twice, {})


def test_only_the_known_message_is_held_back(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("onnx_ir._convenience")
    level = logging.getLogger("torch.onnx").level
    empty = "Attribute type is ambiguous because it is an empty sequence. Please ..."
    with quiet_exporter():
        logger.warning(empty)
        logger.warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]
    logger.warning(empty)
    assert len(caplog.records) == 2
    assert logging.getLogger("torch.onnx").level == level


class _Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        flat = x.reshape(b, c, h * w)
        return torch.matmul(flat, torch.matmul(flat.transpose(1, 2), flat)).reshape(b, c, h, w)


class _Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.attention = nn.Conv2d(3, 4, 1), _Attention()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(self.stem(x))
        return y


def test_the_lint_knows_the_module_of_what_a_target_cannot_run() -> None:
    graph = CodecGraph("attending", _Attending(), ["frame"], ["y"])
    shapes = {"frame": TensorShape(3, 1), "y": TensorShape(4, 1)}
    codec = CodecGraphs("test", 16, [graph], shapes, {}, {}, {}, {})
    data = export_graph(codec, graph, {})
    (finding,) = lint_graphs(
        [GraphSource.from_onnx("attending", data)], "tensorrt-rtx", [gpu_named("rtx2080")]
    )
    assert finding.places == tuple(
        f"{name} of module attention" for name in ("node_matmul", "node_matmul_1")
    )
    nodes = onnx.load_from_string(data).graph.node
    assert {n.op_type for n in nodes if n.metadata_props} == {"MatMul"}
