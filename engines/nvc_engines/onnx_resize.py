"""Resize of the torch interpreter: separable, axis by axis, with ONNX's own coordinates.

``torch.nn.functional.interpolate`` knows three of ONNX's coordinate modes and one of its
rounding modes; the general form is a few weighted gathers per axis. Coordinates are worked
out in float32 like ONNX Runtime does, because a coordinate that should be a whole number
picks another sample if it comes out just below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from nvc_engines.onnx_node import Kernel, Node, ints_from, operator, tables_on_device

_ROUNDINGS: Final[dict[str, Any]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}
_COORDINATES: Final = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
)


@dataclass(frozen=True)
class _Axis:
    """One axis to resize; ``scale`` is output over input as the node gives it."""

    index: int
    in_size: int
    out_size: int
    scale: float


@operator("Resize", first_host_input=1)
def _resize(node: Node) -> Kernel:
    mode = node.choice("mode", "nearest", "nearest", "linear", "cubic")
    coordinates = node.choice("coordinate_transformation_mode", "half_pixel", *_COORDINATES)
    rounding = node.choice("nearest_mode", "round_prefer_floor", *_ROUNDINGS)
    cubic_a = node.attribute("cubic_coeff_a", -0.75)
    fixed_axes = node.ints("axes")
    node.choice("antialias", 0, 0)
    node.choice("exclude_outside", 0, 0)
    node.choice("keep_aspect_ratio_policy", "stretch", "stretch")
    node.attribute("extrapolation_value", 0.0)  # Belongs to tf_crop_and_resize alone.

    def places(axis: _Axis) -> Sequence[NDArray[Any]]:
        place = _source_places(axis, coordinates)
        if mode == "nearest":
            return (_ROUNDINGS[rounding](place).clip(0, axis.in_size - 1).astype(np.int64),)
        if mode == "linear":
            indices, weights = _linear_taps(place.clip(0, axis.in_size - 1))
        else:
            indices, weights = _cubic_taps(place, cubic_a)
        return (*indices.clip(0, axis.in_size - 1), *weights)

    tables = tables_on_device(places)

    def run(
        x: torch.Tensor,
        _roi: torch.Tensor | None = None,
        scales: torch.Tensor | None = None,
        sizes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        along = [axis % x.ndim for axis in fixed_axes or range(x.ndim)]
        for axis in _axes_to_resize(x, along, scales, sizes):
            found = tables(x.device, axis)
            if mode == "nearest":
                x = x.index_select(axis.index, found[0])
            else:
                taps = len(found) // 2
                x = _weighted(x, axis, found[:taps], found[taps:])
        return x

    return run


def _axes_to_resize(
    x: torch.Tensor, along: list[int], scales: torch.Tensor | None, sizes: torch.Tensor | None
) -> list[_Axis]:
    """Return the axes whose size or scale changes. An empty ``scales`` means it is absent."""
    axes = []
    if scales is not None and scales.numel():
        for index, scale in zip(along, scales.tolist(), strict=True):
            axes.append(_Axis(index, x.shape[index], int(x.shape[index] * scale), scale))
    elif sizes is not None:
        for index, size in zip(along, ints_from(sizes), strict=True):
            axes.append(_Axis(index, x.shape[index], size, size / x.shape[index]))
    return [axis for axis in axes if axis.scale != 1.0]


def _source_places(axis: _Axis, mode: str) -> NDArray[np.float32]:
    """Return where each output sample lies on the input axis, float32 (out_size,)."""
    out: Any = np.arange(axis.out_size, dtype=np.float32)
    scale, half = np.float32(axis.scale), np.float32(0.5)
    if mode == "asymmetric":
        return np.asarray(out / scale)
    if mode == "align_corners":
        steps = np.float32(max(axis.out_size - 1, 1))
        return np.asarray(out * np.float32(axis.in_size - 1) / steps)
    if mode == "pytorch_half_pixel" and axis.out_size == 1:
        return np.zeros(1, np.float32)
    places = (out + half) / scale - half
    if mode == "half_pixel_symmetric":
        whole = np.float32(axis.in_size)
        places += whole / 2 * (1 - np.float32(axis.out_size) / (scale * whole))
    return np.asarray(places)


def _linear_taps(place: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return sample indices int64 (2, out) and weights float32 (2, out)."""
    left = np.floor(place)
    weight = place - left
    first = left.astype(np.int64)
    return np.stack([first, first + 1]), np.stack([1 - weight, weight])


def _cubic_taps(
    place: NDArray[np.float32], a: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return sample indices int64 (4, out) and Keys' weights float32 (4, out)."""
    left = np.floor(place)
    t: Any = place - left
    near, far = [t, 1 - t], [t + 1, 2 - t]
    inner = [((a + 2) * d - (a + 3)) * d * d + 1 for d in near]
    outer = [((a * d - 5 * a) * d + 8 * a) * d - 4 * a for d in far]
    first = left.astype(np.int64)
    indices = np.stack([first - 1, first, first + 1, first + 2])
    weights = np.stack([outer[0], inner[0], inner[1], outer[1]])
    return indices, weights.astype(np.float32)


def _weighted(
    x: torch.Tensor, axis: _Axis, indices: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return the weighted sum of the samples of ``axis`` at ``indices``."""
    along = [1] * x.ndim
    along[axis.index] = axis.out_size
    total: torch.Tensor | None = None
    for index, weight in zip(indices, weights, strict=True):
        term = x.index_select(axis.index, index) * weight.reshape(along)
        total = term if total is None else total + term
    assert total is not None
    return total
