from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvc_engines import GraphSource
from nvc_engines.onnx_signature import read_signature
from nvc_engines.probe_graph import probe_source
from nvc_errors import EngineError

PROBE = probe_source().onnx
HEAD = PROBE[:64]


def test_the_signature_is_what_the_file_declares(codec_graph: GraphSource) -> None:
    signature = read_signature("codec", codec_graph.onnx)
    assert signature.inputs == {"x": (1, 3, None, None), "flow": (1, None, None, 2)}
    assert signature.outputs == ("warped", "large")


def test_an_initialized_input_is_no_input() -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    weight = onnx.numpy_helper.from_array(np.ones(1, np.float32), "w")
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", 1, [1]), value("w", 1, [1])], [value("y", 1, [1])], [weight]
    )
    model = onnx.helper.make_model(graph).SerializeToString()
    assert read_signature("g", model).inputs == {"x": (1,)}


def test_a_tensor_that_is_not_float32_is_refused_by_name() -> None:
    helper = pytest.importorskip("onnx").helper
    value = helper.make_tensor_value_info
    node = helper.make_node("Shape", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [value("x", 1, [1, 1])], [value("y", 7, [2])])
    with pytest.raises(EngineError, match=r"has 'y' as int64; .* Cast inside"):
        read_signature("g", helper.make_model(graph).SerializeToString())


def test_the_probe_is_a_valid_model() -> None:
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(onnx.load_from_string(PROBE), full_check=True)
    shape = (1, 32, 16, 16)
    assert read_signature("probe", PROBE).inputs == {"x": shape}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with pytest.raises(EngineError, match="'any'"):
        read_signature("any", content)


@given(st.integers(0, len(PROBE) - 1))
def test_every_truncation_is_refused(length: int) -> None:
    opset_bytes = 4  # The last message, which a signature does not need.
    if length == len(PROBE) - opset_bytes:
        return
    with pytest.raises(EngineError):
        read_signature("cut", PROBE[:length])


@given(st.integers(0, 8 * len(PROBE) - 1))
def test_a_flipped_bit_is_read_or_refused(bit: int) -> None:
    flipped = bytearray(PROBE)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        signature = read_signature("flipped", bytes(flipped))
    except EngineError:
        return
    assert signature.outputs


def test_a_source_is_checked_against_its_digest() -> None:
    source = probe_source()
    with pytest.raises(EngineError, match="expected " + source.sha256):
        GraphSource("probe", source.onnx + b"\0", source.sha256)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "a\n", "x" * 101])
def test_a_graph_name_must_be_a_file_name(name: str) -> None:
    with pytest.raises(EngineError, match="graph name"):
        GraphSource.from_onnx(name, HEAD)
