"""Relative position coding of the boundary set (Tian et al. MM'23, Eq. 7-9, 16, 17).

The encoder sends where its boundary set C_b = {|I - n| <= epsilon} is: the first position, then
the gaps, each with the bits that the largest gap needs. Both sides take round(I) on C_b and
floor(I) elsewhere. The set is closed here and open in the paper's Eq. 7: with the open set,
I_encoder = n - epsilon and I_decoder = n would satisfy the contract and get different levels.

Byte layout: docs/calibration.md, "Relative position coding".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nvc_calib.bitfields import (
    bits_from_fields,
    fields_from_bits,
    pack_bits,
    pack_varint,
    unpack_bits,
    unpack_varint,
)
from nvc_calib.boundaries import Boundaries, FlatIndex, LevelMap, Marks, Positions
from nvc_errors import CalibrationError, DamagedInputError

_MAX_GAP_BITS = 32


def pack_positions(positions: Positions) -> bytes:
    """Pack strictly ascending positions, int64 in [0, 2**32); none gives ``b""``."""
    if positions.size == 0:
        return b""
    gaps = np.diff(positions)
    width = int(gaps.max()).bit_length() if gaps.size else 0
    head = bytes([width]) + pack_varint(int(positions[0]))
    return head + pack_bits(bits_from_fields(gaps, width))


def unpack_positions(data: bytes, size: int) -> Positions:
    """Read positions below ``size`` back: int64, strictly ascending.

    Raises ``DamagedInputError`` for anything that ``pack_positions`` does not write.
    """
    if not data:
        return np.empty(0, dtype=np.int64)
    width = data[0]
    if width > _MAX_GAP_BITS:
        raise DamagedInputError(
            f"calibration data has gaps of {width} bits; expected at most {_MAX_GAP_BITS}"
        )
    first, offset = unpack_varint(data, 1, "first position")
    if first >= size:
        raise DamagedInputError(
            f"calibration data starts at position {first}; there are {size} elements"
        )
    packed = memoryview(data)[offset:]
    if width == 0:
        if len(packed):
            raise DamagedInputError(
                f"calibration data has {len(packed)} bytes after its only position; expected none"
            )
        return np.array([first], dtype=np.int64)
    if 8 * len(packed) // width > size + 7:  # a gap has one bit at least: at most 7 are padding
        raise DamagedInputError(
            f"calibration data has {len(packed)} bytes of gaps; there are only {size} elements"
        )
    bits = unpack_bits(packed)
    gaps = fields_from_bits(bits, width)
    count = int(np.count_nonzero(gaps))
    used_bits = count * width
    if (
        count == 0
        or not gaps[:count].all()
        or bits[used_bits:].any()
        or (used_bits + 7) // 8 != len(packed)
        or int(gaps.max()).bit_length() != width
    ):
        raise DamagedInputError(
            f"calibration data has a malformed list of {width}-bit gaps; it is damaged"
        )
    positions = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(gaps[:count])]) + first
    if int(positions[-1]) >= size:
        raise DamagedInputError(
            f"calibration data ends at position {int(positions[-1])}; there are {size} elements"
        )
    return positions


@dataclass(frozen=True)
class BoundarySet:
    """The encoder's boundary set of a frame; positions int64, strictly ascending."""

    positions: Positions

    def levels(self, index: FlatIndex, first: int, boundaries: Boundaries) -> LevelMap:
        """Return the encoder's level map, uint8 (size,), of elements ``first`` and on.

        Raises ``CalibrationError`` if a position is further than 2 epsilon from every boundary.
        """
        start, stop = self.positions.searchsorted((first, first + index.size))
        positions = self.positions[start:stop] - first
        level_map = boundaries.floor_levels(index)
        picked = index[positions]
        nearest = np.rint(picked)
        drifted = (
            (np.abs(picked - nearest) > np.float32(2.0 * boundaries.epsilon))
            | (nearest < np.float32(boundaries.first))
            | (nearest > np.float32(boundaries.levels - 1))
        )
        if drifted.any():
            worst = int(np.flatnonzero(drifted)[0])
            raise CalibrationError(
                f"scale index at flat position {int(positions[worst])} is {picked[worst]}; the "
                f"encoder had it within epsilon = {boundaries.epsilon:g} of a boundary. Either "
                "the calibration data is damaged or this engine drifts by more than epsilon: "
                "encode with a larger epsilon or decode with an engine closer to the encoder's"
            )
        level_map[positions] = nearest.astype(np.uint8)
        return level_map


class RelativePositionCoder:
    """Sends the positions of the boundary set; stateless."""

    def mark(self, index: FlatIndex, boundaries: Boundaries) -> tuple[LevelMap, Marks]:
        """Return the level map, uint8 (size,), and the boundary set."""
        positions = boundaries.near(index, boundaries.epsilon)
        level_map = boundaries.floor_levels(index)
        level_map[positions] = boundaries.nearest(index[positions])
        return level_map, Marks(positions, np.ones(positions.shape, np.bool_))

    def pack(self, marks: Marks) -> bytes:
        """Return the packed boundary set."""
        return pack_positions(marks.positions)

    def unpack(self, data: bytes, size: int) -> BoundarySet:
        """Read it back; ``DamagedInputError`` if the bytes are malformed."""
        return BoundarySet(unpack_positions(data, size))
