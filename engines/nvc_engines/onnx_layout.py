"""Shapes, slices and rearrangements of the torch interpreter.

Semantics follow the ONNX operator specification, opset 13 and later. Shape tensors are int64
and live in host memory on every device.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from nvc_engines.onnx_node import Kernel, Node, ints_from, operator, tables_on_device


@operator("Identity")
def _identity(_node: Node) -> Kernel:
    return lambda x: x


@operator("Shape")
def _shape(node: Node) -> Kernel:
    start, end = node.attribute("start", 0), node.attribute("end", None)
    return lambda x: torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


@operator("Size")
def _size(_node: Node) -> Kernel:
    return lambda x: torch.tensor(x.numel(), dtype=torch.int64)


@operator("ConstantOfShape", first_host_input=0)
def _constant_of_shape(node: Node) -> Kernel:
    value = node.attribute("value", None)
    fill = torch.zeros(1) if value is None else torch.from_numpy(np.array(value))
    return lambda shape: torch.full(ints_from(shape), fill.item(), dtype=fill.dtype)


@operator("Range")
def _range(_node: Node) -> Kernel:
    def run(start: torch.Tensor, limit: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        return torch.arange(
            start.item(), limit.item(), delta.item(), dtype=start.dtype, device=start.device
        )

    return run


@operator("Reshape", first_host_input=1)
def _reshape(node: Node) -> Kernel:
    zero_is_zero = bool(node.attribute("allowzero", 0))

    def run(x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
        dims = ints_from(shape)
        if not zero_is_zero:
            dims = [x.shape[axis] if dim == 0 else dim for axis, dim in enumerate(dims)]
        return x.reshape(dims)

    return run


@operator("Flatten")
def _flatten(node: Node) -> Kernel:
    axis = node.attribute("axis", 1)

    def run(x: torch.Tensor) -> torch.Tensor:
        rows = int(np.prod(x.shape[: axis if axis >= 0 else axis + x.ndim], dtype=np.int64))
        return x.reshape(rows, -1)

    return run


@operator("Transpose")
def _transpose(node: Node) -> Kernel:
    order = node.ints("perm")
    return lambda x: x.permute(order or tuple(reversed(range(x.ndim))))


@operator("Unsqueeze", first_host_input=1)
def _unsqueeze(_node: Node) -> Kernel:
    def run(x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
        wanted = ints_from(axes)
        rank = x.ndim + len(wanted)
        for axis in sorted(axis % rank for axis in wanted):
            x = x.unsqueeze(axis)
        return x

    return run


@operator("Squeeze", first_host_input=1)
def _squeeze(_node: Node) -> Kernel:
    return lambda x, axes=None: x.squeeze() if axes is None else x.squeeze(tuple(ints_from(axes)))


@operator("Expand", first_host_input=1)
def _expand(_node: Node) -> Kernel:
    return lambda x, shape: x.expand(np.broadcast_shapes(x.shape, tuple(ints_from(shape))))


@operator("Tile", first_host_input=1)
def _tile(_node: Node) -> Kernel:
    return lambda x, repeats: x.repeat(ints_from(repeats))


@operator("Concat")
def _concat(node: Node) -> Kernel:
    axis = node.attribute("axis", 0)
    return lambda *tensors: torch.cat(tensors, axis)


@operator("Split", first_host_input=1)
def _split(node: Node) -> Kernel:
    axis = node.attribute("axis", 0)
    count = node.attribute("num_outputs", len(node.outputs))
    if count != len(node.outputs):
        raise node.unsupported(f"num_outputs={count} with {len(node.outputs)} outputs")

    def run(x: torch.Tensor, sizes: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        if sizes is not None:
            return torch.split(x, ints_from(sizes), axis)
        whole = x.shape[axis]
        part = -(-whole // count)
        return torch.split(x, [part] * (count - 1) + [whole - part * (count - 1)], axis)

    return run


@operator("Slice", first_host_input=1)
def _slice(_node: Node) -> Kernel:
    places = tables_on_device(lambda *kept: (np.arange(*kept, dtype=np.int64),))

    def run(
        x: torch.Tensor,
        starts: torch.Tensor,
        ends: torch.Tensor,
        axes: torch.Tensor | None = None,
        steps: torch.Tensor | None = None,
    ) -> torch.Tensor:
        first, last = ints_from(starts), ints_from(ends)
        along = list(range(len(first))) if axes is None else ints_from(axes)
        strides = [1] * len(first) if steps is None else ints_from(steps)
        for begin, end, axis, step in zip(first, last, along, strides, strict=True):
            # Python clamps a slice to the axis just as ONNX does, negative steps included.
            kept = range(x.shape[axis])[begin:end:step]
            if step == 1:
                x = x.narrow(axis, kept.start if kept else 0, len(kept))
            else:
                (index,) = places(x.device, kept.start, kept.stop, kept.step)
                x = x.index_select(axis, index)
        return x

    return run


@operator("Gather")
def _gather(node: Node) -> Kernel:
    axis = node.attribute("axis", 0)

    def run(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        along = axis % x.ndim
        flat = indices.reshape(-1).to(torch.int64)
        flat = torch.where(flat < 0, flat + x.shape[along], flat)
        shape = (*x.shape[:along], *indices.shape, *x.shape[along + 1 :])
        return x.index_select(along, flat).reshape(shape)

    return run


@operator("GatherElements")
def _gather_elements(node: Node) -> Kernel:
    axis = node.attribute("axis", 0)

    def run(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        along = axis % x.ndim
        places = indices.to(torch.int64)
        places = torch.where(places < 0, places + x.shape[along], places)
        for other in range(x.ndim):
            if other != along:
                x = x.narrow(other, 0, places.shape[other])
        return x.gather(along, places)

    return run


@operator("GatherND")
def _gather_nd(node: Node) -> Kernel:
    node.choice("batch_dims", 0, 0)

    def run(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        return x[tuple(indices.to(torch.int64).unbind(-1))]

    return run


@operator("DepthToSpace")
def _depth_to_space(node: Node) -> Kernel:
    block = int(node.attribute("blocksize", None))
    if node.choice("mode", "DCR", "DCR", "CRD") == "CRD":
        return lambda x: F.pixel_shuffle(x, block)

    def run(x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, block, block, c // block**2, h, w)
        return parts.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)

    return run


@operator("SpaceToDepth")
def _space_to_depth(node: Node) -> Kernel:
    block = int(node.attribute("blocksize", None))

    def run(x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // block, block, w // block, block)
        return parts.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)

    return run


@operator("Pad", first_host_input=1)
def _pad(node: Node) -> Kernel:
    mode = node.choice("mode", "constant", "constant", "edge", "reflect", "wrap")
    border_index = tables_on_device(partial(_border_index, mode))

    def run(
        x: torch.Tensor,
        pads: torch.Tensor,
        value: torch.Tensor | None = None,
        axes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        amounts = ints_from(pads)
        along = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in ints_from(axes)]
        before, after = amounts[: len(along)], amounts[len(along) :]
        if mode == "constant":
            flat = [0] * (2 * x.ndim)
            for axis, left, right in zip(along, before, after, strict=True):
                at = 2 * (x.ndim - 1 - axis)
                flat[at], flat[at + 1] = left, right
            return F.pad(x, flat, value=0.0 if value is None else value.item())
        for axis, left, right in zip(along, before, after, strict=True):
            if left or right:
                (index,) = border_index(x.device, x.shape[axis], left, right)
                x = x.index_select(axis, index)
        return x

    return run


def _border_index(mode: str, size: int, before: int, after: int) -> tuple[NDArray[np.int64]]:
    """Return which sample of an axis stands at each place of the padded axis, int64."""
    places: Any = np.arange(-before, size + after)
    if mode == "edge":
        places = places.clip(0, size - 1)
    elif mode == "wrap":
        places = places % size
    else:
        period = max(2 * (size - 1), 1)
        places = np.abs((places + size - 1) % period - (size - 1))
    return (places,)
