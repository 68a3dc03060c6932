"""Symbols beyond a table: an escape entry, then a length and that many raw bits.

Section 5.2 of ``docs/bitstream.md``. Escapes are rare; they are coded as arrays all the same, so
that a frame full of them costs time in proportion and not more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from nvc_errors import StreamError
from nvc_runtime.entropy.tables import SYMBOL_LIMIT, FrequencyTable

Encode = Callable[..., None]
"""``encode(symbols int32 (n,), model, *parameters)``."""

Decode = Callable[..., NDArray[np.int32]]
"""``decode(model, count or parameters) -> int32 (n,)``."""

_LENGTH_BITS = 5
_MAX_LENGTH = 22

_length_model: Any = constriction.stream.model.Uniform(1 << _LENGTH_BITS)
_bits_model: Any = constriction.stream.model.Uniform()


def encode_escapes(symbols: NDArray[np.int32], table: FrequencyTable, encode: Encode) -> None:
    """Code symbols that `table` does not name.

    Args:
        symbols: int32 (n,), n >= 1, each outside the table and within the symbol limit.
        table: the table whose escape entries have been coded before.
        encode: writes to the range coder.

    """
    above = symbols - (table.highest + 1)
    below = (table.lowest - 1) - symbols
    # u + 1 of the specification, which is 2**length + remainder.
    values = np.where(above >= 0, 2 * above + 1, 2 * below + 2)
    # frexp gives the bit length exactly: values are far below 2**53.
    lengths = np.frexp(values.astype(np.float64))[1].astype(np.int32) - 1
    encode(lengths, _length_model)
    longer = lengths.nonzero()[0]
    if longer.size:
        sizes = 1 << lengths[longer]
        encode(values[longer] - sizes, _bits_model, sizes)


def decode_escapes(count: int, table: FrequencyTable, decode: Decode) -> NDArray[np.int32]:
    """Return `count` >= 1 symbols, int32 (count,), that `table` does not name.

    Raises:
        StreamError: a length or a symbol is beyond its limit.

    """
    lengths = decode(_length_model, count)
    if int(lengths.max()) > _MAX_LENGTH:
        raise StreamError(
            f"entropy payload: found an escape of {int(lengths.max())} bits, expected at most "
            f"{_MAX_LENGTH}; the frame is damaged or was decoded with another bundle"
        )
    values = 1 << lengths  # which is also how many remainders there are
    longer = lengths.nonzero()[0]
    if longer.size:
        values[longer] += decode(_bits_model, values[longer])
    half = values >> 1
    symbols = np.where(values & 1, table.highest + 1 + half, table.lowest - half)
    if int(np.abs(symbols).max()) > SYMBOL_LIMIT:
        raise StreamError(
            f"entropy payload: found a symbol of magnitude {int(np.abs(symbols).max())}, expected "
            f"at most {SYMBOL_LIMIT}; the frame is damaged or was decoded with another bundle"
        )
    return symbols
