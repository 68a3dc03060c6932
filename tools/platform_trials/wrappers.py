"""Engines around engines: one remembers results, one records scale indices."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from nvc_engines import Engine, Graph, GraphSource, Shape, Tensor

MEMORY_BYTES = 768 << 20

IndexTrace = dict[int, dict[str, NDArray[np.float32]]]
"""Frame number -> name of the index tensor -> its values."""


class _Wrapper(Engine):
    """Passes everything on to an engine that stays the caller's."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.info = engine, engine.info

    def load(self, source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        """See ``Engine.load``."""
        return _WrappedGraph(self, source.sha256, self.engine.load(source, shapes))

    def upload(self, array: NDArray[np.float32]) -> Tensor:
        """See ``Engine.upload``."""
        return self.engine.upload(array)

    def download(self, tensor: Tensor) -> NDArray[np.float32]:
        """See ``Engine.download``."""
        return self.engine.download(tensor)

    def synchronize(self) -> None:
        """See ``Engine.synchronize``."""
        self.engine.synchronize()

    def close(self) -> None:
        """Leave the engine open."""

    @abstractmethod
    def run(self, sha256: str, graph: Graph, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph of the engine inside."""


class _WrappedGraph(Graph):
    def __init__(self, wrapper: _Wrapper, sha256: str, graph: Graph) -> None:
        self.name, self.input_shapes = graph.name, graph.input_shapes
        self.output_names = graph.output_names
        self._wrapper, self._sha256, self._graph = wrapper, sha256, graph

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See ``Graph.run``."""
        return self._wrapper.run(self._sha256, self._graph, inputs)


class RememberingEngine(_Wrapper):
    """Returns the earlier result when a graph is run again on inputs with the same bits.

    Streams of one clip with other calibration ask for the same runs; on an engine that repeats
    bit for bit, running them once is enough. The least recently used results go first when there
    are more than ``memory_bytes``.
    """

    def __init__(self, engine: Engine, memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__(engine)
        self._limit, self._held = memory_bytes, 0
        self._results: OrderedDict[bytes, tuple[int, dict[str, Tensor]]] = OrderedDict()
        self.runs = self.repeats = 0

    def run(self, sha256: str, graph: Graph, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph, or remember its results."""
        self.runs += 1
        key = self._key(sha256, inputs)
        if key in self._results:
            self.repeats += 1
            self._results.move_to_end(key)
            return dict(self._results[key][1])
        outputs = graph.run(inputs)
        size = 0
        for name, tensor in outputs.items():
            if isinstance(tensor, np.ndarray):
                # Several callers get it from now on: none may write to it.
                tensor.flags.writeable = False
            size += self.engine.download(outputs[name]).nbytes
        self._results[key] = size, dict(outputs)
        self._held += size
        while self._held > self._limit:
            _, (freed, _) = self._results.popitem(last=False)
            self._held -= freed
        return outputs

    def forget(self) -> None:
        """Drop all results."""
        self._results.clear()
        self._held = 0

    def _key(self, sha256: str, inputs: Mapping[str, Tensor]) -> bytes:
        digest = hashlib.sha256(sha256.encode())
        for name in sorted(inputs):
            array = self.engine.download(inputs[name])
            digest.update(f"{name}{array.shape}".encode())
            digest.update(array.data)
        return digest.digest()


class RecordingEngine(_Wrapper):
    """Keeps the scale indices that its graphs return, by frame.

    ``number`` is the frame that comes next; whoever drives the codec sets it. ``trace`` is the
    recording.
    """

    def __init__(self, engine: Engine, names: Collection[str]) -> None:
        super().__init__(engine)
        self._names = frozenset(names)
        self.number = 0
        self.trace: IndexTrace = {}

    def run(self, sha256: str, graph: Graph, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph and record the indices among its results."""
        del sha256
        outputs = graph.run(inputs)
        for name in self._names & outputs.keys():
            self.trace.setdefault(self.number, {})[name] = self.engine.download(outputs[name])
        return outputs


def digest_of_trace(trace: IndexTrace) -> str:
    """SHA-256 over the bits of all recorded indices: equal only for equal platforms."""
    digest = hashlib.sha256()
    for number in sorted(trace):
        for name in sorted(trace[number]):
            digest.update(f"{number} {name} {trace[number][name].shape}".encode())
            digest.update(np.ascontiguousarray(trace[number][name]).data)
    return digest.hexdigest()
