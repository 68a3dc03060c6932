"""Level maps with position coding: the two functions the codec calls.

``encode_levels`` turns the encoder's scale indices into levels and side information;
``decode_levels`` turns a decoder's slightly different indices and that side information into
the same levels, exactly, whenever no index differs by more than epsilon (docs/calibration.md).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nvc_calib.boundaries import Boundaries, FlatIndex, LevelMap, flatten_index
from nvc_calib.retrieval import RetrievalCoder
from nvc_calib.rpc import RelativePositionCoder
from nvc_errors import DamagedInputError


class PositionCoder(StrEnum):
    """How the decoder learns on which side of a boundary a doubtful element lies."""

    NONE = "none"
    """Nothing is sent. Exact only if both sides compute the same indices bit for bit."""
    RPC = "rpc"
    """Relative position coding, as in the paper. For comparison."""
    RETRIEVAL = "retrieval"
    """A linear retrieval structure, about one bit a key. The default."""

    @property
    def wire_id(self) -> int:
        """Number that names this coder in a stream."""
        return _WIRE_IDS[self]

    @classmethod
    def from_wire_id(cls, wire_id: int) -> PositionCoder:
        """Return the coder a stream names; ``DamagedInputError`` if there is none."""
        for coder, number in _WIRE_IDS.items():
            if number == wire_id:
                return coder
        known = ", ".join(f"{number} ({coder.value})" for coder, number in _WIRE_IDS.items())
        raise DamagedInputError(f"position coder {wire_id} is unknown; known are {known}")


_WIRE_IDS = {PositionCoder.NONE: 0, PositionCoder.RPC: 1, PositionCoder.RETRIEVAL: 2}


class LevelCoder(Protocol):
    """What stands behind a ``PositionCoder``. Index and level map are flat, (size,)."""

    def encode(self, index: FlatIndex, boundaries: Boundaries) -> tuple[LevelMap, bytes]:
        """Return the level map and the side information."""
        ...

    def decode(self, index: FlatIndex, side_information: bytes, boundaries: Boundaries) -> LevelMap:
        """Return the encoder's level map."""
        ...


class _FloorCoder:
    """No protection: both sides take floor(I)."""

    def encode(self, index: FlatIndex, boundaries: Boundaries) -> tuple[LevelMap, bytes]:
        return boundaries.floor_levels(index), b""

    def decode(self, index: FlatIndex, side_information: bytes, boundaries: Boundaries) -> LevelMap:
        if side_information:
            raise DamagedInputError(
                f"{len(side_information)} bytes of calibration data in a stream whose position "
                "coder is none; expected none"
            )
        return boundaries.floor_levels(index)


_CODERS: dict[PositionCoder, LevelCoder] = {
    PositionCoder.NONE: _FloorCoder(),
    PositionCoder.RPC: RelativePositionCoder(),
    PositionCoder.RETRIEVAL: RetrievalCoder(),
}


def encode_levels(
    index: NDArray[np.float32],
    *,
    levels: int,
    skip_level: int,
    epsilon: float,
    coder: PositionCoder,
) -> tuple[LevelMap, bytes]:
    """Return the level of every element and what a decoder needs to find the same ones.

    index: float32, any shape, finite. Below 0 counts as level 0, above as level ``levels - 1``.
    levels: 2 to 256. skip_level: -1 (skip nothing) to levels - 2. 0 <= epsilon < 0.25.

    The level map is a new uint8 array of the same shape. Every level at or below ``skip_level``
    is given as ``skip_level``, because the two sides may disagree about which of them it is.
    The side information is ``b""`` if no element lies near a boundary.

    Raises ``UsageError`` for a bad argument, ``CalibrationError`` for a NaN or an infinity.
    """
    boundaries = Boundaries(levels, skip_level, epsilon)
    level_map, side_information = _CODERS[coder].encode(flatten_index(index), boundaries)
    return level_map.reshape(index.shape), side_information


def decode_levels(
    index: NDArray[np.float32],
    side_information: bytes,
    *,
    levels: int,
    skip_level: int,
    epsilon: float,
    coder: PositionCoder,
) -> LevelMap:
    """Return the encoder's level map from this decoder's indices and the side information.

    Exact if every index differs from the encoder's by at most ``epsilon``. Arguments as for
    ``encode_levels``; returns a new uint8 array of the index's shape.

    Raises ``UsageError`` for a bad argument, ``CalibrationError`` if the index holds a NaN or
    an infinity or contradicts the side information, ``DamagedInputError`` if the side
    information is malformed. Side information that is damaged but well formed gives a wrong
    level map: the container's checks notice it.
    """
    boundaries = Boundaries(levels, skip_level, epsilon)
    level_map = _CODERS[coder].decode(flatten_index(index), side_information, boundaries)
    return level_map.reshape(index.shape)
