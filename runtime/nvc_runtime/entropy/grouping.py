"""The order in which the elements of a scale-prior step are coded: level by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc_runtime.entropy.digest import levels_crc
from nvc_runtime.entropy.tables import TableSet


@dataclass(frozen=True, eq=False)
class LevelGroups:
    """Elements grouped by level.

    Attributes:
        order: int64 (m,), flat row-major positions of the coded elements: levels ascending,
            positions ascending within a level.
        groups: (level, count) of every level that occurs, ascending; the counts sum to m.
        crc: CRC-32 of the levels, see ``digest``.

    """

    order: NDArray[Any]
    groups: tuple[tuple[int, int], ...]
    crc: int


def groups_from_levels(levels: NDArray[np.uint8], skip_level: int, tables: TableSet) -> LevelGroups:
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
    positions = np.flatnonzero(coded)
    kept = flat.take(positions)
    counts = np.bincount(kept, minlength=256)
    occurring = np.flatnonzero(counts)
    if occurring.size and int(occurring[-1]) >= len(tables):
        raise ValueError(f"level {int(occurring[-1])} occurs, but there are {len(tables)} tables")
    # A stable sort of uint8 is a radix sort: linear in the number of elements.
    order = positions.take(np.argsort(kept, kind="stable"))
    groups = tuple((int(level), int(counts[level])) for level in occurring)
    return LevelGroups(order, groups, levels_crc(flat, coded))
