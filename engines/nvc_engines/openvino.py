"""OpenVINO on the CPU.

Its default precision on CPUs that have BF16 is BF16, two orders of magnitude too coarse: the
precision is set to FP32 and read back from every compiled graph. A graph is compiled for
each concrete shape, which picks other (and faster) kernels than a dynamic one.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from nvc_engines.checks import check_arrays, check_shapes, float32_array, reason_of
from nvc_engines.host import cpu_name, usable_threads
from nvc_engines.interface import Engine, EngineInfo, Graph, GraphSource, Shape, Tensor
from nvc_engines.onnx_signature import OnnxSignature, read_signature
from nvc_engines.spec import EngineSpec
from nvc_errors import EngineError, EngineUnavailableError


class OpenVinoEngine(Engine):
    """OpenVINO's CPU plugin; tensors are numpy arrays."""

    def __init__(self, spec: EngineSpec) -> None:
        """Open the engine. Raises ``EngineUnavailableError`` if the CPU plugin is missing."""
        try:
            self._core: Any = ov.Core()
            devices = self._core.available_devices
        except Exception as error:
            raise EngineUnavailableError(
                f"{spec} cannot start OpenVINO: {reason_of(error)}"
            ) from error
        if "CPU" not in devices:
            raise EngineUnavailableError(
                f"{spec} needs OpenVINO's CPU plugin; it offers {', '.join(devices) or 'no device'}"
            )
        self._models: dict[str, Any] = {}
        self._compiled: dict[tuple[str, tuple[tuple[str, Shape], ...]], Any] = {}
        threads = int(spec.options.get("threads", usable_threads()))
        self._config = {
            "INFERENCE_PRECISION_HINT": "f32",
            "EXECUTION_MODE_HINT": "ACCURACY",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
        }
        self.info = EngineInfo(
            spec=spec,
            backend_version=f"openvino {ov.get_version()}",
            device_name=cpu_name(),
            flags={"bf16": "off", "execution_mode": "accuracy"},
            threads=threads,
        )

    def load(self, source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        """See ``Engine.load``. Each set of shapes is compiled once."""
        if self._core is None:
            raise EngineError(f"{self.info.spec} is closed; open it again to load graphs")
        signature = read_signature(source.name, source.onnx)
        fitted = check_shapes(source.name, signature.inputs, shapes)
        key = source.sha256, tuple(fitted.items())
        if key not in self._compiled:
            self._compiled[key] = self._compile(source, fitted)
        return _CompiledGraph(source.name, self._compiled[key], fitted, signature)

    def _compile(self, source: GraphSource, shapes: Mapping[str, Shape]) -> Any:
        try:
            if source.sha256 not in self._models:
                model = self._core.read_model(io.BytesIO(source.onnx))
                self._models[source.sha256] = model
            model = self._models[source.sha256].clone()
            used = {name for port in model.inputs for name in port.get_names()}
            model.reshape({name: list(shape) for name, shape in shapes.items() if name in used})
            compiled = self._core.compile_model(model, "CPU", self._config)
            precision = compiled.get_property("INFERENCE_PRECISION_HINT")
        except Exception as error:
            raise EngineError(
                f"{self.info.spec} cannot compile graph {source.name!r} for {dict(shapes)}: "
                f"{reason_of(error)}"
            ) from error
        if precision != ov.Type.f32:
            raise EngineError(
                f"OpenVINO compiled graph {source.name!r} in {precision} although f32 was asked for"
            )
        return compiled

    def upload(self, array: NDArray[np.float32]) -> Tensor:
        """See ``Engine.upload``."""
        return float32_array(array)

    def download(self, tensor: Tensor) -> NDArray[np.float32]:
        """See ``Engine.download``."""
        return float32_array(tensor)

    def close(self) -> None:
        """Drop the compiled graphs."""
        self._compiled.clear()
        self._models.clear()
        self._core = None


class _CompiledGraph(Graph):
    """A graph compiled for one set of shapes."""

    def __init__(
        self, name: str, compiled: Any, shapes: dict[str, Shape], signature: OnnxSignature
    ) -> None:
        self.name = name
        self.input_shapes = shapes
        self.output_names = signature.outputs
        self._used = {port_name for port in compiled.inputs for port_name in port.get_names()}
        # Results keep the order of the ONNX outputs; their names can be merged by aliasing.
        self._ports = list(compiled.outputs)
        if len(self._ports) != len(self.output_names):
            raise EngineError(
                f"OpenVINO made {len(self._ports)} outputs of the {len(self.output_names)} that "
                f"graph {name!r} declares; give every output a node of its own"
            )
        self._request = compiled.create_infer_request()

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See ``Graph.run``."""
        arrays = check_arrays(self.name, self.input_shapes, inputs)
        used = {name: array for name, array in arrays.items() if name in self._used}
        try:
            results = self._request.infer(used, share_inputs=True, share_outputs=False)
        except Exception as error:
            raise EngineError(
                f"OpenVINO failed in graph {self.name!r}: {reason_of(error)}"
            ) from error
        # One port can serve two outputs, and its array must not be shared between them.
        return {
            name: np.array(results[port], np.float32, copy=None)
            for name, port in zip(self.output_names, self._ports, strict=True)
        }
