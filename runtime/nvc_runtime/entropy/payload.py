"""The bytes of a range coder: from words to the shortest binary fraction, and back.

A range coder ends with an interval; any number inside identifies the message. constriction
seals with whole 32-bit words. Read as a binary fraction, most significant byte first and
continued by zeros, a shorter number usually lies in the same interval: this saves about
two bytes a frame. Section 5 of ``docs/bitstream.md``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STATE_BYTES = 8
_STATE_END = 1 << 64


def shortest_payload(words: NDArray[np.uint32], position: int, lower: int, width: int) -> bytes:
    """Return the shortest payload that decodes to what has been encoded.

    Args:
        words: uint32 (n,), the sealed words.
        position: words in front of the coder's state.
        lower: lower end of the state's interval, 0..2**64-1.
        width: width of the state's interval, 2**32..2**64-1.

    """
    if words.size == 0:
        return b""
    raw = words.astype(">u4").tobytes()
    head, tail = raw[: 4 * position], raw[4 * position :]
    sealed = int.from_bytes(tail.ljust(_STATE_BYTES, b"\0"), "big")
    # Relative to the sealed head, so that the interval may begin below 0 or end beyond 2**64.
    first = sealed - (sealed - lower) % _STATE_END
    end = first + width
    if first <= 0:
        return head.rstrip(b"\0")
    if end > _STATE_END:
        carried = int.from_bytes(head, "big") + 1
        return carried.to_bytes(len(head), "big").rstrip(b"\0")
    for size in range(1, _STATE_BYTES + 1):
        unit = 1 << (64 - 8 * size)
        number = -(-first // unit)
        if number * unit < end:
            return (head + number.to_bytes(size, "big")).rstrip(b"\0")
    raise AssertionError("the interval of a range coder is never empty")


def words_from_payload(payload: bytes) -> NDArray[np.uint32]:
    """Return the payload as uint32 words, continued by zeros to a whole word."""
    padded = payload + b"\0" * (-len(payload) % 4)
    return np.frombuffer(padded, dtype=">u4").astype(np.uint32)
