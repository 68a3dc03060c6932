"""Run an ONNX graph on torch tensors, node by node.

Small on purpose: the operators that codec graphs are exported to (see ``OPERATORS``), no
control flow, no fusion. It gives a second implementation on CPUs and GPUs for cross-checks,
and a way to run a bundle on any device torch supports. What it cannot run it refuses at load
time, naming every unknown operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from nvc_engines import onnx_elementwise, onnx_layout, onnx_resize, onnx_spatial
from nvc_engines.checks import reason_of
from nvc_engines.onnx_node import OPERATORS, Kernel, Node
from nvc_errors import EngineError

OPERATOR_MODULES: Final = (onnx_elementwise, onnx_layout, onnx_resize, onnx_spatial)
"""Importing these fills ``OPERATORS``."""

MIN_OPSET: Final = 13


FROM_SHAPES: Final = ("Shape", "Size")
"""Operators whose results do not depend on what their input holds."""


class _Step(NamedTuple):
    node: Node
    kernel: Kernel
    inputs: tuple[str, ...]
    first_host_input: int
    dead: tuple[str, ...]
    """Values that no later step needs."""


class Program:
    """An ONNX graph ready to run on one device at any shape."""

    def __init__(
        self, name: str, onnx_bytes: bytes, device: torch.device, *, channels_last: bool = False
    ) -> None:
        """Build the program. Raises ``EngineError`` for a graph it cannot run."""
        try:
            model = onnx.load_from_string(onnx_bytes)
        except Exception as error:
            raise EngineError(f"graph {name!r} is not an ONNX model: {reason_of(error)}") from error
        self.name = name
        self._device = device
        self._channels_last = channels_last
        self.outputs = tuple(value.name for value in model.graph.output)
        self._constants: dict[str, torch.Tensor] = {}
        opset = _opset_of(name, model)
        nodes = []
        for tensor in model.graph.initializer:
            self._constants[tensor.name] = self._constant(tensor.name, tensor)
        for proto in model.graph.node:
            if proto.op_type == "Constant" and proto.domain in ("", "ai.onnx"):
                self._constants[proto.output[0]] = self._constant(
                    proto.output[0], _constant_value(name, proto)
                )
            else:
                nodes.append(_node_from_proto(name, proto, opset))
        _check_operators(name, nodes)
        for used in _data_names(nodes) | set(self.outputs):
            if used in self._constants and self._constants[used].is_floating_point():
                self._constants[used] = self._placed(self._constants[used])
        self._steps = _with_dead(
            [_step_from_node(node) for node in nodes], {*self.outputs, *self._constants}
        )

    def _constant(self, name: str, value: Any) -> torch.Tensor:
        try:
            array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
            return torch.from_numpy(np.array(array))
        except Exception as error:
            raise EngineError(
                f"graph {self.name!r} has the constant {name!r} in a form the torch engine cannot "
                f"read ({reason_of(error)}); export it with its weights inside, as plain numbers"
            ) from error

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._channels_last and tensor.ndim == 4:
            return tensor.to(self._device, memory_format=torch.channels_last)
        return tensor.to(self._device)

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the outputs by name: contiguous NCHW tensors that share memory with nothing.

        Raises ``EngineError`` naming the node that failed.
        """
        values = self._start(inputs)
        for step in self._steps:
            values.update(self._results(step, values))
            for name in step.dead:
                values.pop(name, None)
        taken = {tensor.untyped_storage().data_ptr() for tensor in inputs.values()}
        taken |= {tensor.untyped_storage().data_ptr() for tensor in self._constants.values()}
        return {name: self._owned(values[name], taken) for name in self.outputs}

    def at_shapes(self, inputs: Mapping[str, torch.Tensor]) -> Program:
        """Return the same program for inputs of these shapes alone, which runs once for that.

        What depends on nothing but shapes is worked out now, and lies on the device where it is
        needed there: on a GPU, running moves nothing between host and device. Raises
        ``EngineError`` as :meth:`run` does.
        """
        values, fixed = self._start(inputs), dict(self._constants)
        steps: list[_Step] = []
        for step in self._steps:
            results = self._results(step, values)
            values.update(results)
            if step.node.op in FROM_SHAPES or all(n in fixed for n in step.inputs if n):
                fixed.update(results)
            else:
                steps.append(step)
            for name in step.dead:
                values.pop(name, None)
        program = copy(self)
        program._steps = _with_dead(
            [self._with_inputs_placed(s, fixed) for s in steps], self.outputs
        )
        used = {name for step in program._steps for name in step.inputs}.union(self.outputs)
        program._constants = {name: fixed[name] for name in used & fixed.keys()}
        return program

    def _with_inputs_placed(self, step: _Step, fixed: dict[str, torch.Tensor]) -> _Step:
        """Return a step whose inputs from ``fixed`` are where it takes them; add these to it."""
        inputs = list(step.inputs)
        for position, name in enumerate(inputs):
            is_data = position < step.first_host_input
            place = self._device if is_data else torch.device("cpu")
            if name in fixed and fixed[name].device.type != place.type:
                inputs[position] = f"{name} on {place}"
                fixed[inputs[position]] = fixed[name].to(place)
        return step._replace(inputs=tuple(inputs))

    def _start(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return self._constants | {name: self._placed(tensor) for name, tensor in inputs.items()}

    def _results(self, step: _Step, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        arguments = [values[name] if name else None for name in step.inputs]
        if self._device.type != "cpu":
            self._gather_on_device(arguments, step.first_host_input)
        try:
            results = step.kernel(*arguments)
        except Exception as error:
            raise EngineError(
                f"the torch engine failed in graph {self.name!r} at {step.node.op} node "
                f"{step.node.name!r}, given {_shapes_text(arguments)}: {reason_of(error)}"
            ) from error
        if isinstance(results, torch.Tensor):
            results = (results,)
        return dict(zip(step.node.outputs, results, strict=False))

    def _gather_on_device(self, arguments: list[torch.Tensor | None], first_host: int) -> None:
        """Move the data inputs to the device if any of them is there, in place."""
        data = [tensor for tensor in arguments[:first_host] if tensor is not None]
        if any(tensor.device.type != "cpu" for tensor in data):
            for position, tensor in enumerate(arguments[:first_host]):
                arguments[position] = None if tensor is None else tensor.to(self._device)

    def _owned(self, tensor: torch.Tensor, taken: set[int]) -> torch.Tensor:
        """Return an output as a tensor of its own, and add its memory to ``taken``."""
        tensor = tensor.to(self._device).contiguous()
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in taken
        if shared or storage.nbytes() != tensor.numel() * tensor.element_size():
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        return tensor


def _opset_of(name: str, model: Any) -> int:
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    opset = int(max(versions, default=0))
    if opset < MIN_OPSET:
        raise EngineError(
            f"graph {name!r} uses ONNX opset {opset}; the torch engine needs {MIN_OPSET} or later: "
            "export it again"
        )
    return opset


def _constant_value(graph: str, proto: Any) -> Any:
    attribute = proto.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return value
    if attribute.name in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if attribute.name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    raise EngineError(
        f"graph {graph!r} has the constant {proto.output[0]!r} as {attribute.name}; the torch "
        "engine reads numbers only"
    )


def _node_from_proto(graph: str, proto: Any, opset: int) -> Node:
    attributes = {}
    for attribute in proto.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.GraphProto):
            raise EngineError(
                f"graph {graph!r} has control flow ({proto.op_type}), which the torch engine does "
                "not run; use another engine, such as ort:cpu"
            )
        is_tensor = isinstance(value, onnx.TensorProto)
        attributes[attribute.name] = numpy_helper.to_array(value) if is_tensor else value
    foreign = proto.domain not in ("", "ai.onnx")
    return Node(
        op=f"{proto.domain}:{proto.op_type}" if foreign else proto.op_type,
        name=proto.name or next(iter(proto.output), ""),
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
        opset=opset,
    )


def _check_operators(graph: str, nodes: list[Node]) -> None:
    unknown = sorted({node.op for node in nodes} - OPERATORS.keys())
    if unknown:
        raise EngineError(
            f"graph {graph!r} needs operators that the torch engine does not have: "
            f"{', '.join(unknown)}; use another engine, such as ort:cpu"
        )


def _data_names(nodes: list[Node]) -> set[str]:
    """Return the names used as data, as opposed to shapes, indices and scales."""
    return {
        name
        for node in nodes
        for position, name in enumerate(node.inputs)
        if position < OPERATORS[node.op].first_host_input
    }


def _step_from_node(node: Node) -> _Step:
    operator = OPERATORS[node.op]
    kernel = operator.build(node)
    node.check_all_read()
    return _Step(node, kernel, node.inputs, operator.first_host_input, ())


def _with_dead(steps: Sequence[_Step], keep: Iterable[str]) -> list[_Step]:
    """Return steps that know what is not needed after them; ``keep`` always is."""
    known: list[_Step] = []
    needed = set(keep)
    for step in reversed(steps):
        touched = {name for name in (*step.inputs, *step.node.outputs) if name}
        known.append(step._replace(dead=tuple(touched - needed)))
        needed |= touched
    return known[::-1]


def _shapes_text(arguments: list[torch.Tensor | None]) -> str:
    return ", ".join("none" if item is None else str(tuple(item.shape)) for item in arguments)
