"""Tables that learn from what has been coded. Section 5.4 of ``docs/bitstream.md``.

A network foretells scales from what it was trained on; a clip whose motion is like nothing in
there has its scales wrong everywhere, in the same way from frame to frame. So each coding step of
inter frames has tables of its own, which mix those of the bundle with the symbols that it coded
since the last intra frame. Symbols are the same on every platform and the mixing is in integers,
so the tables are the same, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nvc_runtime.entropy.tables import FrequencyTable, Tables, TableSet

PRIOR_SYMBOLS = 256
"""A bundle's table weighs as much as so many symbols."""
MAX_SYMBOLS = 1 << 16
"""Counts are halved until a table's add up to no more."""
RENEWAL = 8
"""A table is made anew once one in so many of its symbols, the prior's included, are new."""


class AdaptiveTables(Tables):
    """The tables of one coding step, and the :class:`TableSet` that they start from.

    ``first``: number of the first one among all tables of the stream.
    """

    _tables: list[FrequencyTable]
    decoding_models: list[Any]

    def __init__(self, start: TableSet, first: int) -> None:
        self.start, self.first = start, first
        self.offsets, self.escapes = start.offsets, start.escapes
        self._tables = list(start)
        self.decoding_models = list(start.decoding_models)

    def reset(self) -> None:
        """Go back to the tables of the bundle."""
        self._tables[:] = self.start
        self.decoding_models[:] = self.start.decoding_models

    def replace(
        self, index: int, frequencies: NDArray[np.uint32], probabilities: NDArray[np.float64]
    ) -> None:
        """Change a table; see :meth:`FrequencyTable.changed`."""
        table = self.start[index].changed(frequencies, probabilities)
        self._tables[index] = table
        self.decoding_models[index] = table.decoding_model


class CodedGroups(NamedTuple):
    """What a coding step coded.

    tables: those that it coded with. indices: int64 (n,), the table of each group of symbols,
    ascending. counts: int64 (n,), the symbols of each group, at least 1. symbols: int32 (sum of
    `counts`,), one group after the other.
    """

    tables: Tables
    indices: NDArray[np.int64]
    counts: NDArray[np.int64]
    symbols: NDArray[np.int32]


class StreamTables:
    """The adaptive tables of a stream's inter frames: one set for each coding step.

    The counts of all of them lie in one array, so that a frame is learnt in one go.
    """

    def __init__(self, starts: Mapping[str, TableSet]) -> None:
        """Take what each step starts from, by the name of the tensor that it codes."""
        self._steps: dict[str, AdaptiveTables] = {}
        self._places: list[tuple[AdaptiveTables, int]] = []
        for tensor, start in starts.items():
            step = self._steps[tensor] = AdaptiveTables(start, len(self._places))
            self._places += ((step, index) for index in range(len(start)))
        tables = [table for start in starts.values() for table in start]
        self._offsets = np.array([table.offset for table in tables], dtype=np.int32)
        self._escapes = np.array([table.escape for table in tables], dtype=np.uint32)
        self._totals = np.array([table.total for table in tables], dtype=np.int64)
        self._sizes = self._escapes.astype(np.int64) + 1
        self._starts = np.cumsum(self._sizes) - self._sizes
        frequencies = np.concatenate([table.frequencies for table in tables] or [self._escapes])
        self._prior = PRIOR_SYMBOLS * frequencies.astype(np.int64)
        self._counts = np.zeros_like(self._prior)
        self._made_of = np.zeros(len(tables), dtype=np.int64)

    def of_step(self, tensor: str) -> AdaptiveTables:
        """Return the tables of the step that codes a tensor."""
        return self._steps[tensor]

    def reset(self) -> None:
        """Forget everything, as every intra frame does."""
        self._counts.fill(0)
        self._made_of.fill(0)
        for step in self._steps.values():
            step.reset()

    def learn(self, coded: Sequence[CodedGroups]) -> None:
        """Take in what the steps of a frame coded with these tables; some change after it."""
        groups = [
            (step.tables.first + step.indices, step.counts, step.symbols)
            for step in coded
            if isinstance(step.tables, AdaptiveTables) and step.indices.size
        ]
        if not groups:
            return
        indices, counts, symbols = map(np.concatenate, zip(*groups, strict=True))
        # Seen as unsigned, symbols below the table are beyond it too: all those are escapes.
        entries = (symbols - self._offsets[indices].repeat(counts)).view(np.uint32)
        np.minimum(entries, self._escapes[indices].repeat(counts), out=entries)
        found = np.bincount(entries + self._starts[indices].repeat(counts))
        self._counts[: found.size] += found
        totals = np.add.reduceat(self._counts, self._starts)[indices]
        made_of = self._made_of[indices]
        due = RENEWAL * (totals - made_of) >= PRIOR_SYMBOLS + made_of
        if due.any():
            self._renew(indices[due], totals[due])

    def _renew(self, indices: NDArray[np.int64], counted: NDArray[np.int64]) -> None:
        """Make some tables anew from their counts, whose sums are given."""
        starts, sizes, totals = self._starts[indices], self._sizes[indices], self._totals[indices]
        for number in np.flatnonzero(counted > MAX_SYMBOLS).tolist():
            counts = self._counts[starts[number] : starts[number] + sizes[number]]
            while counted[number] > MAX_SYMBOLS:
                counts >>= 1
                counted[number] = counts.sum()
        self._made_of[indices] = counted
        ends = np.cumsum(sizes)
        begins = ends - sizes
        places = np.arange(ends[-1]) + (starts - begins).repeat(sizes)
        weights = self._prior[places] + self._counts[places] * totals.repeat(sizes)
        below = np.cumsum(weights)
        below -= np.append(0, below[ends[:-1] - 1]).repeat(sizes)
        below *= (totals - sizes).repeat(sizes)
        below //= (totals * (PRIOR_SYMBOLS + counted)).repeat(sizes)
        frequencies = below + 1
        frequencies[1:] -= below[:-1]
        frequencies[begins] = below[begins] + 1
        shared = frequencies.astype(np.uint32)
        shared.setflags(write=False)
        probabilities = frequencies / totals.repeat(sizes)
        made = zip(indices.tolist(), begins.tolist(), ends.tolist(), strict=True)
        for table, begin, end in made:
            step, index = self._places[table]
            step.replace(index, shared[begin:end], probabilities[begin:end])
