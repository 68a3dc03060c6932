"""Level maps with position coding: what the codec calls.

A :class:`LevelEncoder` turns the encoder's scale indices into levels and side information; a
:class:`LevelDecoder` turns a decoder's slightly different indices and that side information into
the same levels, exactly, whenever no index differs by more than epsilon (docs/calibration.md).
Both take the latents of a frame one after the other: one side information serves them all.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nvc_calib.boundaries import (
    MAX_ELEMENTS,
    Boundaries,
    FlatIndex,
    LevelMap,
    Marks,
    flatten_index,
)
from nvc_calib.retrieval import RetrievalCoder
from nvc_calib.rpc import RelativePositionCoder
from nvc_errors import DamagedInputError, UsageError


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


class SideInformation(Protocol):
    """What a decoder was told of the elements of a frame, unpacked."""

    def levels(self, index: FlatIndex, first: int, boundaries: Boundaries) -> LevelMap:
        """Return the encoder's levels of the latent whose first element is number ``first``."""
        ...


class LevelCoder(Protocol):
    """What stands behind a ``PositionCoder``. Index and level map are flat, (size,)."""

    def mark(self, index: FlatIndex, boundaries: Boundaries) -> tuple[LevelMap, Marks]:
        """Return the level map of a latent and what a decoder has to be told of it."""
        ...

    def pack(self, marks: Marks) -> bytes:
        """Return side information; positions count from the first element of the frame."""
        ...

    def unpack(self, data: bytes, size: int) -> SideInformation:
        """Read the side information of a frame of ``size`` elements."""
        ...


class _FloorCoder:
    """No protection: both sides take floor(I)."""

    def mark(self, index: FlatIndex, boundaries: Boundaries) -> tuple[LevelMap, Marks]:
        return boundaries.floor_levels(index), Marks.none()

    def pack(self, marks: Marks) -> bytes:
        del marks
        return b""

    def unpack(self, data: bytes, size: int) -> SideInformation:
        del size
        if data:
            raise DamagedInputError(
                f"{len(data)} bytes of calibration data in a stream whose position coder is none; "
                "expected none"
            )
        return self

    def levels(self, index: FlatIndex, first: int, boundaries: Boundaries) -> LevelMap:
        del first
        return boundaries.floor_levels(index)


_CODERS: dict[PositionCoder, LevelCoder] = {
    PositionCoder.NONE: _FloorCoder(),
    PositionCoder.RPC: RelativePositionCoder(),
    PositionCoder.RETRIEVAL: RetrievalCoder(),
}


class LevelEncoder:
    """Finds the levels of a frame's latents, and what a decoder needs to find the same ones.

    levels: 2 to 256. skip_level: -1 (skip nothing) to levels - 2. 0 <= epsilon < 0.25.

    Raises ``UsageError`` for a bad argument.
    """

    def __init__(
        self, *, levels: int, skip_level: int, epsilon: float, coder: PositionCoder
    ) -> None:
        self._boundaries = Boundaries(levels, skip_level, epsilon)
        self._coder = _CODERS[coder]
        self._marks: list[Marks] = []
        self._size = 0

    def encode(self, index: NDArray[np.float32]) -> LevelMap:
        """Return the level of every element of the next latent.

        index: float32, any shape, finite. Below 0 counts as level 0, above as level
        ``levels - 1``. The level map is a new uint8 array of the same shape. Every level at or
        below ``skip_level`` is given as ``skip_level``, because the two sides may disagree about
        which of them it is.

        Raises ``UsageError`` for another dtype or 2**32 elements and more in all, and
        ``CalibrationError`` for a NaN or an infinity.
        """
        level_map, marks = self._coder.mark(flatten_index(index), self._boundaries)
        self._marks.append(marks.moved(self._size))
        self._size = _checked_size(self._size + index.size)
        return level_map.reshape(index.shape)

    def finish(self) -> bytes:
        """Return the side information of all latents; empty if none has keys."""
        return self._coder.pack(Marks.joined(self._marks))


class LevelDecoder:
    """Finds the encoder's levels of a frame's latents from this decoder's indices.

    Exact if every index differs from the encoder's by at most ``epsilon``. ``size``: elements of
    all latents of the frame, below 2**32; the other arguments as for :class:`LevelEncoder`.

    Raises ``UsageError`` for a bad argument and ``DamagedInputError`` if the side information is
    malformed. Side information that is damaged but well formed gives wrong level maps: the
    container's checks notice it.
    """

    def __init__(
        self,
        side_information: bytes,
        size: int,
        *,
        levels: int,
        skip_level: int,
        epsilon: float,
        coder: PositionCoder,
    ) -> None:
        self._boundaries = Boundaries(levels, skip_level, epsilon)
        self._size = _checked_size(size)
        self._told = _CODERS[coder].unpack(side_information, size)
        self._next = 0

    def decode(self, index: NDArray[np.float32]) -> LevelMap:
        """Return the encoder's levels of the next latent: uint8, the index's shape.

        Raises ``UsageError`` for another dtype or more elements than ``size`` in all, and
        ``CalibrationError`` if the index holds a NaN or an infinity or contradicts the side
        information.
        """
        first, self._next = self._next, self._next + index.size
        if self._next > self._size:
            raise UsageError(f"found {self._next} scale indices, expected {self._size} at most")
        flat = flatten_index(index)
        return self._told.levels(flat, first, self._boundaries).reshape(index.shape)


def encode_levels(
    index: NDArray[np.float32],
    *,
    levels: int,
    skip_level: int,
    epsilon: float,
    coder: PositionCoder,
) -> tuple[LevelMap, bytes]:
    """Return level map and side information of a single latent; see :class:`LevelEncoder`."""
    encoder = LevelEncoder(levels=levels, skip_level=skip_level, epsilon=epsilon, coder=coder)
    level_map = encoder.encode(index)
    return level_map, encoder.finish()


def decode_levels(
    index: NDArray[np.float32],
    side_information: bytes,
    *,
    levels: int,
    skip_level: int,
    epsilon: float,
    coder: PositionCoder,
) -> LevelMap:
    """Return the encoder's level map of a single latent; see :class:`LevelDecoder`."""
    decoder = LevelDecoder(
        side_information,
        index.size,
        levels=levels,
        skip_level=skip_level,
        epsilon=epsilon,
        coder=coder,
    )
    return decoder.decode(index)


def _checked_size(size: int) -> int:
    if not 0 <= size < MAX_ELEMENTS:
        raise UsageError(f"found {size} scale indices; a frame has less than {MAX_ELEMENTS}")
    return size
