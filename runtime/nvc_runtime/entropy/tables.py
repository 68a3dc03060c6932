"""Integer frequency tables: the only probability models a stream is ever coded with.

They are computed once, at export, and shipped in the bundle as integers. A table computed from
floats when a codec is loaded would itself differ between platforms.

The format is section 4 of ``docs/bitstream.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from nvc_errors import BundleError

SYMBOL_LIMIT = 1 << 20
"""Symbols lie in ``-SYMBOL_LIMIT..SYMBOL_LIMIT``."""

MAX_TABLES = 1 << 16
MAX_ENTRIES = 1 << 16
MIN_TOTAL_LOG2 = 2
MAX_TOTAL_LOG2 = 22

_SCANNED_ENTRIES = 12
"""In a table of up to so many entries, a linear search finds an entry sooner than bisection."""


@dataclass(frozen=True, eq=False)
class FrequencyTable:
    """One table: how often each symbol occurs, in integers.

    Attributes:
        frequencies: uint32 (N,), N = 2..65536, each at least 1; the sum is 2**2..2**22. Entry i
            stands for the symbol ``offset + i``, the last entry for the escape. Read-only copy.
        offset: symbol of entry 0.

    Raises:
        BundleError: the numbers are no valid table.

    """

    frequencies: NDArray[np.uint32]
    offset: int

    def __post_init__(self) -> None:
        given = np.asarray(self.frequencies)
        if given.ndim != 1 or given.dtype.kind not in "ui":
            raise BundleError(
                f"frequency table: found {given.dtype} of shape {given.shape}, expected a "
                "one-dimensional integer array; export the bundle again"
            )
        if not 2 <= given.size <= MAX_ENTRIES:
            raise BundleError(
                f"frequency table: found {given.size} entries, expected 2..{MAX_ENTRIES}; "
                "export the bundle again"
            )
        if int(given.min()) < 1 or int(given.max()) >= 1 << MAX_TOTAL_LOG2:
            raise BundleError(
                f"frequency table: found frequencies {int(given.min())}..{int(given.max())}, "
                f"expected 1..{(1 << MAX_TOTAL_LOG2) - 1}; export the bundle again"
            )
        total = int(given.sum(dtype=np.uint64))
        if total.bit_count() != 1 or not MIN_TOTAL_LOG2 <= total.bit_length() - 1 <= MAX_TOTAL_LOG2:
            raise BundleError(
                f"frequency table: the frequencies sum to {total}, expected a power of two from "
                f"2**{MIN_TOTAL_LOG2} to 2**{MAX_TOTAL_LOG2}; export the bundle again"
            )
        frequencies = given.astype(np.uint32)
        frequencies.setflags(write=False)
        object.__setattr__(self, "frequencies", frequencies)
        object.__setattr__(self, "offset", int(self.offset))
        if self.offset < -SYMBOL_LIMIT or self.highest > SYMBOL_LIMIT:
            raise BundleError(
                f"frequency table: names symbols {self.lowest}..{self.highest}, expected symbols "
                f"within {-SYMBOL_LIMIT}..{SYMBOL_LIMIT}; export the bundle again"
            )

    @cached_property
    def escape(self) -> int:
        """Index of the escape entry."""
        return int(self.frequencies.size) - 1

    @property
    def lowest(self) -> int:
        """Lowest symbol the table names."""
        return self.offset

    @property
    def highest(self) -> int:
        """Highest symbol the table names."""
        return self.offset + self.escape - 1

    @cached_property
    def total(self) -> int:
        """Sum of the frequencies, a power of two."""
        return int(self.frequencies.sum(dtype=np.uint64))

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Frequencies by their sum, float64 (N,); exact."""
        exact: NDArray[np.float64] = self.frequencies / np.float64(self.total)
        return exact

    def changed(
        self, frequencies: NDArray[np.uint32], probabilities: NDArray[np.float64]
    ) -> FrequencyTable:
        """Return a table of the same symbols with other frequencies, and these by their sum.

        Unchecked, to be fast: uint32 (N,), at least 1, of the same sum.
        """
        table = object.__new__(FrequencyTable)
        known = {"escape": self.escape, "total": self.total, "probabilities": probabilities}
        table.__dict__.update(known, frequencies=frequencies, offset=self.offset)
        return table

    @cached_property
    def encoding_model(self) -> Any:
        """The constriction model that finds the parts of an entry fast; built on first use."""
        return self._model(lazy=False)

    @cached_property
    def decoding_model(self) -> Any:
        """The same model in the form that finds an entry fast; built on first use."""
        small = self.escape < _SCANNED_ENTRIES
        return self._model(lazy=True) if small else self.encoding_model

    def _model(self, *, lazy: bool) -> Any:
        """Make a constriction model of the entries.

        The probabilities are exact in float64, and so is every partial sum and product that
        constriction forms from them: its cumulative frequencies are the integers of the format.
        """
        return constriction.stream.model.Categorical(self.probabilities, perfect=False, lazy=lazy)


class Tables:
    """The tables that a coding step codes with: one per scale level, or one per channel.

    Attributes:
        offsets: int32 (T,), the offset of each table. Read-only.
        escapes: the index of each table's escape entry.
        decoding_models: each table's ``decoding_model``.

    """

    offsets: NDArray[np.int32]
    escapes: tuple[int, ...]
    decoding_models: Sequence[Any]
    _tables: Sequence[FrequencyTable]

    def __len__(self) -> int:
        return len(self._tables)

    def __getitem__(self, index: int) -> FrequencyTable:
        return self._tables[index]

    def __iter__(self) -> Iterator[FrequencyTable]:
        return iter(self._tables)


class TableSet(Tables):
    """The tables of one prior, as a bundle has them."""

    def __init__(self, tables: Sequence[FrequencyTable]) -> None:
        """Check the tables and build their models.

        Raises:
            BundleError: there are no tables or too many, or their sums differ.

        """
        if not 1 <= len(tables) <= MAX_TABLES:
            raise BundleError(
                f"table set: found {len(tables)} tables, expected 1..{MAX_TABLES}; "
                "export the bundle again"
            )
        totals = sorted({table.total for table in tables})
        if len(totals) != 1:
            raise BundleError(
                f"table set: the frequencies of its tables sum to {totals}, expected one sum for "
                "all; export the bundle again"
            )
        self._tables = tuple(tables)
        self.offsets = np.array([table.offset for table in tables], dtype=np.int32)
        self.offsets.setflags(write=False)
        self.escapes = tuple(table.escape for table in self._tables)
        self.decoding_models = tuple(table.decoding_model for table in self._tables)
        for table in self._tables:
            _ = table.encoding_model

    @classmethod
    def from_arrays(
        cls, frequencies: NDArray[Any], sizes: NDArray[Any], offsets: NDArray[Any]
    ) -> TableSet:
        """Load a set as a bundle stores it.

        Args:
            frequencies: uint32 (T, M), zero beyond the entries of each table.
            sizes: int32 (T,), entries of each table including the escape, 2..M; the greatest is M.
            offsets: int32 (T,), symbol of each table's entry 0.

        Raises:
            BundleError: a shape, a type or a value is not as described.

        """
        found = f"{frequencies.dtype} {frequencies.shape}, {sizes.dtype} {sizes.shape}, "
        found += f"{offsets.dtype} {offsets.shape}"
        if (
            frequencies.dtype != np.uint32
            or sizes.dtype != np.int32
            or offsets.dtype != np.int32
            or frequencies.ndim != 2
            or sizes.shape != frequencies.shape[:1]
            or offsets.shape != frequencies.shape[:1]
        ):
            raise BundleError(
                f"table set: found arrays {found}, expected uint32 (T, M), int32 (T,), int32 (T,); "
                "export the bundle again"
            )
        count, width = frequencies.shape
        if not 1 <= count <= MAX_TABLES or not 2 <= width <= MAX_ENTRIES:
            raise BundleError(
                f"table set: found {count} tables of up to {width} entries, expected "
                f"1..{MAX_TABLES} of 2..{MAX_ENTRIES}; export the bundle again"
            )
        if int(sizes.min()) < 2 or int(sizes.max()) != width:
            raise BundleError(
                f"table set: found sizes {int(sizes.min())}..{int(sizes.max())}, expected sizes "
                f"from 2 whose greatest is the width {width}; export the bundle again"
            )
        if np.any(frequencies[np.arange(width) >= sizes[:, None]]):
            raise BundleError(
                "table set: found a non-zero frequency beyond the size of its table, expected "
                "zeros; export the bundle again"
            )
        return cls(
            [
                FrequencyTable(row[:size], int(offset))
                for row, size, offset in zip(frequencies, sizes, offsets, strict=True)
            ]
        )

    def to_arrays(self) -> tuple[NDArray[np.uint32], NDArray[np.int32], NDArray[np.int32]]:
        """Return frequencies uint32 (T, M), sizes int32 (T,) and offsets int32 (T,)."""
        sizes = np.array([table.frequencies.size for table in self._tables], dtype=np.int32)
        frequencies = np.zeros((len(self._tables), int(sizes.max())), dtype=np.uint32)
        for row, table in zip(frequencies, self._tables, strict=True):
            row[: table.frequencies.size] = table.frequencies
        return frequencies, sizes, self.offsets.copy()
