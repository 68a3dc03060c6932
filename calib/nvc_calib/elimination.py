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
_SPARE_COLUMNS = 24
_PARITY = (np.array([value.bit_count() for value in range(1 << 16)]) & 1).astype(np.uint64)
_SHRINK_EVERY = 16
_CHUNK_WORDS = 1 << 18
"""Blocks are eliminated together in chunks of about this size at most, to stay in cache."""


def solve_one(positions: NDArray[np.int64], answers: NDArray[np.bool_]) -> int | None:
    """Solve one block under seed 0: the solution as an integer, column c being bit c.

    None if the rows contradict each other in all columns tried (probability below 2**-24).
    """
    words = (positions.size + _SPARE_COLUMNS) // 64 + 1
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
        bit = (value & -value).bit_length() - 1
        pivots.append(64 * word + bit)
        if word == words - 1 and bit in (-1, 63):
            if bit == 63:
                return None
            continue  # the row says 0 = 0
        later = signed[word:, key + 1 :]
        hit = (later[0] << (63 - bit)) >> 63  # all ones where the pivot column is set
        later ^= hit & signed[word:, key, None]
    solution = 1 << (64 * words - 1)  # meets the bit to store, so that a parity includes it
    by_key = np.ascontiguousarray(rows.T).astype("<u8")
    for key in range(positions.size - 1, -1, -1):
        row = int.from_bytes(by_key[key].tobytes(), "little")
        if (row & solution).bit_count() & 1:
            solution |= 1 << pivots[key]
    return solution & ((1 << (64 * words - 1)) - 1)


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
    counts = np.bincount(blocks, minlength=block_count)
    largest = int(counts.max())
    if largest > max_columns - 64:
        return None
    words = (largest + _SPARE_COLUMNS) // 64 + 1
    # Lanes are blocks by ascending size, so that blocks eliminated together waste few rows.
    block_of_lane = np.argsort(counts, kind="stable")
    lane_of_block = np.empty_like(block_of_lane)
    lane_of_block[block_of_lane] = np.arange(block_count)
    order = np.argsort(blocks, kind="stable")
    starts = np.cumsum(counts) - counts
    slot = np.arange(order.size) - starts[blocks[order]]
    keyed = hash_words(positions[order], seed, words)
    _store_answers(keyed[-1], answers[order])
    rows = np.zeros((words, block_count, largest), dtype=np.uint64)
    rows[:, lane_of_block[blocks[order]], slot] = keyed
    solved = _eliminate(rows, counts[block_of_lane])
    return None if solved is None else solved[lane_of_block]


def _store_answers(last_word: NDArray[np.uint64], answers: NDArray[np.bool_]) -> None:
    last_word &= np.uint64(_TOP - 1)
    last_word |= answers.astype(np.uint64) << np.uint64(63)


def _eliminate(rows: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.uint64] | None:
    """Solve all lanes of ``rows``, uint64 (words, lanes, keys), in step; overwrites it.

    Lane b has ``counts[b]`` rows, ascending in b; rows of zeros pad it.
    Returns uint64 (lanes, words), None on a contradiction.
    """
    words, lanes, keys = rows.shape
    pivot_word = np.zeros((keys, lanes), dtype=np.int64)
    pivot_bit = np.zeros((keys, lanes), dtype=np.uint64)
    chunk_count = -(-rows.size // _CHUNK_WORDS)
    chunk = -(-lanes // chunk_count)  # even chunks: each costs a pass over the keys
    for begin in range(0, lanes, chunk):
        part = slice(begin, begin + chunk)
        largest = int(counts[part].max())
        _reduce_forward(rows[:, part, :largest], pivot_word[:, part], pivot_bit[:, part])
    if ((pivot_word == words - 1) & (pivot_bit == np.uint64(_TOP))).any():
        return None
    return _substitute_back(rows, pivot_word, pivot_bit)


def _reduce_forward(
    rows: NDArray[np.uint64], pivot_word: NDArray[np.int64], pivot_bit: NDArray[np.uint64]
) -> None:
    """Clear each row's pivot, its lowest set bit, in all later rows of its lane."""
    words, lanes, keys = rows.shape
    lane = np.arange(lanes)
    scratch = np.empty(lanes * keys, dtype=np.uint64)
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
        hit = (rows[word, lane, key + 1 :] & bit[:, None]) != 0
        mask = np.negative(hit.view(np.int8), dtype=np.int64).view(np.uint64)
        change = scratch[: mask.size].reshape(mask.shape)
        for offset, pivot in enumerate(pivot_row):  # word by word: the scratch stays in cache
            later = rows[low_word + offset, :, key + 1 :]
            np.bitwise_and(mask, pivot[:, None], out=change)
            later ^= change


def _substitute_back(
    rows: NDArray[np.uint64], pivot_word: NDArray[np.int64], pivot_bit: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Read the solution off reduced rows, last row first: uint64 (lanes, words)."""
    words, lanes, keys = rows.shape
    lane = np.arange(lanes)
    by_key = np.ascontiguousarray(rows.transpose(2, 0, 1))
    solution = np.zeros((words, lanes), dtype=np.uint64)
    solution[-1] = _TOP  # meets the bit to store, so that a parity includes it
    for key in range(keys - 1, -1, -1):
        parity = np.bitwise_xor.reduce(by_key[key] & solution, axis=0)
        parity ^= parity >> np.uint64(32)
        parity ^= parity >> np.uint64(16)
        odd = _PARITY[parity.astype(np.uint16)]
        solution[pivot_word[key], lane] |= pivot_bit[key] * odd
    solution[-1] &= np.uint64(_TOP - 1)
    return np.ascontiguousarray(solution.T)
