"""Programs at fixed shapes, recorded as CUDA graphs.

The networks of a codec are many small kernels. A recorded run starts them all at once, where the
host would take longer to start them one by one than the GPU takes to run them. The kernels and
their order are the same, so the results are, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from nvc_engines.checks import reason_of
from nvc_engines.onnx_interpreter import Program
from nvc_errors import EngineError


class RecordedProgram:
    """One run of a program, recorded on the current CUDA device, to be replayed with other inputs.

    All recordings that share a ``pool`` of memory, and no others, must be replayed one after the
    other: each leaves its outputs there only until the next. ``run`` returns copies.
    """

    def __init__(self, program: Program, inputs: Mapping[str, torch.Tensor], pool: Any) -> None:
        """Record a run on ``inputs``, float32 tensors on the device.

        Raises ``EngineError`` if the program does what cannot be recorded.
        """
        self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        # What is recorded refers to the program's constants by address.
        self._program = program.at_shapes(self._inputs)
        self._graph = torch.cuda.CUDAGraph()
        cuda: Any = torch.cuda
        aside = cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._program.run(self._inputs)  # Libraries make ready what a recording must not.
        torch.cuda.current_stream().wait_stream(aside)
        try:
            with torch.cuda.graph(self._graph, pool, capture_error_mode="thread_local"):
                self._outputs = self._program.run(self._inputs)
        except Exception as error:
            raise EngineError(
                f"graph {program.name!r} cannot be recorded as a CUDA graph: {reason_of(error)}; "
                "use the engine torch:cuda,cuda_graphs=0"
            ) from error

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the outputs for inputs of the recorded shapes, as :meth:`Program.run` does."""
        for name, recorded in self._inputs.items():
            recorded.copy_(inputs[name])
        self._graph.replay()
        return {name: output.clone() for name, output in self._outputs.items()}
