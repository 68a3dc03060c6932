"""The same graph on every backend: results agree, and so does what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from nvc_engines import Engine, GraphSource, Shape, open_engine, parse_engine_spec
from nvc_engines.probe_graph import TOLERANCE, check_precision
from nvc_errors import EngineError, EngineUnavailableError

REFERENCE = "ort:cpu,opt=none,threads=1"
CPU_ENGINES = [
    "ort:cpu,threads=1",
    "ort:cpu,opt=extended,threads=1",
    "ort:cpu,opt=basic,threads=2",
    REFERENCE,
    "openvino:cpu,threads=1",
    "torch:cpu,threads=1",
    "torch:cpu,threads=2",
    "torch:cpu,channels_last=1,threads=1",
    "torch:cpu,mkldnn=0,threads=1",
]
GPU_ENGINES = ["ort:cuda", "torch:cuda", "torch:cuda,cuda_graphs=0"]
SIZES = [(12, 16), (20, 10)]
LIMIT = 1e-4


@pytest.fixture(
    params=[*CPU_ENGINES, *(pytest.param(name, marks=pytest.mark.gpu) for name in GPU_ENGINES)]
)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    spec = parse_engine_spec(request.param)
    if spec.backend in ("openvino", "torch"):
        pytest.importorskip(spec.backend)
    try:
        opened = open_engine(spec)
    except EngineUnavailableError:
        if spec.device != "cuda":
            raise
        pytest.skip(f"{spec} is not available on this machine")
    with opened:
        yield opened


def shapes_of(height: int, width: int) -> dict[str, Shape]:
    return {"x": (1, 3, height, width), "flow": (1, height, width, 2)}


def inputs_of(height: int, width: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(height)
    shapes = shapes_of(height, width)
    return {
        "x": rng.random(shapes["x"], np.float32),
        "flow": rng.random(shapes["flow"], np.float32) * 2.2 - np.float32(1.1),
    }


def run(
    engine: Engine, source: GraphSource, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    graph = engine.load(source, {name: array.shape for name, array in inputs.items()})
    outputs = graph.run({name: engine.upload(array) for name, array in inputs.items()})
    assert tuple(outputs) == graph.output_names
    return {name: engine.download(tensor) for name, tensor in outputs.items()}


def test_results_agree_with_the_reference_at_two_sizes(
    engine: Engine, codec_graph: GraphSource
) -> None:
    with open_engine(REFERENCE) as reference:
        for size in SIZES:
            inputs = inputs_of(*size)
            expected = run(reference, codec_graph, inputs)
            found = run(engine, codec_graph, inputs)
            assert found.keys() == {"warped", "large"}
            for name, array in found.items():
                assert array.dtype == np.float32
                assert array.flags.c_contiguous
                assert array.shape == expected[name].shape
                assert expected[name].std() > 0.05
                np.testing.assert_allclose(array, expected[name], rtol=0, atol=LIMIT)


def test_two_sizes_can_be_loaded_at_once(engine: Engine, codec_graph: GraphSource) -> None:
    graphs = [engine.load(codec_graph, shapes_of(*size)) for size in SIZES]
    for graph, size in zip([*graphs, *graphs], [*SIZES, *SIZES], strict=True):
        tensors = {name: engine.upload(array) for name, array in inputs_of(*size).items()}
        assert engine.download(graph.run(tensors)["warped"]).shape == (1, 3, *size)


def test_a_run_repeats_bit_for_bit_and_owns_its_outputs(
    engine: Engine, codec_graph: GraphSource
) -> None:
    inputs = inputs_of(*SIZES[0])
    untouched = {name: array.copy() for name, array in inputs.items()}
    graph = engine.load(codec_graph, shapes_of(*SIZES[0]))
    tensors = {name: engine.upload(array) for name, array in inputs.items()}
    first = graph.run(tensors)["large"]
    before = engine.download(first).copy()
    other = {name: engine.upload(array * np.float32(0.5)) for name, array in inputs.items()}
    assert not np.array_equal(engine.download(graph.run(other)["large"]), before)
    again = engine.download(graph.run(tensors)["large"])
    np.testing.assert_array_equal(again, before)
    np.testing.assert_array_equal(engine.download(first), before)
    for name, array in inputs.items():
        np.testing.assert_array_equal(array, untouched[name])


def test_outputs_go_into_the_next_graph_without_leaving_the_engine(
    engine: Engine, codec_graph: GraphSource
) -> None:
    inputs = inputs_of(*SIZES[0])
    graph = engine.load(codec_graph, shapes_of(*SIZES[0]))
    flow = engine.upload(inputs["flow"])
    once = graph.run({"x": engine.upload(inputs["x"]), "flow": flow})
    twice = graph.run({"x": once["warped"], "flow": flow})["warped"]
    through_host = run(
        engine, codec_graph, {"x": engine.download(once["warped"]), "flow": inputs["flow"]}
    )
    np.testing.assert_array_equal(engine.download(twice), through_host["warped"])


def test_the_engine_really_computes_in_fp32(engine: Engine) -> None:
    assert engine.info.precision == "fp32"
    assert check_precision(engine) <= TOLERANCE


def test_the_engine_says_what_it_is(engine: Engine) -> None:
    info = engine.info
    assert info.backend_version.split()[1][0].isdigit()
    assert info.device_name
    if info.spec.device == "cpu":
        assert info.threads == int(info.spec.options["threads"])
    else:
        assert info.flags["tf32"] == "off"


def test_read_only_and_strided_arrays_can_be_uploaded(
    engine: Engine, codec_graph: GraphSource
) -> None:
    inputs = inputs_of(*SIZES[0])
    expected = run(engine, codec_graph, inputs)
    awkward = {name: np.asfortranarray(array) for name, array in inputs.items()}
    for array in awkward.values():
        array.flags.writeable = False
    found = run(engine, codec_graph, awkward)
    np.testing.assert_array_equal(found["warped"], expected["warped"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda inputs: inputs.pop("flow"), "missing flow; expected exactly flow, x"),
        (lambda inputs: inputs.update(z=inputs["x"]), "unknown z; expected exactly flow, x"),
        (
            lambda inputs: inputs.update(x=inputs["flow"]),
            r"'x' of graph 'codec' has shape \(1, 12, 16, 2\).* loaded for \(1, 3, 12, 16\)",
        ),
        (lambda inputs: inputs.update(x=[0.0]), "'x' of graph 'codec' is a list"),
    ],
    ids=["missing", "unknown", "shape", "type"],
)
def test_wrong_inputs_are_refused(
    engine: Engine, codec_graph: GraphSource, change: object, says: str
) -> None:
    graph = engine.load(codec_graph, shapes_of(*SIZES[0]))
    inputs = {name: engine.upload(array) for name, array in inputs_of(*SIZES[0]).items()}
    assert callable(change)
    change(inputs)
    with pytest.raises(EngineError, match=says):
        graph.run(inputs)


def test_wrong_dtypes_are_refused(engine: Engine) -> None:
    with pytest.raises(EngineError, match="float64 array"):
        engine.upload(np.zeros((1, 3, 12, 16)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"x": (1, 3, 12, 16)}, "missing flow"),
        ({"x": (1, 4, 12, 16), "flow": (1, 12, 16, 2)}, r"declares \(1, 3, any, any\)"),
        ({"x": (1, 3, 12), "flow": (1, 12, 16, 2)}, r"shape \(1, 3, 12\)"),
        ({"x": (1, 3, 0, 16), "flow": (1, 0, 16, 2)}, r"shape \(1, 3, 0, 16\)"),
    ],
    ids=["missing", "channels", "rank", "zero"],
)
def test_wrong_shapes_are_refused_when_the_graph_loads(
    engine: Engine, codec_graph: GraphSource, shapes: dict[str, Shape], says: str
) -> None:
    with pytest.raises(EngineError, match=says):
        engine.load(codec_graph, shapes)


def test_bad_model_bytes_are_refused(engine: Engine, codec_graph: GraphSource) -> None:
    for onnx in (b"", b"not a model", codec_graph.onnx[:-40]):
        with pytest.raises(EngineError, match="'bad'"):
            engine.load(GraphSource.from_onnx("bad", onnx), shapes_of(*SIZES[0]))


def test_an_operator_nobody_has_is_refused_when_the_graph_loads(engine: Engine) -> None:
    helper = pytest.importorskip("onnx").helper
    node = helper.make_node("Frobnicate", ["x"], ["y"])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("x", 1, [1, 1, 2, 2])], [value("y", 1, [1, 1, 2, 2])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    source = GraphSource.from_onnx("odd", model.SerializeToString())
    with pytest.raises(EngineError, match="Frobnicate"):
        engine.load(source, {"x": (1, 1, 2, 2)})


def test_a_closed_engine_loads_nothing(engine: Engine, codec_graph: GraphSource) -> None:
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.load(codec_graph, shapes_of(*SIZES[0]))
    engine.close()
