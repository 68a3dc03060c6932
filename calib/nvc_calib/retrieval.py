"""A linear retrieval structure over GF(2): about one bit for each key, and no positions.

The decoder's doubtful elements, |I_decoder - n| <= epsilon, all lie in the encoder's key set
S = {|I_encoder - n| <= 2 epsilon}. For each key the encoder stores one bit, "I_encoder >= n",
by choosing bits s such that the parity of (hash row of the key AND s) is that bit. A decoder
evaluates the parity for its doubtful elements only and never learns the rest of S.

Few keys make one block whose columns fill whole bytes; more are spread over blocks of a few
hundred by their hash, which keeps the elimination cheap. A block takes as many columns as make
it solvable: a system without a solution gets one more column instead of another seed, and the
number of columns is sent anyway.

Bit layout and hash: docs/calibration.md, "Retrieval structure".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc_calib.bitfields import (
    bits_from_fields,
    fields_from_bits,
    pack_bits,
    pack_varint,
    unpack_bits,
    unpack_varint,
)
from nvc_calib.boundaries import Boundaries, FlatIndex, LevelMap, Marks, Positions
from nvc_calib.elimination import solve_blocks, solve_one
from nvc_calib.hashrows import block_numbers, hash_words
from nvc_errors import CalibrationError, DamagedInputError

SINGLE_BLOCK_BYTES = 64
"""Up to this length the side information is one block."""
TARGET_BLOCK_KEYS = 176
MAX_BLOCK_COLUMNS = 1024
SEED_COUNT = 4

_MIN_BLOCK_KEYS = 128
"""A writer makes no more blocks than size / 128 + 2, so that a reader can bound them."""
_MIN_BASE_COLUMNS = 128
_BASE_STEP = 4
_BASE_COUNT = 64
_RICE_BITS = 4
_SPARE_BYTES = 1024


@dataclass(frozen=True)
class RetrievalBlocks:
    """Solved blocks: what the side information says.

    solution: uint64 (blocks, words); column c of a block is bit c % 64 of word c // 64.
    """

    seed: int
    solution: NDArray[np.uint64]

    def answer(self, positions: Positions) -> NDArray[np.bool_]:
        """Return the stored bit of each position; any bit for one that is no key."""
        words = self.solution.shape[1]
        rows = hash_words(positions, self.seed, words)
        if self.solution.shape[0] == 1:
            rows &= self.solution[0][:, None]
        else:
            blocks = block_numbers(positions, self.seed, self.solution.shape[0])
            rows &= self.solution[blocks].T
        parity = np.bitwise_xor.reduce(rows, axis=0)
        for shift in (32, 16, 8, 4, 2, 1):
            parity ^= parity >> np.uint64(shift)
        return np.asarray(parity & np.uint64(1), dtype=np.bool_)

    def levels(self, index: FlatIndex, first: int, boundaries: Boundaries) -> LevelMap:
        """Return the encoder's level map, uint8 (size,), of elements ``first`` and on."""
        level_map = boundaries.floor_levels(index)
        doubtful = boundaries.near(index, boundaries.epsilon)
        upper = boundaries.nearest(index[doubtful])
        lower = np.maximum(upper - np.uint8(1), np.uint8(max(boundaries.skip_level, 0)))
        level_map[doubtful] = np.where(self.answer(doubtful + first), upper, lower)
        return level_map


def pack_answers(positions: Positions, answers: NDArray[np.bool_]) -> bytes:
    """Store one bit for each position (distinct, in [0, 2**32)).

    Returns ``b""`` if there are no positions or all bits are 0.
    Raises ``CalibrationError`` if the positions defeat the hash, which takes malice.
    """
    if not answers.any():
        return b""
    if positions.size <= 8 * SINGLE_BLOCK_BYTES:
        solution = solve_one(positions, answers)
        if solution is not None and solution.bit_length() <= 8 * SINGLE_BLOCK_BYTES:
            return solution.to_bytes((solution.bit_length() + 7) // 8, "little")
    block_count = max(2, round(positions.size / TARGET_BLOCK_KEYS))
    for seed in range(SEED_COUNT):
        solutions = solve_blocks(positions, answers, seed, block_count, MAX_BLOCK_COLUMNS)
        if solutions is not None:
            return _pack_blocks(seed, solutions)
    raise CalibrationError(
        f"{positions.size} calibration keys could not be stored with any of {SEED_COUNT} hash "
        "seeds; this does not happen by chance. Change epsilon or use the rpc position coder"
    )


def unpack_blocks(data: bytes, size: int) -> RetrievalBlocks:
    """Read side information for ``size`` elements; allocates O(len(data)).

    Raises ``DamagedInputError`` for anything that ``pack_answers`` does not write.
    """
    if len(data) > size // 4 + _SPARE_BYTES:
        raise DamagedInputError(
            f"calibration data has {len(data)} bytes; expected at most "
            f"{size // 4 + _SPARE_BYTES} for {size} elements"
        )
    if len(data) <= SINGLE_BLOCK_BYTES:
        if data and data[-1] == 0:
            raise DamagedInputError("calibration data ends in a zero byte; it is damaged")
        padded = data.ljust(8 * max(1, (len(data) + 7) // 8), b"\0")
        solution = np.frombuffer(padded, dtype="<u8").astype(np.uint64)
        return RetrievalBlocks(0, solution.reshape(1, -1))
    return _unpack_many(data, size // _MIN_BLOCK_KEYS + 2)


def _pack_blocks(seed: int, solution: NDArray[np.uint64]) -> bytes:
    columns = _columns_from_solution(solution)
    base_code = round((float(columns.mean()) - _MIN_BASE_COLUMNS) / _BASE_STEP)
    base_code = min(max(base_code, 0), _BASE_COUNT - 1)
    delta = columns - (_MIN_BASE_COLUMNS + _BASE_STEP * base_code)
    folded = np.where(delta < 0, -2 * delta - 1, 2 * delta)
    quotients = folded >> _RICE_BITS
    unary = np.zeros(int(quotients.sum()) + columns.size, dtype=np.uint8)
    unary[np.cumsum(quotients + 1) - 1] = 1
    stored = np.unpackbits(solution.astype("<u8").view(np.uint8), axis=1, bitorder="little")
    sent = np.arange(stored.shape[1]) < columns[:, None] - 1  # the highest bit is 1
    low_bits = bits_from_fields(folded & ((1 << _RICE_BITS) - 1), _RICE_BITS)
    head = pack_varint(columns.size) + bytes([base_code | seed << 6])
    packed = head + pack_bits(np.concatenate([low_bits, unary, stored[sent]]))
    # Longer than a single block can be: the length tells the two layouts apart.
    return packed.ljust(SINGLE_BLOCK_BYTES + 1, b"\0")


def _unpack_many(data: bytes, max_blocks: int) -> RetrievalBlocks:
    block_count, offset = unpack_varint(data, 0, "number of blocks")
    head = data[offset]  # there are more than SINGLE_BLOCK_BYTES bytes
    bits = unpack_bits(memoryview(data)[offset + 1 :])
    low_end = _RICE_BITS * block_count
    if not 2 <= block_count <= max_blocks or low_end + block_count > bits.size:
        raise DamagedInputError(
            f"calibration data of {len(data)} bytes announces {block_count} blocks; "
            f"expected 2 to {max_blocks} that fit"
        )
    stops = np.flatnonzero(bits[low_end:])[:block_count]
    if stops.size < block_count:
        raise DamagedInputError("calibration data ends inside its block sizes; it is truncated")
    quotients = np.diff(stops, prepend=-1) - 1
    folded = (quotients << _RICE_BITS) | fields_from_bits(bits[:low_end], _RICE_BITS)
    delta = np.where(folded & 1, -((folded + 1) >> 1), folded >> 1)
    columns = delta + (_MIN_BASE_COLUMNS + _BASE_STEP * (head & (_BASE_COUNT - 1)))
    if columns.min() < 0 or columns.max() > MAX_BLOCK_COLUMNS:
        raise DamagedInputError(
            f"calibration data has a block of {int(columns.min())} to {int(columns.max())} "
            f"columns; expected 0 to {MAX_BLOCK_COLUMNS}"
        )
    start = low_end + int(stops[-1]) + 1
    end = start + int(np.maximum(columns - 1, 0).sum())
    used_bytes = offset + 1 + (end + 7) // 8
    if end > bits.size or bits[end:].any() or len(data) != max(used_bytes, SINGLE_BLOCK_BYTES + 1):
        raise DamagedInputError(
            f"calibration data has {len(data)} bytes; its block sizes call for {used_bytes}"
        )
    words = max(1, (int(columns.max()) + 63) // 64)
    table = np.zeros((block_count, 64 * words), dtype=np.uint8)
    table[np.arange(64 * words) < columns[:, None] - 1] = bits[start:end]
    filled = np.flatnonzero(columns)
    table[filled, columns[filled] - 1] = 1
    solution = np.packbits(table, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    return RetrievalBlocks(head >> 6, solution)


def _columns_from_solution(solution: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Columns each block needs: one more than its highest set bit, int64 (blocks,)."""
    rows = solution.astype("<u8")
    return np.array([int.from_bytes(row.tobytes(), "little").bit_length() for row in rows])


class RetrievalCoder:
    """Stores one bit for each element that a decoder might doubt; stateless."""

    def mark(self, index: FlatIndex, boundaries: Boundaries) -> tuple[LevelMap, Marks]:
        """Return the level map, uint8 (size,), and the keys."""
        keys = boundaries.near(index, 2.0 * boundaries.epsilon)
        key_index = index[keys]
        return boundaries.floor_levels(index), Marks(keys, key_index >= np.rint(key_index))

    def pack(self, marks: Marks) -> bytes:
        """Return the packed retrieval structure."""
        return pack_answers(marks.positions, marks.upper)

    def unpack(self, data: bytes, size: int) -> RetrievalBlocks:
        """Read it back; ``DamagedInputError`` if the bytes are malformed."""
        return unpack_blocks(data, size)
