"""Gauss-Jordan elimination over GF(2) on bit-packed rows, for the retrieval structure.

A row is a key: its hash bits, and in the top bit of the last word the bit to store. Rows take
their lowest set bit as pivot, so the pivots are the first columns that carry the rank, and with
the other columns set to zero the highest set bit of the solution is the smallest possible: the
block needs no column above it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvc_calib.hashrows import block_numbers, hash_words

_TOP = 1 << 63
_SHRINK_EVERY = 16
_CHUNK_WORDS = 1 << 16
"""Blocks are eliminated together in chunks of about this size, which stay in cache."""


def solve_one(positions: NDArray[np.int64], answers: NDArray[np.bool_]) -> int | None:
    """Solve one block under seed 0: the solution as an integer, column c being bit c.

    None if the rows contradict each other in all columns tried (probability below 2**-60).
    """
    words = positions.size // 64 + 2
    rows = hash_words(positions, 0, words)
    _store_answers(rows[-1], answers)
    signed = rows.view(np.int64)
    pivots: list[int] = []
    low_word = 0
    for key in range(positions.size):
        while low_word < words - 1 and not rows[low_word, key:].any():
            low_word += 1
        word = low_word
        value = int(rows[word, key])
        while value == 0 and word < words - 1:
            word += 1
            value = int(rows[word, key])
        low = value & -value
        bit = low.bit_length() - 1
        if word == words - 1 and bit in (-1, 63):
            if bit == 63:
                return None
            pivots.append(-1)
            continue
        pivots.append(64 * word + bit)
        hit = (signed[word] << (63 - bit)) >> 63  # all ones where the pivot column is set
        hit[key] = 0
        signed[word:] ^= hit & signed[word:, key, None]
    stored = (rows[-1] >> np.uint64(63)).tolist()
    return sum(1 << pivot for pivot, bit in zip(pivots, stored, strict=True) if bit and pivot >= 0)


def solve_blocks(
    positions: NDArray[np.int64],
    answers: NDArray[np.bool_],
    seed: int,
    block_count: int,
    max_columns: int,
) -> NDArray[np.uint64] | None:
    """Spread the keys over blocks and solve each: uint64 (block_count, words).

    None if a block is too full or needs more than ``max_columns`` columns.
    """
    blocks = block_numbers(positions, seed, block_count)
    order = np.argsort(blocks, kind="stable")
    counts = np.bincount(blocks, minlength=block_count)
    largest = int(counts.max())
    if largest > max_columns - 64:
        return None
    words = largest // 64 + 2
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    solution = np.zeros((block_count, words), dtype=np.uint64)
    chunk = max(1, _CHUNK_WORDS // (words * largest))
    for begin in range(0, block_count, chunk):
        end = min(begin + chunk, block_count)
        chosen = order[starts[begin] : starts[end]]
        lane = blocks[chosen] - begin
        slot = np.arange(starts[begin], starts[end]) - starts[blocks[chosen]]
        rows = np.zeros((words, end - begin, int(counts[begin:end].max())), dtype=np.uint64)
        keyed = hash_words(positions[chosen], seed, words)
        _store_answers(keyed[-1], answers[chosen])
        rows[:, lane, slot] = keyed
        part = _eliminate(rows)
        if part is None:
            return None
        solution[begin:end] = part
    return solution


def _store_answers(last_word: NDArray[np.uint64], answers: NDArray[np.bool_]) -> None:
    last_word &= np.uint64(_TOP - 1)
    last_word |= answers.astype(np.uint64) << np.uint64(63)


def _eliminate(rows: NDArray[np.uint64]) -> NDArray[np.uint64] | None:
    """Solve all lanes of ``rows``, uint64 (words, lanes, keys), in step; overwrites it.

    Rows of zeros are padding. Returns uint64 (lanes, words), None on a contradiction.
    """
    words, lanes, keys = rows.shape
    lane = np.arange(lanes)
    pivot_word = np.zeros((keys, lanes), dtype=np.int64)
    pivot_bit = np.zeros((keys, lanes), dtype=np.uint64)
    scratch = np.empty_like(rows)
    low_word = 0
    for key in range(keys):
        if key % _SHRINK_EVERY == 0:
            while low_word < words - 1 and not rows[low_word, :, key:].any():
                low_word += 1
        pivot_row = rows[low_word:, :, key].copy()
        word = (pivot_row != 0).argmax(axis=0)
        value = pivot_row[word, lane]
        bit = value & (~value + np.uint64(1))
        word += low_word
        pivot_word[key] = word
        pivot_bit[key] = bit
        hit = (rows[word, lane] & bit[:, None]) != 0
        hit[:, key] = False
        mask = np.negative(hit.astype(np.int64)).view(np.uint64)
        change = scratch[low_word:]
        np.bitwise_and(pivot_row[:, :, None], mask, out=change)
        rows[low_word:] ^= change
    stored = (rows[-1].T >> np.uint64(63)).astype(np.bool_)
    contradiction = (pivot_word == words - 1) & (pivot_bit == np.uint64(_TOP))
    if contradiction.any():
        return None
    solution = np.zeros((lanes, words), dtype=np.uint64)
    key_of, lane_of = np.nonzero(stored)
    np.bitwise_or.at(solution, (lane_of, pivot_word[key_of, lane_of]), pivot_bit[key_of, lane_of])
    return solution
