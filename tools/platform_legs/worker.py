"""Worker process around one engine: ``python -m platform_legs.worker SPEC``.

It serves the messages of :mod:`platform_legs.wire` on standard input and output. The process is
what makes a leg: another instruction set, other environment variables, another architecture.
"""

from __future__ import annotations

import os
import sys
from typing import Any, BinaryIO

from nvc_engines import Engine, Graph, GraphSource, open_engine
from nvc_errors import NvcError
from platform_legs.wire import pack_tensors, receive, send, unpack_tensors


def serve(engine: Engine, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until they end."""
    info = engine.info
    start = {
        "version": info.backend_version,
        "device": info.device_name,
        "flags": dict(info.flags),
        "threads": info.threads,
    }
    send(replies, start)
    graphs: dict[str, Graph] = {}
    while (message := receive(requests)) is not None:
        header, blob = message
        try:
            if header["op"] == "load":
                source = GraphSource.from_onnx(header["name"], blob)
                shapes = {name: tuple(dims) for name, dims in header["shapes"]}
                graphs[header["key"]] = engine.load(source, shapes)
                send(replies, {})
            else:
                reply, data = _run(engine, graphs[header["key"]], header, blob)
                send(replies, reply, data)
        except NvcError as error:
            send(replies, {"error": str(error)})


def _run(
    engine: Engine, graph: Graph, header: dict[str, Any], blob: bytes
) -> tuple[dict[str, Any], bytes]:
    inputs = unpack_tensors(header["tensors"], blob)
    outputs = graph.run({name: engine.upload(array) for name, array in inputs.items()})
    arrays = {name: engine.download(outputs[name]) for name in header["outputs"]}
    listed, data = pack_tensors(arrays)
    return {"tensors": listed}, data


def main() -> None:
    """Open the engine named by the first argument and serve it."""
    # Libraries print to standard output; replies go to a copy of it that only we know.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open_engine(sys.argv[1]) as engine:
        serve(engine, sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
