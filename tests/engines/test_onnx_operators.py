"""Every operator of the torch interpreter against ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from nvc_errors import EngineError

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

from nvc_engines.onnx_interpreter import Program  # noqa: E402
from nvc_engines.onnx_node import OPERATORS  # noqa: E402

RNG = np.random.default_rng(7)
IR_VERSION = 10


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.abs(floats(*shape)) + np.float32(0.1)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def scalar(value: float, dtype: Any = np.float32) -> np.ndarray:
    return np.array(value, dtype)


@dataclass
class Case:
    """One node: its inputs by position (None: omitted) and its attributes."""

    op: str
    inputs: list[np.ndarray | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 20

    def __str__(self) -> str:
        marks = [f"{key}={value}" for key, value in self.attributes.items()]
        shapes = ["none" if x is None else "x".join(map(str, x.shape)) for x in self.inputs]
        return "-".join([self.op, *shapes, *marks]).replace(" ", "")


X = floats(1, 4, 5, 6)
GRID = (RNG.random((1, 7, 3, 2)) * 2.6 - 1.3).astype(np.float32)
HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997], np.float32)
SIGNED = ints(-7, 7, -7, 7)
DIVISORS = ints(3, -3, -3, 3)


def conv(weight: np.ndarray, *, bias: bool = True, x: np.ndarray = X, **attributes: Any) -> Case:
    inputs: list[np.ndarray | None] = [x, weight]
    inputs += [floats(weight.shape[0])] if bias else []
    return Case("Conv", inputs, attributes)


def deconv(weight: np.ndarray, **attributes: Any) -> Case:
    return Case("ConvTranspose", [X, weight], attributes)


def resize(mode: str, coordinates: str, scales: tuple[float, float], **attributes: Any) -> Case:
    factors = np.array([1.0, 1.0, *scales], np.float32)
    modes = {"mode": mode, "coordinate_transformation_mode": coordinates, **attributes}
    return Case("Resize", [X, None, factors], modes)


CASES = [
    *(Case(op, [X]) for op in ("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish")),
    *(Case(op, [X]) for op in ("Identity", "Neg", "Reciprocal", "Relu", "Sigmoid", "Sign")),
    *(Case(op, [X]) for op in ("Sin", "Softplus", "Tanh")),
    *(Case(op, [positive(2, 3)]) for op in ("Log", "Sqrt")),
    Case("Round", [HALVES]),
    Case("Not", [X > 0]),
    Case("LeakyRelu", [X]),
    Case("LeakyRelu", [X], {"alpha": 0.2}),
    Case("Elu", [X], {"alpha": 0.7}),
    Case("PRelu", [X, floats(4, 1, 1)]),
    Case("Gelu", [X]),
    Case("Gelu", [X], {"approximate": "tanh"}),
    Case("HardSigmoid", [X], {"alpha": 0.3, "beta": 0.4}),
    *(Case(op, [X, floats(6)]) for op in ("Add", "Sub", "Mul", "Div")),
    Case("Div", [SIGNED, DIVISORS]),
    Case("Pow", [positive(3, 4), floats(4)]),
    Case("Pow", [ints(2, 3, 4), scalar(2.0)]),
    Case("Mod", [SIGNED, DIVISORS]),
    Case("Mod", [SIGNED, DIVISORS], {"fmod": 1}),
    Case("Mod", [floats(5), positive(5)], {"fmod": 1}),
    *(Case(op, [X, floats(5, 6), floats(1)]) for op in ("Max", "Min", "Sum")),
    Case("Clip", [X, scalar(-0.5), scalar(0.7)]),
    Case("Clip", [X, None, scalar(0.7)]),
    Case("Clip", [X, scalar(0.1)]),
    Case("Clip", [X]),
    *(Case(op, [HALVES, HALVES[::-1].copy()]) for op in ("Equal", "Less", "Greater")),
    *(Case(op, [HALVES, HALVES[::-1].copy()]) for op in ("LessOrEqual", "GreaterOrEqual")),
    *(Case(op, [X > 0, X < 1]) for op in ("And", "Or", "Xor")),
    Case("Where", [X > 0, X, floats(1)]),
    Case("Cast", [np.array([-1.7, 1.7, 0.0], np.float32)], {"to": 7}),
    Case("Cast", [X], {"to": 9}),
    Case("Cast", [SIGNED], {"to": 1}),
    Case("Softmax", [X]),
    Case("Softmax", [X], {"axis": 1}),
    *(Case(op, [X, ints(1, -1)]) for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1")),
    *(Case(op, [X, ints(2)]) for op in ("ReduceSum", "ReduceL2", "ReduceSumSquare")),
    Case("ReduceSum", [X], {"keepdims": 0}),
    Case("ReduceSum", [X, ints()], {"noop_with_empty_axes": 1}),
    Case("ReduceSum", [SIGNED]),
    Case("ReduceMean", [X], {"axes": [2, 3], "keepdims": 0}, opset=13),
    Case("MatMul", [floats(2, 3, 4), floats(4, 5)]),
    Case("Gemm", [floats(3, 4), floats(5, 4), floats(5)], {"transB": 1, "alpha": 0.5}),
    Case("Gemm", [floats(4, 3), floats(4, 5), floats(5)], {"transA": 1, "beta": 2.0}),
    Case("Gemm", [floats(3, 4), floats(4, 5)]),
    Case("Shape", [X]),
    Case("Shape", [X], {"start": 1, "end": -1}),
    Case("Size", [X]),
    Case("ConstantOfShape", [ints(2, 3)]),
    Case("Range", [scalar(1, np.int64), scalar(9, np.int64), scalar(3, np.int64)]),
    Case("Range", [scalar(2.0), scalar(-1.0), scalar(-0.5)]),
    Case("Reshape", [X, ints(0, 2, -1)]),
    Case("Reshape", [floats(0, 3), ints(3, 0)], {"allowzero": 1}),
    Case("Flatten", [X]),
    Case("Flatten", [X], {"axis": -1}),
    Case("Flatten", [X], {"axis": 0}),
    Case("Transpose", [X]),
    Case("Transpose", [X], {"perm": [0, 2, 3, 1]}),
    Case("Unsqueeze", [X, ints(-1, 0)]),
    Case("Squeeze", [floats(1, 3, 1, 2), ints(0, -2)]),
    Case("Squeeze", [floats(1, 3, 1, 2)]),
    Case("Expand", [floats(3, 1), ints(2, 1, 4)]),
    Case("Tile", [floats(2, 3), ints(2, 2)]),
    Case("Concat", [X, floats(1, 2, 5, 6)], {"axis": 1}),
    Case("Concat", [X, X], {"axis": -1}),
    Case("Split", [X, ints(1, 3)], {"axis": 1}, outputs=2),
    Case("Split", [X], {"axis": 2, "num_outputs": 3}, outputs=3),
    Case("Split", [X], {"axis": -1}, outputs=2, opset=13),
    Case("Slice", [X, ints(1), ints(2**63 - 1), ints(3)]),
    Case("Slice", [X, ints(-3, 0), ints(-1, 100), ints(-1, 1), ints(1, 2)]),
    Case("Slice", [X, ints(-1), ints(-(2**63)), ints(2), ints(-2)]),
    Case("Slice", [X, ints(0, 3), ints(1, 1)]),
    Case("Slice", [X, ints(4), ints(2), ints(3)]),
    Case("Gather", [X, ints(3, -1, 0)], {"axis": 1}),
    Case("Gather", [X, scalar(-2, np.int64)], {"axis": -1}),
    Case("Gather", [ints(5, 6, 7), ints(2, 0).reshape(1, 2)]),
    Case("GatherElements", [X, ints(*range(-3, 3)).reshape(1, 2, 3, 1)], {"axis": 2}),
    Case("GatherElements", [ints(5, 6, 7), ints(2, 0, -1, 2)]),
    Case("GatherND", [X, ints(0, 3, 0, -1).reshape(2, 2)]),
    Case("GatherND", [X, ints(0, 1, 2, 3).reshape(1, 1, 4)]),
    Case("DepthToSpace", [floats(1, 8, 3, 2)], {"blocksize": 2, "mode": "CRD"}),
    Case("DepthToSpace", [floats(1, 8, 3, 2)], {"blocksize": 2, "mode": "DCR"}),
    Case("DepthToSpace", [floats(1, 8, 3, 2)], {"blocksize": 2}),
    Case("SpaceToDepth", [floats(1, 3, 6, 4)], {"blocksize": 2}),
    *(Case("Pad", [X, ints(0, 0, 1, 2, 0, 0, 3, 4)], {"mode": m}) for m in ("edge", "reflect")),
    Case("Pad", [X, ints(0, 1, 1, 2, 0, 0, 3, 4), scalar(0.5)]),
    Case("Pad", [X, ints(0, 0, -1, 2, 0, 0, 3, -2)], {"mode": "constant"}),
    Case("Pad", [X, ints(2, 3), None, ints(-1)], {"mode": "reflect"}),
    Case("Pad", [X, ints(0, 0, 2, 0, 0, 0, 7, 0)], {"mode": "wrap"}),
    conv(floats(3, 4, 3, 3), pads=[1, 1, 1, 1]),
    conv(floats(3, 4, 3, 3), bias=False, strides=[2, 2], pads=[1, 1, 1, 1]),
    conv(floats(3, 4, 3, 3), pads=[0, 1, 2, 3], dilations=[2, 1]),
    conv(floats(8, 2, 3, 3), group=2, pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
    conv(floats(4, 1, 5, 5), group=4, pads=[2, 2, 2, 2]),
    conv(floats(3, 4, 2, 2), auto_pad="VALID"),
    conv(floats(3, 4, 3), x=floats(1, 4, 9), pads=[1, 1]),
    deconv(floats(4, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    deconv(floats(4, 3, 4, 4), strides=[2, 2], pads=[1, 0, 2, 1]),
    deconv(floats(4, 2, 3, 3), group=2, dilations=[2, 2]),
    *(
        Case("GridSample", [X, GRID], {"mode": m, "padding_mode": p, "align_corners": a})
        for m in ("linear", "nearest", "cubic")
        for p in ("zeros", "border", "reflection")
        for a in (0, 1)
    ),
    Case("GridSample", [X, GRID], {"mode": "bilinear", "padding_mode": "border"}, opset=16),
    *(
        resize("linear", coordinates, scales)
        for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
        for scales in ((2.0, 2.0), (0.5, 0.5), (1.3, 2.7), (0.2, 1.0))
    ),
    *(
        resize("nearest", coordinates, scales, nearest_mode=rounding)
        for coordinates in ("half_pixel", "asymmetric", "align_corners")
        for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        for scales in ((2.0, 3.0), (1.7, 0.6))
    ),
    resize("linear", "half_pixel_symmetric", (1.3, 2.7)),
    resize("cubic", "half_pixel", (2.0, 1.5)),
    resize("cubic", "align_corners", (0.7, 3.0), cubic_coeff_a=-0.5),
    Case("Resize", [X, None, None, ints(1, 4, 10, 7)], {"mode": "linear"}),
    Case("Resize", [X, None, None, ints(10, 7)], {"mode": "linear", "axes": [2, 3]}),
    Case("AveragePool", [X], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    *(
        Case(
            "AveragePool",
            [X],
            {"kernel_shape": [3, 3], "pads": pads, "count_include_pad": count},
        )
        for pads in ([1, 1, 1, 1], [0, 1, 2, 1])
        for count in (0, 1)
    ),
    Case("AveragePool", [X], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", [X], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    Case("MaxPool", [X - 5], {"kernel_shape": [2, 2], "pads": [0, 1, 1, 0]}),
    Case("MaxPool", [X], {"kernel_shape": [2, 2], "dilations": [2, 2], "ceil_mode": 1}),
    Case("GlobalAveragePool", [X]),
    Case("BatchNormalization", [X, floats(4), floats(4), floats(4), positive(4)]),
    Case("InstanceNormalization", [X, floats(4), floats(4)], {"epsilon": 1e-4}),
    Case("GroupNormalization", [X, floats(4), floats(4)], {"num_groups": 2}, opset=21),
    Case("LayerNormalization", [X, floats(6), floats(6)]),
    Case("LayerNormalization", [X, floats(5, 6)], {"axis": -2}),
]


def model_of(case: Case) -> bytes:
    helper = onnx.helper
    names = ["" if x is None else f"in{i}" for i, x in enumerate(case.inputs)]
    outputs = [f"out{i}" for i in range(case.outputs)]
    # ONNX Runtime infers the shapes of a Resize from sizes that it knows when loading.
    fixed = 1 if case.op == "Resize" else len(names)
    weights = [
        onnx.numpy_helper.from_array(x, name)
        for name, x in zip(names[fixed:], case.inputs[fixed:], strict=True)
        if x is not None
    ]
    node = helper.make_node(case.op, names, outputs, name="tested", **case.attributes)
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(x.dtype), [None] * x.ndim
        )
        for name, x in zip(names[:fixed], case.inputs[:fixed], strict=True)
        if x is not None
    ]
    empty = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([node], "g", inputs, empty, weights)
    opsets = [helper.make_opsetid("", case.opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()


def feeds_of(case: Case) -> dict[str, np.ndarray]:
    inputs = case.inputs[:1] if case.op == "Resize" else case.inputs
    return {f"in{i}": x for i, x in enumerate(inputs) if x is not None}


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator_matches_onnx_runtime(case: Case, channels_last: bool) -> None:
    model, feeds = model_of(case), feeds_of(case)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    expected = ort.InferenceSession(model, options).run(None, feeds)
    program = Program("g", model, torch.device("cpu"), channels_last=channels_last)
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(x.copy()) for name, x in feeds.items()}
        found = [tensor.numpy() for tensor in program.run(tensors).values()]
        again = program.at_shapes(tensors).run(tensors).values()
    for ours, ours_at_shapes in zip(found, again, strict=True):
        np.testing.assert_array_equal(ours, ours_at_shapes.numpy())
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert ours.flags.c_contiguous
        if theirs.dtype == np.float32:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(ours, theirs)


def test_every_operator_has_a_case() -> None:
    assert OPERATORS.keys() - {case.op for case in CASES} == set()


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (Case("Conv", [X, floats(3, 4, 3, 3)], {"auto_pad": "SAME_UPPER"}), "auto_pad"),
        (Case("ConvTranspose", [X, floats(4, 3, 3, 3)], {"output_shape": [9, 9]}), "output_shape"),
        (Case("MaxPool", [X], {"kernel_shape": [2, 2]}, outputs=2), "second output"),
        (Case("AveragePool", [X], {"kernel_shape": [2, 2], "dilations": [2, 2]}), "dilations"),
        (Case("AveragePool", [X[0]], {"kernel_shape": [2]}), "two axes"),
        (resize("linear", "tf_crop_and_resize", (2, 2)), "tf_crop_and_resize"),
        (resize("linear", "half_pixel", (2, 2), antialias=1), "antialias"),
        (Case("Relu", [X], {"consumed_inputs": [1]}), "consumed_inputs"),
        (Case("Cast", [X], {"to": 17}), "to=17"),
        (Case("GroupNormalization", [X, floats(2), floats(2)], {"num_groups": 2}), "opset 20"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.op,
)
def test_what_is_not_supported_is_refused_when_the_graph_loads(case: Case, says: str) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        Program("g", model_of(case), torch.device("cpu"))
    assert "tested" in str(caught.value)


def test_unknown_operators_are_all_named_when_the_graph_loads() -> None:
    helper = onnx.helper
    nodes = [
        helper.make_node("Det", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"], domain="com.example"),
    ]
    value = helper.make_tensor_value_info("x", 1, [1, 1, None, None])
    graph = helper.make_graph(nodes, "g", [value], [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    with pytest.raises(EngineError, match=r"Det, com\.example:Relu"):
        Program("g", model.SerializeToString(), torch.device("cpu"))


def test_an_old_opset_is_refused() -> None:
    with pytest.raises(EngineError, match="opset 12"):
        Program("g", model_of(Case("Relu", [X], opset=12)), torch.device("cpu"))


def test_a_failing_node_is_named() -> None:
    program = Program("g", model_of(Case("Reshape", [X, ints(7, 7)])), torch.device("cpu"))
    with pytest.raises(EngineError, match=r"Reshape node 'tested', given \(1, 4, 5, 6\), \(2,\)"):
        program.run({"in0": torch.from_numpy(X), "in1": torch.tensor([7, 7])})


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("value_float", 1.5),
        ("value_floats", [1.5, 2.0]),
        ("value_int", 3),
        ("value_ints", [3, 4]),
    ],
)
def test_constants_of_every_kind(attribute: str, value: Any) -> None:
    helper = onnx.helper
    node = helper.make_node("Constant", [], ["y"], **{attribute: value})
    graph = helper.make_graph([node], "g", [], [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    found = Program("g", model.SerializeToString(), torch.device("cpu")).run({})["y"]
    np.testing.assert_array_equal(found.numpy(), np.array(value))
    assert found.is_floating_point() == ("float" in attribute)
