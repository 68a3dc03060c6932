"""An engine in a worker process, behind the same interface as every other engine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nvc_engines
import nvc_errors
from nvc_engines import Engine, EngineInfo, Graph, GraphSource, Shape, Tensor, parse_engine_spec
from nvc_engines.checks import check_arrays, check_shapes, float32_array
from nvc_engines.onnx_signature import read_signature
from nvc_errors import EngineError, EngineUnavailableError
from platform_legs.wire import Message, pack_tensors, receive, send, unpack_tensors

CLOSE_LIMIT_S = 20.0


class RemoteEngine(Engine):
    """A worker process; tensors are numpy arrays.

    ``spec`` is the engine inside the worker, ``flags`` what the process adds to it. ``env`` is
    added to the environment.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        spec: str,
        env: Mapping[str, str] | None = None,
        flags: Mapping[str, str] | None = None,
    ) -> None:
        """Start the worker; raise ``EngineUnavailableError`` with its last words if it dies."""
        self._spec = spec
        self._graphs: dict[tuple[str, tuple[tuple[str, Shape], ...]], Graph] = {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        )
        try:
            header, _ = self._receive()
        except EngineError as error:
            self.close()
            raise EngineUnavailableError(f"its worker does not start: {error}") from error
        self.info = EngineInfo(
            spec=parse_engine_spec(spec),
            backend_version=header["version"],
            device_name=header["device"],
            flags={**header["flags"], **(flags or {})},
            threads=header["threads"],
        )

    def load(self, source: GraphSource, shapes: Mapping[str, Shape]) -> Graph:
        """See ``Engine.load``. Each set of shapes is loaded once."""
        signature = read_signature(source.name, source.onnx)
        fitted = check_shapes(source.name, signature.inputs, shapes)
        identity = source.sha256, tuple(fitted.items())
        if identity not in self._graphs:
            key = str(len(self._graphs))
            listed = [[name, list(shape)] for name, shape in fitted.items()]
            header = {"op": "load", "key": key, "name": source.name, "shapes": listed}
            self.ask(header, source.onnx)
            self._graphs[identity] = _RemoteGraph(self, key, source.name, fitted, signature.outputs)
        return self._graphs[identity]

    def upload(self, array: NDArray[np.float32]) -> Tensor:
        """See ``Engine.upload``."""
        return float32_array(array)

    def download(self, tensor: Tensor) -> NDArray[np.float32]:
        """See ``Engine.download``."""
        return float32_array(tensor)

    def close(self) -> None:
        """End the worker."""
        self._graphs.clear()
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        try:
            process.wait(CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._log.close()

    def ask(self, header: Mapping[str, Any], blob: bytes) -> Message:
        """Send a request and return the reply; raise ``EngineError`` if it is an error."""
        assert self._process.stdin is not None
        try:
            send(self._process.stdin, header, blob)
        except (BrokenPipeError, ValueError) as error:
            raise EngineError(
                f"the worker of {self._spec} is gone: {self._last_words()}"
            ) from error
        return self._receive()

    def _receive(self) -> Message:
        assert self._process.stdout is not None
        message = receive(self._process.stdout)
        if message is None:
            raise EngineError(f"the worker of {self._spec} ended: {self._last_words()}")
        if "error" in message[0]:
            raise EngineError(message[0]["error"])
        return message

    def _last_words(self) -> str:
        if self._log.closed:
            return "it was closed"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return " | ".join(line.strip() for line in lines if line.strip())[-400:] or "no message"


class _RemoteGraph(Graph):
    """A graph that the worker holds under ``key``."""

    def __init__(
        self,
        engine: RemoteEngine,
        key: str,
        name: str,
        shapes: dict[str, Shape],
        outputs: tuple[str, ...],
    ) -> None:
        self.name = name
        self.input_shapes = shapes
        self.output_names = outputs
        self._engine, self._key = engine, key

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See ``Graph.run``."""
        listed, blob = pack_tensors(check_arrays(self.name, self.input_shapes, inputs))
        header = {"op": "run", "key": self._key, "tensors": listed, "outputs": self.output_names}
        reply, data = self._engine.ask(header, blob)
        return dict(unpack_tensors(reply["tensors"], data))


def python_worker(spec: str) -> list[str]:
    """Return the command for a worker under this Python."""
    return [sys.executable, "-m", "platform_legs.worker", spec]


def worker_path(*first: Path) -> str:
    """Return a ``PYTHONPATH`` on which a worker finds its own code; ``first`` comes before it."""
    packages = (Path(__file__).parent, *(Path(_file(m)).parent for m in (nvc_engines, nvc_errors)))
    folders = [*first, *(package.parent for package in packages)]
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.pathsep.join([*map(os.fspath, folders), *inherited])


def _file(module: Any) -> str:
    return str(module.__file__)
