"""Runs a bundle's programs on an engine. Encoder and decoder execute the same list of steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nvc_engines import Engine, Graph, Tensor
from nvc_errors import EngineError
from nvc_runtime.bundle import Bundle, CodeStep, Program, RunStep
from nvc_runtime.bundle.program import EXACT_FRAME, FRAME
from nvc_runtime.codec.elapsed import Elapsed
from nvc_runtime.codec.symbols import SymbolCoder

Carried = Mapping[str, Tensor]
"""What the next inter frame finds, by tensor name; belongs to the engine."""


class Reconstruction:
    """A coded frame on its engine; what is asked for is worked out and fetched then.

    It keeps what that takes of the engine's memory, and no more.

    Attributes:
        has_planes: whether :meth:`planes` can be called.

    """

    def __init__(
        self, interpreter: Interpreter, program: Program, quality: int, tensors: dict[str, Tensor]
    ) -> None:
        self._interpreter, self._program = interpreter, program
        self._quality = quality
        shown = interpreter.shown(program)
        self._tensors = {name: tensor for name, tensor in tensors.items() if name in shown}
        self.has_planes = program.planes is not None

    def rgb(self) -> NDArray[np.float32]:
        """RGB, float32 (1, 3, H', W'), 0 black and 1 white; may lie beyond."""
        if self._program.output is None:
            raise ValueError(f"program {self._program.name} has no output")
        tensors = dict(self._tensors)
        self._interpreter.show(self._program, self._quality, tensors)
        return self._fetch(self._program.output, tensors)

    def planes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Luma (1, 1, H', W') and chroma (1, 2, H'/2, W'/2), float32, see ``docs/bundle.md``."""
        names = self._program.planes
        if names is None:
            raise ValueError(f"program {self._program.name} has no planes")
        return self._fetch(names.luma, self._tensors), self._fetch(names.chroma, self._tensors)

    def _fetch(self, name: str, tensors: Mapping[str, Tensor]) -> NDArray[np.float32]:
        with self._interpreter.elapsed.measure("transform"):
            return self._interpreter.download(name, tensors)


class Interpreter:
    """A bundle on an engine, for one padded frame size.

    Graphs are loaded when a program first runs them, so a decoder never loads those that only an
    encoder runs.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine, padded: tuple[int, int], elapsed: Elapsed
    ) -> None:
        self.bundle, self.engine, self.padded = bundle, engine, padded
        self.elapsed = elapsed
        self._graphs: dict[str, Graph] = {}
        self._vectors: dict[tuple[str, int], Tensor] = {}

    def run(
        self,
        program: Program,
        coder: SymbolCoder,
        quality: int,
        carried: Carried,
        frame: NDArray[np.float32] | None = None,
    ) -> tuple[Reconstruction, Carried]:
        """Code one frame; return it, and what the next inter frame finds.

        ``frame`` is the source, float32 (1, 3, H', W'), when encoding.
        """
        tensors: dict[str, Tensor] = dict(carried) if program.name == "inter" else {}
        if frame is not None:
            tensors[FRAME] = self.engine.upload(frame)
        for step in program.steps:
            if isinstance(step, CodeStep):
                self._code(step, coder, tensors)
            elif step.side == "both" or (step.side == "encode" and frame is not None):
                self._run_graph(step, quality, tensors)
        return Reconstruction(self, program, quality, tensors), self.carry(program, tensors)

    def synchronize(self, program: Program, exact: NDArray[np.float32]) -> Carried:
        """Rebuild what is carried from the exact frame, float32 (1, 3, H', W') in [0, 1]."""
        tensors: dict[str, Tensor] = {EXACT_FRAME: self.engine.upload(exact)}
        for step in program.steps:
            if isinstance(step, RunStep):
                self._run_graph(step, 0, tensors)
        return self.carry(program, tensors)

    def shown(self, program: Program) -> set[str]:
        """Names of tensors that a program's output and planes take."""
        names = {program.output, *(program.planes or ())}
        for step in program.steps:
            if isinstance(step, RunStep) and step.side == "show":
                names.update(self.bundle.manifest.graphs[step.graph].inputs)
        return {name for name in names if name is not None}

    def show(self, program: Program, quality: int, tensors: dict[str, Tensor]) -> None:
        """Run what a program's output takes beyond coding."""
        for step in program.steps:
            if isinstance(step, RunStep) and step.side == "show":
                self._run_graph(step, quality, tensors)

    def carry(self, program: Program, tensors: Mapping[str, Tensor]) -> Carried:
        """Name what the next inter frame finds as its program does."""
        with self.elapsed.measure("transform"):
            return {
                target: self._zeros(target) if source is None else tensors[source]
                for target, source in program.carry.items()
            }

    def _run_graph(self, step: RunStep, quality: int, tensors: dict[str, Tensor]) -> None:
        with self.elapsed.measure("transform"):
            graph = self._graphs.get(step.graph) or self._load(step.graph)
            spec = self.bundle.manifest.graphs[step.graph]
            inputs = {
                name: tensors[name] if name in tensors else self._vector(name, quality)
                for name in spec.inputs
            }
            outputs = graph.run(inputs)
            # Nothing but what the manifest names: its programs have been checked for that.
            tensors.update({name: outputs[name] for name in spec.outputs})
            self.engine.synchronize()

    def _code(self, step: CodeStep, coder: SymbolCoder, tensors: dict[str, Tensor]) -> None:
        with self.elapsed.measure("transform"):
            index = None if step.index is None else self.download(step.index, tensors)[0]
            symbols = self.download(step.tensor, tensors)[0] if coder.needs_symbols else None
        _, channels, height, width = self._shape(step.tensor)
        coded = coder.code(step, index, symbols, (channels, height, width))
        with self.elapsed.measure("transform"):
            tensors[step.tensor] = self.engine.upload(coded[None])

    def download(self, name: str, tensors: Mapping[str, Tensor]) -> NDArray[np.float32]:
        """Fetch a tensor; raise :class:`EngineError` for another shape and for NaN or infinity."""
        array = self.engine.download(tensors[name])
        engine = self.engine.info.spec
        if array.shape != self._shape(name):
            raise EngineError(
                f"tensor {name!r} from engine {engine} has shape {array.shape}, but the manifest "
                f"promises {self._shape(name)}; export the bundle again"
            )
        if not (np.isfinite(array.min()) and np.isfinite(array.max())):
            raise EngineError(
                f"tensor {name!r} from engine {engine} holds numbers that are not finite; "
                "check the engine and the bundle's weights"
            )
        return array

    def _load(self, name: str) -> Graph:
        spec = self.bundle.manifest.graphs[name]
        shapes = {tensor: self._shape(tensor) for tensor in spec.inputs}
        graph = self.engine.load(self.bundle.graph(name), shapes)
        missing = sorted(set(spec.outputs) - set(graph.output_names))
        if missing:
            raise EngineError(f"graph {name!r} lacks the outputs {missing} the manifest promises")
        self._graphs[name] = graph
        return graph

    def _shape(self, tensor: str) -> tuple[int, int, int, int]:
        return self.bundle.manifest.tensors[tensor].shape(*self.padded)

    def _zeros(self, tensor: str) -> Tensor:
        return self.engine.upload(np.zeros(self._shape(tensor), np.float32))

    def _vector(self, name: str, quality: int) -> Tensor:
        key = (name, quality)
        if key not in self._vectors:
            self._vectors[key] = self.engine.upload(self.bundle.quality_vector(name, quality))
        return self._vectors[key]
