"""Little-endian bit fields and variable-length integers for the side information.

Bit i of a byte string is ``(data[i >> 3] >> (i & 7)) & 1``: the lowest bit of a byte comes first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvc_errors import DamagedInputError

Bits = NDArray[np.uint8]

_MAX_VARINT_BYTES = 5


def pack_bits(bits: Bits) -> bytes:
    """Pack zeros and ones, uint8 (count,), into ceil(count / 8) bytes; padding is zero."""
    return np.packbits(bits, bitorder="little").tobytes()


def unpack_bits(data: bytes | memoryview) -> Bits:
    """Unpack all bits of ``data``: uint8 (8 * len(data),) of zeros and ones."""
    return np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")


def bits_from_fields(values: NDArray[np.int64], width: int) -> Bits:
    """Lay out each value in [0, 2**width) as ``width`` bits, lowest first, one after another."""
    shifts = np.arange(width, dtype=np.int64)
    return ((values[:, None] >> shifts) & 1).astype(np.uint8).reshape(-1)


def fields_from_bits(bits: Bits, width: int) -> NDArray[np.int64]:
    """Read ``len(bits) // width`` values of ``width`` bits (1 to 32) each: int64."""
    count = bits.size // width
    values = np.zeros(count, dtype=np.int64)
    table = bits[: count * width].reshape(count, width)
    for shift in range(width):
        values |= table[:, shift].astype(np.int64) << shift
    return values


def pack_varint(value: int) -> bytes:
    """LEB128: seven bits a byte, lowest first, high bit set on all but the last byte."""
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def unpack_varint(data: bytes, offset: int, what: str) -> tuple[int, int]:
    """Read an LEB128 number below 2**32 at ``offset``; return it and the next offset.

    Raises ``DamagedInputError`` if it is cut off, too large, or not in its shortest form.
    """
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if offset + count >= len(data):
            raise DamagedInputError(f"calibration data ends inside the {what}; it is truncated")
        byte = data[offset + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if (count and byte == 0) or value >= 1 << 32:
                break
            return value, offset + count + 1
    raise DamagedInputError(
        f"calibration data holds a malformed {what}; expected a shortest-form number below 2**32"
    )
