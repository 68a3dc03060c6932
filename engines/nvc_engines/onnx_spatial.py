"""Convolutions, pooling, normalisation and grid sampling of the torch interpreter.

Tensors are NCHW. Semantics follow the ONNX operator specification, opset 13 and later.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F

from nvc_engines.onnx_node import Kernel, Node, operator

_CONVOLUTIONS: Final[dict[int, Any]] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
_TRANSPOSED: Final[dict[int, Any]] = {
    3: F.conv_transpose1d,
    4: F.conv_transpose2d,
    5: F.conv_transpose3d,
}


def _pads_of(node: Node) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the pads (before, after) per spatial axis; None if the node has none."""
    if node.choice("auto_pad", "NOTSET", "NOTSET", "VALID") == "VALID":
        node.ints("pads")
        return None
    pads = node.ints("pads")
    if pads is None:
        return None
    half = len(pads) // 2
    return pads[:half], pads[half:]


def _padded(
    x: torch.Tensor, pads: tuple[tuple[int, ...], tuple[int, ...]], value: float
) -> torch.Tensor:
    flat = [amount for pair in reversed(list(zip(*pads, strict=True))) for amount in pair]
    return F.pad(x, flat, value=value)


@operator("Conv")
def _conv(node: Node) -> Kernel:
    pads = _pads_of(node)
    node.ints("kernel_shape")
    groups = node.attribute("group", 1)
    strides, dilations = node.ints("strides"), node.ints("dilations")
    symmetric = pads is None or pads[0] == pads[1]

    def run(
        x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        if pads is not None and not symmetric:
            x = _padded(x, pads, 0.0)
        result: torch.Tensor = _CONVOLUTIONS[x.ndim](
            x,
            weight,
            bias,
            stride=strides or 1,
            padding=pads[0] if pads is not None and symmetric else 0,
            dilation=dilations or 1,
            groups=groups,
        )
        return result

    return run


@operator("ConvTranspose")
def _conv_transpose(node: Node) -> Kernel:
    pads = _pads_of(node)
    node.ints("kernel_shape")
    groups = node.attribute("group", 1)
    strides, dilations = node.ints("strides"), node.ints("dilations")
    extra = node.ints("output_padding")
    if node.ints("output_shape") is not None:
        raise node.unsupported("output_shape")
    symmetric = pads is None or pads[0] == pads[1]

    def run(
        x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        result: torch.Tensor = _TRANSPOSED[x.ndim](
            x,
            weight,
            bias,
            stride=strides or 1,
            padding=pads[0] if pads is not None and symmetric else 0,
            output_padding=extra or 0,
            groups=groups,
            dilation=dilations or 1,
        )
        if pads is not None and not symmetric:
            crop = tuple(-amount for amount in pads[0]), tuple(-amount for amount in pads[1])
            result = _padded(result, crop, 0.0)
        return result

    return run


class _Window:
    """The attributes that both pooling operators share."""

    def __init__(self, node: Node) -> None:
        if len(node.outputs) != 1:
            raise node.unsupported("a second output")
        kernel = node.ints("kernel_shape") or ()
        if len(kernel) != 2:
            raise node.unsupported(f"kernel_shape={list(kernel)} (two axes only)")
        self.kernel = kernel
        self.strides = node.ints("strides") or (1, 1)
        self.ceil = bool(node.choice("ceil_mode", 0, 0, 1))
        self.pads = _pads_of(node) or ((0, 0), (0, 0))
        # torch pads both ends alike and by half a window at most.
        self.fits_torch = self.pads[0] == self.pads[1] and all(
            2 * pad <= size for pad, size in zip(self.pads[0], kernel, strict=True)
        )
        if self.ceil and not self.fits_torch:
            raise node.unsupported(f"ceil_mode=1 with pads={[*self.pads[0], *self.pads[1]]}")


@operator("AveragePool")
def _average_pool(node: Node) -> Kernel:
    window = _Window(node)
    count_pad = bool(node.attribute("count_include_pad", 0))
    if set(node.ints("dilations") or (1,)) != {1}:
        raise node.unsupported("dilations")
    if window.fits_torch:
        return lambda x: F.avg_pool2d(
            x, window.kernel, window.strides, window.pads[0], window.ceil, count_pad
        )

    def run(x: torch.Tensor) -> torch.Tensor:
        total = F.avg_pool2d(_padded(x, window.pads, 0.0), window.kernel, window.strides)
        if count_pad:
            return total
        inside = _padded(torch.ones_like(x[:1, :1]), window.pads, 0.0)
        return total / F.avg_pool2d(inside, window.kernel, window.strides)

    return run


@operator("MaxPool")
def _max_pool(node: Node) -> Kernel:
    window = _Window(node)
    dilations = node.ints("dilations") or (1, 1)
    node.choice("storage_order", 0, 0)

    def run(x: torch.Tensor) -> torch.Tensor:
        pads = window.pads[0]
        if not window.fits_torch:
            x, pads = _padded(x, window.pads, float("-inf")), (0, 0)
        return F.max_pool2d(x, window.kernel, window.strides, pads, dilations, window.ceil)

    return run


@operator("GlobalAveragePool")
def _global_average_pool(_node: Node) -> Kernel:
    return lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True)


@operator("GridSample")
def _grid_sample(node: Node) -> Kernel:
    # Opset 20 renamed bilinear to linear and bicubic to cubic.
    names = {
        "bilinear": "bilinear",
        "linear": "bilinear",
        "nearest": "nearest",
        "bicubic": "bicubic",
        "cubic": "bicubic",
    }
    mode = names[node.choice("mode", "bilinear", *names)]
    padding = node.choice("padding_mode", "zeros", "zeros", "border", "reflection")
    align = bool(node.choice("align_corners", 0, 0, 1))
    return lambda x, grid: F.grid_sample(x, grid, mode, padding, align)


@operator("BatchNormalization")
def _batch_normalization(node: Node) -> Kernel:
    epsilon = node.attribute("epsilon", 1e-5)
    node.attribute("momentum", 0.9)
    node.choice("training_mode", 0, 0)
    return lambda x, scale, bias, mean, var: F.batch_norm(x, mean, var, scale, bias, eps=epsilon)


@operator("InstanceNormalization")
def _instance_normalization(node: Node) -> Kernel:
    epsilon = node.attribute("epsilon", 1e-5)
    return lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@operator("GroupNormalization")
def _group_normalization(node: Node) -> Kernel:
    if node.opset < 21:
        raise node.unsupported(f"opset {node.opset} (scale per group)")
    epsilon, groups = node.attribute("epsilon", 1e-5), node.attribute("num_groups", None)
    node.choice("stash_type", 1, 1)
    return lambda x, scale, bias: F.group_norm(x, groups, scale, bias, epsilon)


@operator("LayerNormalization")
def _layer_normalization(node: Node) -> Kernel:
    if len(node.outputs) != 1:
        raise node.unsupported("a second output")
    axis, epsilon = node.attribute("axis", -1), node.attribute("epsilon", 1e-5)
    node.choice("stash_type", 1, 1)

    def run(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return F.layer_norm(x, x.shape[axis:], scale, bias, epsilon)

    return run
