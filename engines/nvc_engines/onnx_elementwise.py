"""Arithmetic, activations, comparisons and reductions of the torch interpreter.

Semantics follow the ONNX operator specification, opset 13 and later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Final

import torch
import torch.nn.functional as F

from nvc_engines.onnx_node import TORCH_DTYPES, Kernel, Node, ints_from, operator

_PLAIN: Final[dict[str, Callable[..., torch.Tensor]]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "And": torch.logical_and,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "HardSwish": F.hardswish,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": F.softplus,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Where": torch.where,
    "Xor": torch.logical_xor,
}
"""Operators without attributes that torch has under another name."""


@operator(*_PLAIN)
def _plain(node: Node) -> Kernel:
    return _PLAIN[node.op]


@operator("LeakyRelu")
def _leaky_relu(node: Node) -> Kernel:
    slope = node.attribute("alpha", 0.01)
    return lambda x: F.leaky_relu(x, slope)


@operator("Elu")
def _elu(node: Node) -> Kernel:
    alpha = node.attribute("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


@operator("PRelu")
def _prelu(_node: Node) -> Kernel:
    return lambda x, slope: torch.where(x < 0, x * slope, x)


@operator("Gelu")
def _gelu(node: Node) -> Kernel:
    approximate = node.choice("approximate", "none", "none", "tanh")
    return lambda x: F.gelu(x, approximate=approximate)


@operator("HardSigmoid")
def _hard_sigmoid(node: Node) -> Kernel:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    return lambda x: torch.clamp(x * alpha + beta, 0.0, 1.0)


@operator("Div")
def _div(_node: Node) -> Kernel:
    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")

    return run


@operator("Pow")
def _pow(_node: Node) -> Kernel:
    return lambda x, y: torch.pow(x, y).to(x.dtype)


@operator("Mod")
def _mod(node: Node) -> Kernel:
    return torch.fmod if node.choice("fmod", 0, 0, 1) else torch.remainder


_VARIADIC: Final[dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Sum": torch.add,
}


@operator(*_VARIADIC)
def _variadic(node: Node) -> Kernel:
    combine = _VARIADIC[node.op]
    return lambda *tensors: reduce(combine, tensors)


@operator("Clip")
def _clip(_node: Node) -> Kernel:
    def run(
        x: torch.Tensor, low: torch.Tensor | None = None, high: torch.Tensor | None = None
    ) -> torch.Tensor:
        return x if low is None and high is None else torch.clamp(x, min=low, max=high)

    return run


@operator("Cast")
def _cast(node: Node) -> Kernel:
    node.attribute("saturate", 1)  # Matters for 8-bit floats only, which TORCH_DTYPES lacks.
    dtype = TORCH_DTYPES[node.choice("to", None, *TORCH_DTYPES)]
    return lambda x: x.to(dtype)


@operator("Softmax")
def _softmax(node: Node) -> Kernel:
    axis = node.attribute("axis", -1)
    return lambda x: torch.softmax(x, axis)


_REDUCTIONS: Final[dict[str, Callable[..., torch.Tensor]]] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
}


@operator(*_REDUCTIONS, first_host_input=1)
def _reduce(node: Node) -> Kernel:
    combine = _REDUCTIONS[node.op]
    fixed_axes = node.ints("axes")
    keep = bool(node.attribute("keepdims", 1))
    nothing_if_empty = bool(node.attribute("noop_with_empty_axes", 0))
    if nothing_if_empty and node.op in ("ReduceL1", "ReduceL2", "ReduceSumSquare"):
        raise node.unsupported("noop_with_empty_axes=1")

    def run(x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
        wanted = ints_from(axes) if axes is not None else list(fixed_axes or ())
        if not wanted and nothing_if_empty:
            return x
        return combine(x, wanted or list(range(x.ndim)), keep)

    return run


@operator("MatMul")
def _matmul(_node: Node) -> Kernel:
    return torch.matmul


@operator("Gemm")
def _gemm(node: Node) -> Kernel:
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    transpose_a, transpose_b = node.attribute("transA", 0), node.attribute("transB", 0)

    def run(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        product: Any = (a.T if transpose_a else a) @ (b.T if transpose_b else b)
        scaled: torch.Tensor = product if alpha == 1.0 else product * alpha
        return scaled if c is None else scaled + (c if beta == 1.0 else c * beta)

    return run
