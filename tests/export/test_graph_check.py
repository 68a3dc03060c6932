"""Exported graphs compute what their modules do, and one that does not is found."""

from __future__ import annotations

import pytest
from exported_codec import Exported
from tiny_codec import TINY_SWIFT_M, random_codec

pytest.importorskip("polygraphy", reason="needs nvc[export]")

import onnx

from nvc_errors import VerificationError
from nvc_export.graph_check import TOLERANCE, check_graph
from nvc_export.onnx_export import export_graph
from nvc_models.families import graphs_from_model


def test_every_graph_computes_what_its_module_does(exported: Exported) -> None:
    for graph in exported.codec.graphs:
        data = exported.bundle.graph(graph.name).onnx
        assert check_graph(exported.codec, graph, data) < TOLERANCE


@pytest.mark.parametrize("name", ["inter_context", "inter_synthesis"])
def test_what_other_presets_have_computes_what_its_module_does(name: str) -> None:
    codec = graphs_from_model(random_codec(TINY_SWIFT_M))
    graph = next(g for g in codec.graphs if g.name == name)
    assert check_graph(codec, graph, export_graph(codec, graph, {})) < TOLERANCE


def test_changed_weights_are_found(exported: Exported) -> None:
    graph = next(g for g in exported.codec.graphs if g.name.endswith("inter_synthesis"))
    model = onnx.load_from_string(exported.bundle.graph(graph.name).onnx)
    for weight in model.graph.initializer:
        if len(weight.dims) == 4:
            values = onnx.numpy_helper.to_array(weight) * 1.01
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    with pytest.raises(VerificationError, match=r"'inter_synthesis', output .* do not ship"):
        check_graph(exported.codec, graph, model.SerializeToString())
