"""Symbols beyond a table: an escape entry, then a length and that many raw bits.

Section 5.2 of ``docs/bitstream.md``. Escapes are rare and come in ones and twos, for which plain
integers are several times faster than arrays; a frame full of them costs time in proportion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from nvc_errors import StreamError
from nvc_runtime.entropy.tables import SYMBOL_LIMIT, FrequencyTable

Encode = Callable[[Any, Any], None]
"""``encode(symbol or symbols int32 (n,), model)``."""

Decode = Callable[..., Any]
"""``decode(model) -> int`` and ``decode(model, count) -> int32 (count,)``."""

_LENGTH_BITS = 5
_MAX_LENGTH = 22

_length_model: Any = constriction.stream.model.Uniform(1 << _LENGTH_BITS)
_bits_models: list[Any] = [
    constriction.stream.model.Uniform(1 << length) if length else None
    for length in range(_MAX_LENGTH + 1)
]


def encode_escapes(symbols: NDArray[np.int32], table: FrequencyTable, encode: Encode) -> None:
    """Code symbols that `table` does not name.

    Args:
        symbols: int32 (n,), n >= 1, each outside the table and within the symbol limit.
        table: the table whose escape entries have been coded before.
        encode: writes to the range coder.

    """
    above, below = table.highest + 1, table.lowest
    # u + 1 of the specification, which is 2**length + remainder.
    values = [2 * (s - above) + 1 if s >= above else 2 * (below - s) for s in symbols.tolist()]
    lengths = [value.bit_length() - 1 for value in values]
    encode(np.array(lengths, dtype=np.int32), _length_model)
    for value, length in zip(values, lengths, strict=True):
        if length:
            encode(value - (1 << length), _bits_models[length])


def decode_escapes(count: int, table: FrequencyTable, decode: Decode) -> list[int]:
    """Return `count` >= 1 symbols that `table` does not name.

    Raises:
        StreamError: a length or a symbol is beyond its limit.

    """
    lengths = decode(_length_model, count).tolist()
    if max(lengths) > _MAX_LENGTH:
        raise StreamError(
            f"entropy payload: found an escape of {max(lengths)} bits, expected at most "
            f"{_MAX_LENGTH}; the frame is damaged or was decoded with another bundle"
        )
    above, below = table.highest + 1, table.lowest
    symbols = []
    for length in lengths:
        value = (1 << length) + decode(_bits_models[length]) if length else 1
        symbols.append(above + (value >> 1) if value & 1 else below - (value >> 1))
    if max(symbols) > SYMBOL_LIMIT or min(symbols) < -SYMBOL_LIMIT:
        raise StreamError(
            f"entropy payload: found a symbol of magnitude {max(map(abs, symbols))}, expected "
            f"at most {SYMBOL_LIMIT}; the frame is damaged or was decoded with another bundle"
        )
    return symbols
