"""The hash behind the retrieval structure: SplitMix64 in counter mode.

Word j of the row of position x under seed t is output number 2**48 t + 2**32 j + x + 1 of
SplitMix64 started from 0 (Steele, Lea, Flood, OOPSLA'14): 64-bit unsigned arithmetic, the same
in every language. Word 0 chooses the block; words 1, 2, ... are the row. Distinct positions
have distinct words, since the output function is a bijection.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 output number counter + 1; overwrites ``counter``."""
    counter += np.uint64(1)
    counter *= _GOLDEN
    counter ^= counter >> np.uint64(30)
    counter *= _MIX_1
    counter ^= counter >> np.uint64(27)
    counter *= _MIX_2
    counter ^= counter >> np.uint64(31)
    return counter


def hash_words(positions: NDArray[np.int64], seed: int, words: int) -> NDArray[np.uint64]:
    """Rows of the positions: uint64 (words, len(positions)); column c is bit c % 64 of c // 64."""
    offsets = (np.arange(1, words + 1, dtype=np.uint64) << np.uint64(32)) + np.uint64(seed << 48)
    return _mix(offsets[:, None] + positions.astype(np.uint64))


def block_numbers(positions: NDArray[np.int64], seed: int, block_count: int) -> NDArray[np.int64]:
    """Block of each position: int64 in [0, block_count), block_count < 2**32."""
    high = _mix(positions.astype(np.uint64) + np.uint64(seed << 48)) >> np.uint64(32)
    return ((high * np.uint64(block_count)) >> np.uint64(32)).astype(np.int64)
