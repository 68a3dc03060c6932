"""Messages between a driver and a worker process: the same for every kind of worker.

A message is the length of its header (u32, little-endian), the header (JSON, UTF-8), and as many
bytes as the header's ``size`` says: an ONNX graph, or float32 tensors one after the other.

=======  ==================================================  =====================================
request  header                                              reply
=======  ==================================================  =====================================
(start)                                                      ``version``, ``device``, ``flags``
load     ``key``, ``name``, ``shapes``: [[name, dims]...]    (empty)
run      ``key``, ``tensors``: [[name, dims]...],            ``tensors``: [[name, dims]...]
         ``outputs``: [name...]
=======  ==================================================  =====================================

A reply with ``error`` says what failed; the worker lives on. It ends when its input does.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")
Message = tuple[dict[str, Any], bytes]


def send(file: IO[bytes], header: Mapping[str, Any], blob: bytes = b"") -> None:
    """Write one message."""
    text = json.dumps({**header, "size": len(blob)}).encode()
    file.write(_LENGTH.pack(len(text)) + text)
    file.write(blob)
    file.flush()


def receive(file: IO[bytes]) -> Message | None:
    """Read one message; None at the end of the file, also in the middle of a message."""
    length = file.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(length)
    text = file.read(size)
    if len(text) < size:
        return None
    header = json.loads(text)
    blob = file.read(header["size"])
    return None if len(blob) < header["size"] else (header, blob)


def pack_tensors(tensors: Mapping[str, NDArray[np.float32]]) -> tuple[list[Any], bytes]:
    """Return the list ``tensors`` of a header, and the bytes that go with it."""
    listed = [[name, list(array.shape)] for name, array in tensors.items()]
    blob = b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in tensors.values())
    return listed, blob


def unpack_tensors(listed: Sequence[Any], blob: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a message, each in memory of its own."""
    tensors, at = {}, 0
    for name, dims in listed:
        count = int(np.prod(dims, dtype=np.int64))
        array = np.frombuffer(blob, "<f4", count, at).reshape(dims)
        tensors[str(name)] = array.astype(np.float32)
        at += 4 * count
    return tensors
