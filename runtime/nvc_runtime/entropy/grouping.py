"""The order in which the elements of a scale-prior step are coded: level by level."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc_runtime.entropy.digest import levels_crc


@dataclass(frozen=True, eq=False)
class LevelGroups:
    """Elements grouped by level.

    Attributes:
        order: int64 (m,), flat row-major positions of the coded elements: levels ascending,
            positions ascending within a level.
        levels: int64 (n,), the levels that occur, ascending.
        counts: int64 (n,), how many elements each has, at least 1; they sum to m.
        crc: CRC-32 of the levels, see ``digest``.

    """

    order: NDArray[np.int64]
    levels: NDArray[np.int64]
    counts: NDArray[np.int64]
    crc: int


def groups_from_levels(levels: NDArray[np.uint8], skip_level: int, tables: Sized) -> LevelGroups:
    """Group the elements whose level is above `skip_level`.

    Args:
        levels: uint8, any shape.
        skip_level: -1..254.
        tables: one table per level.

    Raises:
        ValueError: the arguments are not as described, or there is a level without a table.

    """
    if levels.dtype != np.uint8:
        raise ValueError(f"levels are {levels.dtype}, expected uint8")
    if not -1 <= skip_level <= 254:
        raise ValueError(f"skip level is {skip_level}, expected -1..254")
    flat = levels.reshape(-1)
    coded = flat > skip_level
    crc = levels_crc(flat, coded)
    positions = coded.nonzero()[0]
    if not positions.size:
        return LevelGroups(positions, positions, positions, crc)
    kept = flat.take(positions)
    # A stable sort of uint8 is a radix sort: linear in the number of elements.
    by_level = kept.argsort(kind="stable")
    lowest, highest = int(kept[by_level[0]]), int(kept[by_level[-1]])
    if highest >= len(tables):
        raise ValueError(f"level {highest} occurs, but there are {len(tables)} tables")
    candidates = np.arange(lowest, highest + 1, dtype=np.uint8)
    ends = kept.searchsorted(candidates, side="right", sorter=by_level)
    counts = ends.copy()
    counts[1:] -= ends[:-1]
    occurring = counts.nonzero()[0]
    return LevelGroups(positions.take(by_level), lowest + occurring, counts[occurring], crc)
