"""Tables that learn from what has been coded. Section 5.4 of ``docs/bitstream.md``.

A network foretells scales from what it was trained on; a clip whose motion is like nothing in
there has its scales wrong everywhere, in the same way from frame to frame. So each coding step of
inter frames has tables of its own, which mix those of the bundle with the symbols that it coded
since the last intra frame. Symbols are the same on every platform and the mixing is in integers,
so the tables are the same, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc_runtime.entropy.tables import FrequencyTable, TableSet

PRIOR_SYMBOLS = 256
"""A bundle's table weighs as much as so many symbols."""
MAX_SYMBOLS = 1 << 16
"""Counts are halved until a table's add up to no more."""
RENEWAL = 8
"""A table is made anew once one in so many of its symbols, the prior's included, are new."""


class AdaptiveTables:
    """The tables of one coding step; serves like the :class:`TableSet` it starts from.

    Attributes:
        offsets, escapes, decoding_models: as those of :class:`TableSet`.

    """

    def __init__(self, start: TableSet) -> None:
        self.start = start
        self.offsets, self.escapes = start.offsets, start.escapes
        self._escapes = np.array(start.escapes, dtype=np.uint32)
        self._sizes = self._escapes.astype(np.int64) + 1
        self._starts = np.cumsum(self._sizes) - self._sizes
        frequencies = np.concatenate([table.frequencies for table in start])
        self._prior = PRIOR_SYMBOLS * frequencies.astype(np.int64)
        self._counts = np.zeros_like(self._prior)
        self._made_of = np.zeros(len(start), dtype=np.int64)
        self._tables = list(start)
        self.decoding_models: list[Any] = list(start.decoding_models)

    def reset(self) -> None:
        """Forget all symbols."""
        self._counts.fill(0)
        self._made_of.fill(0)
        self._tables = list(self.start)
        self.decoding_models = list(self.start.decoding_models)

    def learn(
        self, indices: NDArray[np.int64], counts: NDArray[np.int64], symbols: NDArray[np.int32]
    ) -> None:
        """Take in the symbols of a frame; tables that learnt enough change.

        Args:
            indices: int64 (n,), the table of each group of symbols, ascending.
            counts: int64 (n,), the symbols of each group, at least 1.
            symbols: int32 (sum of `counts`,), one group after the other.

        """
        if not indices.size:
            return
        tables = indices.repeat(counts)
        # Seen as unsigned, symbols below the table are beyond it too: all those are escapes.
        entries = (symbols - self.offsets[tables]).view(np.uint32)
        first = int(self._starts[indices[0]])
        places = self._starts[tables] + np.minimum(entries, self._escapes[tables])
        found = np.bincount(places - first)
        self._counts[first : first + found.size] += found
        totals = np.add.reduceat(self._counts, self._starts)[indices]
        made_of = self._made_of[indices]
        due = RENEWAL * (totals - made_of) >= PRIOR_SYMBOLS + made_of
        self._renew(indices[due], totals[due])

    def __len__(self) -> int:
        return len(self._tables)

    def __getitem__(self, index: int) -> FrequencyTable:
        return self._tables[index]

    def __iter__(self) -> Iterator[FrequencyTable]:
        return iter(self._tables)

    def _renew(self, indices: NDArray[np.int64], totals: NDArray[np.int64]) -> None:
        """Make some tables anew from their counts, whose sums are given; all in one go."""
        if not indices.size:
            return
        for number in np.flatnonzero(totals > MAX_SYMBOLS).tolist():
            start = self._starts[indices[number]]
            counts = self._counts[start : start + self._sizes[indices[number]]]
            while totals[number] > MAX_SYMBOLS:
                counts >>= 1
                totals[number] = counts.sum()
        self._made_of[indices] = totals
        sizes = self._sizes[indices]
        ends = np.cumsum(sizes)
        starts = ends - sizes
        places = np.arange(ends[-1])
        places += (self._starts[indices] - starts).repeat(sizes)
        frequencies = mixed_frequencies(
            self._prior[places], self._counts[places], starts, sizes, totals, self.start[0].total
        )
        for index, low, high in zip(indices.tolist(), starts, ends, strict=True):
            table = self.start[index].with_frequencies(frequencies[low:high])
            self._tables[index] = table
            self.decoding_models[index] = table.decoding_model


def mixed_frequencies(
    prior: NDArray[np.int64],
    counts: NDArray[np.int64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    totals: NDArray[np.int64],
    sum_of_table: int,
) -> NDArray[np.uint32]:
    """Mix the frequencies of several tables with the symbols that were coded.

    Args:
        prior: int64 (m,), ``PRIOR_SYMBOLS`` times the bundle's frequency of each entry, one table
            after the other.
        counts: int64 (m,), how often each was coded.
        starts: int64 (n,), the first entry of each table.
        sizes: int64 (n,), the entries of each.
        totals: int64 (n,), the sum of each table's `counts`.
        sum_of_table: 2**k, k <= 22, what the frequencies of a table add up to.

    Returns:
        uint32 (m,), at least 1 each.

    """
    ends = np.cumsum(prior + sum_of_table * counts)
    ends -= np.append(0, ends[starts[1:] - 1]).repeat(sizes)
    ends *= (sum_of_table - sizes).repeat(sizes)
    ends //= (sum_of_table * (PRIOR_SYMBOLS + totals)).repeat(sizes)
    begins = np.append(0, ends[:-1])
    begins[starts] = 0
    frequencies: NDArray[np.uint32] = (ends - begins + 1).astype(np.uint32)
    frequencies.setflags(write=False)
    return frequencies


class StreamTables:
    """The adaptive tables of a stream's inter frames: one set for each coding step."""

    def __init__(self, tables: Mapping[str, TableSet]) -> None:
        """Take the bundle's table sets, by name."""
        self._starts = tables
        self._steps: dict[str, AdaptiveTables] = {}

    def of_step(self, tensor: str, name: str) -> AdaptiveTables:
        """Return those of the step that codes ``tensor``, which start from the set ``name``."""
        if tensor not in self._steps:
            self._steps[tensor] = AdaptiveTables(self._starts[name])
        return self._steps[tensor]

    def reset(self) -> None:
        """Forget everything, as every intra frame does."""
        for tables in self._steps.values():
            tables.reset()
