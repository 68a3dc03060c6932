"""Counts of parameters and operations, against counts by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_building import block_bundle
from exported_codec import Exported
from tiny_codec import TINY, random_codec
from torch import Tensor, nn

from nvc_engines import GraphSource
from nvc_errors import EngineError
from nvc_export.bundle_complexity import complexity_from_bundle, convolutions_of_graph
from nvc_export.cli.main import run
from nvc_export.complexity import complexity_from_codec, padded_pixels
from nvc_models.graph import CodecGraph, CodecGraphs, TensorShape
from nvc_models.swift.planes import BLOCK, LUMA
from nvc_models.tian2023.graphs import graphs_from_model
from nvc_models.tian2023.motion import FlowEstimator


class _Layers(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


def counted_by_hand() -> CodecGraphs:
    """Two graphs that share a layer: 3 -> 8 at half size, depthwise, 8 -> 8 twice."""
    shared = nn.Conv2d(8, 8, 1)
    encode = _Layers(nn.Conv2d(3, 8, 3, stride=2, padding=1), shared)
    both = _Layers(nn.Conv2d(8, 8, 5, padding=2, groups=8), shared)
    program = {"steps": [{"run": "encode", "side": "encode"}, {"code": "x"}, {"run": "both"}]}
    return CodecGraphs(
        family="test",
        alignment=16,
        graphs=[
            CodecGraph("encode", encode, ["frame"], ["x"]),
            CodecGraph("both", both, ["x"], ["y"]),
        ],
        tensors={"frame": TensorShape(3, 1), "x": TensorShape(8, 2), "y": TensorShape(8, 2)},
        quality_vectors={},
        factorized={},
        shapes={},
        programs={"intra": program, "inter": program},
    )


def test_operations_and_parameters_are_those_counted_by_hand() -> None:
    cost, _ = complexity_from_codec(counted_by_hand())
    encode, both = cost.graphs
    assert encode.parameters == (3 * 9 * 8 + 8) + (8 * 8 + 8)
    assert encode.macs_per_pixel == (3 * 9 * 8 + 8 * 8) / 4
    assert both.parameters == (25 * 8 + 8) + (8 * 8 + 8)
    assert both.macs_per_pixel == (25 * 8 + 8 * 8) / 4
    assert cost.parameters == encode.parameters + both.parameters - (8 * 8 + 8)
    assert cost.decoder_graphs == (both,)
    assert cost.decoder_parameters == both.parameters
    assert cost.macs_per_pixel == encode.macs_per_pixel + both.macs_per_pixel
    assert cost.decoder_macs_per_pixel == both.macs_per_pixel


@pytest.mark.parametrize(
    ("size", "pixels"), [((1280, 768), 1280 * 768), ((1, 1), 64 * 64), ((65, 64), 128 * 64)]
)
def test_frames_are_padded_to_the_alignment(size: tuple[int, int], pixels: int) -> None:
    assert padded_pixels(*size, 64) == pixels


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_codec_is_counted_without_leaving_a_trace(name: str) -> None:
    model = random_codec(TINY[name])
    codec = graphs_from_model(model)
    intra, inter = complexity_from_codec(codec)
    assert (intra.name, inter.name) == ("intra", "inter")
    for cost, part in ((intra, model.intra), (inter, model.inter)):
        convolutions = [m for m in part.modules() if isinstance(m, nn.Conv2d)]
        whole = sum(p.numel() for m in convolutions for p in m.parameters())
        # The derivative in the analytic flow is no layer, but a convolution.
        flows = [m for m in part.modules() if isinstance(m, FlowEstimator) and m.analytic_steps]
        whole += sum(flow.analytic.kernel.numel() for flow in flows)
        # The intra program also makes the feature for the next frame, with the inter model's layer.
        feature = sum(p.numel() for p in model.inter.adapt.parameters())
        assert cost.parameters == whole + (feature if cost is intra else -feature)
        assert 0 < cost.decoder_parameters < cost.parameters
        assert 0 < cost.decoder_macs_per_pixel < cost.macs_per_pixel
    assert not any(m._forward_hooks for m in model.modules())


def test_one_block_stands_for_every_size() -> None:
    codec = graphs_from_model(random_codec(TINY["tiny-separable"]))
    intra, _ = complexity_from_codec(codec)
    graph = next(g for g in codec.graphs if g.name == "intra_synthesis")
    cost = next(g for g in intra.graphs if g.name == "intra_synthesis")
    found = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal found
        assert isinstance(layer, nn.Conv2d)
        found += layer.weight.numel() * output.shape[2] * output.shape[3]

    for layer in graph.module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    shapes = [codec.tensors.get(name) for name in graph.inputs]
    inputs = [
        torch.zeros(1, s.channels, 128 // s.stride, 192 // s.stride)
        if s
        else codec.quality_vectors[name][0].reshape(1, -1, 1, 1)
        for name, s in zip(graph.inputs, shapes, strict=True)
    ]
    with torch.no_grad():
        graph.module(*inputs)
    assert found == cost.macs_per_pixel * 128 * 192


def test_a_bundle_costs_what_its_codec_does(exported: Exported) -> None:
    costs = zip(
        complexity_from_bundle(exported.bundle), complexity_from_codec(exported.codec), strict=True
    )
    for found, expected in costs:
        assert found.decoder_parameters == expected.decoder_parameters
        assert found.decoder_macs_per_pixel == expected.decoder_macs_per_pixel
        for graph, wanted in zip(found.graphs, expected.graphs, strict=True):
            assert (graph.name, graph.decoder) == (wanted.name, wanted.decoder)
            assert graph.parameters == wanted.parameters
            # The search and the choice of bands transform the same blocks; a graph does so once.
            is_search = exported.codec.family == "swift" and graph.name == "motion_analysis"
            twice = LUMA**2 / BLOCK**2 if is_search else 0.0
            assert graph.macs_per_pixel == wanted.macs_per_pixel - twice


def test_a_transposed_convolution_meets_its_weights_at_every_input() -> None:
    onnx = pytest.importorskip("onnx")
    onnx_helper = onnx.helper
    weight = onnx.numpy_helper.from_array(torch.ones(4, 2, 3, 3).numpy(), "weight")
    node = onnx_helper.make_node("ConvTranspose", ["x", "weight"], ["y"], strides=[2, 2])
    value = onnx_helper.make_tensor_value_info
    graph = onnx_helper.make_graph(
        [node], "up", [value("x", 1, [1, 4, "h", "w"])], [value("y", 1, [1, 2, "H", "W"])], [weight]
    )
    model = onnx_helper.make_model(
        graph, opset_imports=[onnx_helper.make_opsetid("", 20)], ir_version=10
    )
    (found,) = convolutions_of_graph(
        GraphSource.from_onnx("up", model.SerializeToString()), {"x": (1, 4, 5, 7)}
    )
    assert (found.parameters, found.macs) == (72, 72 * 5 * 7)


def test_weights_that_a_graph_selects_are_counted_and_those_that_it_is_given_are_not() -> None:
    onnx = pytest.importorskip("onnx")
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    weight, rows = torch.ones(6, 2, 1, 1), torch.tensor([5, 0, 3])
    nodes = [
        helper.make_node("Gather", ["weight", "rows"], ["selected"], axis=0),
        helper.make_node("Conv", ["x", "selected"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    x, y = value("x", 1, [1, 2, "h", "w"]), value("y", 1, [1, 3, "h", "w"])
    constants = [array(weight.numpy(), "weight"), array(rows.numpy(), "rows")]

    def source(given: list[Any], kept: list[Any]) -> GraphSource:
        graph = helper.make_graph(nodes, "selecting", [x, *given], [y], kept)
        opset = [helper.make_opsetid("", 20)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=10)
        return GraphSource.from_onnx("selecting", model.SerializeToString())

    shapes = {"x": (1, 2, 5, 7)}
    (found,) = convolutions_of_graph(source([], constants), shapes)
    assert (found.parameters, found.macs) == (6, 6 * 5 * 7)
    given = value("weight", 1, [6, 2, 1, 1])
    with pytest.raises(EngineError, match="computed, not stored"):
        convolutions_of_graph(source([given], constants[1:]), shapes | {"weight": (6, 2, 1, 1)})


def test_the_command_counts_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = block_bundle(tmp_path / "bundle")
    assert run(["profile", "--bundle", str(bundle.path), "--size", "100x60", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["codec"], data["padded_pixels"]) == ("block", 128 * 64)
    prior = next(g for g in data["programs"][0]["graphs"] if g["name"] == "intra_prior")
    # 2 -> 64 channels by 1x1 at 1/32, and 4 -> 12 by 3x3 at 1/8.
    assert prior["parameters"] == 128 + 432
    assert prior["macs_per_pixel"] == 128 / 32**2 + 432 / 8**2
    damaged = block_bundle(tmp_path / "damaged", {"prior_1": b"no ONNX"})
    assert run(["profile", "--bundle", str(damaged.path)]) == 5
    assert "'prior_1' is not an ONNX model" in capsys.readouterr().err
