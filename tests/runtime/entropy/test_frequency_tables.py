"""Frequency tables: what is accepted, and that those made here are the best of their sum."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_errors import BundleError
from nvc_runtime.entropy import (
    SYMBOL_LIMIT,
    FrequencyTable,
    TableSet,
    gaussian_tables,
    laplace_tables,
    table_from_probabilities,
)

SIGMAS = [0.01 * 6400 ** (k / 15) for k in range(16)]


def _u32(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint32)


@pytest.mark.parametrize(
    ("frequencies", "offset", "message"),
    [
        (np.array([0.5, 0.5]), 0, "float64"),
        (np.array([[2, 2]], dtype=np.uint32), 0, "shape"),
        (_u32(4), 0, "1 entries"),
        (_u32(), 0, "0 entries"),
        (_u32(4, 0, 4), 0, "frequencies 0..4"),
        (np.array([5, -1], dtype=np.int32), 0, "frequencies -1..5"),
        (_u32(3, 2), 0, "sum to 5"),
        (_u32(1, 1), 0, "sum to 2"),
        (_u32(2**22, 2**22), 0, "frequencies"),
        (_u32(*[2**21] * 4), 0, "sum to 8388608"),
        (_u32(4, 4), SYMBOL_LIMIT + 1, "names symbols"),
        (_u32(4, 4), -SYMBOL_LIMIT - 1, "names symbols"),
        (_u32(2, 2, 4), SYMBOL_LIMIT, "names symbols"),
        (np.ones(65537, dtype=np.uint32), 0, "65537 entries"),
    ],
)
def test_invalid_table_is_refused(frequencies, offset, message):
    with pytest.raises(BundleError, match=message):
        FrequencyTable(frequencies, offset)


def test_table_keeps_its_own_copy():
    source = _u32(3, 4, 1)
    table = FrequencyTable(source, -1)
    source[0] = 99
    assert table.frequencies.tolist() == [3, 4, 1]
    assert (table.lowest, table.highest, table.escape, table.total) == (-1, 0, 2, 8)
    with pytest.raises(ValueError, match="read-only"):
        table.frequencies[0] = 1


def test_set_round_trips_through_arrays():
    tables = laplace_tables(SIGMAS)
    frequencies, sizes, offsets = tables.to_arrays()
    assert (frequencies.dtype, sizes.dtype, offsets.dtype) == (np.uint32, np.int32, np.int32)
    again = TableSet.from_arrays(frequencies, sizes, offsets)
    assert len(again) == len(SIGMAS)
    for ours, theirs in zip(tables, again, strict=True):
        assert ours.offset == theirs.offset
        assert ours.frequencies.tolist() == theirs.frequencies.tolist()


@pytest.mark.parametrize(
    ("frequencies", "sizes", "offsets", "message"),
    [
        ([[2, 2, 0], [1, 1, 2]], [2, 4], [0, 0], "sizes 2..4"),
        ([[2, 2, 0], [1, 1, 2]], [2, 2], [0, 0], "sizes 2..2"),
        ([[4, 0, 0], [1, 1, 2]], [1, 3], [0, 0], "sizes 1..3"),
        ([[2, 2, 1], [1, 1, 2]], [2, 3], [0, 0], "beyond the size"),
        ([[2, 2, 0], [1, 1, 6]], [2, 3], [0, 0], "one sum"),
        ([[2, 0, 2], [1, 1, 2]], [3, 3], [0, 0], "frequencies 0..2"),
        ([[2, 2, 0], [1, 1, 2]], [2], [0, 0], "found arrays"),
        ([[2, 2, 0], [1, 1, 2]], [2, 3], [0], "found arrays"),
        ([2, 2, 0], [2, 3, 1], [0, 0, 0], "found arrays"),
    ],
)
def test_invalid_arrays_are_refused(frequencies, sizes, offsets, message):
    with pytest.raises(BundleError, match=message):
        TableSet.from_arrays(
            np.array(frequencies, np.uint32), np.array(sizes, np.int32), np.array(offsets, np.int32)
        )


def test_arrays_of_other_types_and_empty_ones_are_refused():
    with pytest.raises(BundleError, match="int64"):
        TableSet.from_arrays(np.array([[2, 2]]), np.array([2]), np.array([0]))
    with pytest.raises(BundleError, match="0 tables"):
        TableSet.from_arrays(
            np.zeros((0, 4), np.uint32), np.zeros(0, np.int32), np.zeros(0, np.int32)
        )
    with pytest.raises(BundleError, match="0 tables"):
        TableSet([])


@given(
    weights=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    escape=st.floats(1e-6, 1),
    log2=st.integers(2, 5),
)
@settings(max_examples=150, deadline=None)
def test_no_other_integers_cost_less(weights, escape, log2):
    table = table_from_probabilities(np.array(weights), 0, escape, total_log2=log2)
    chances = np.array([*weights, escape]) / (sum(weights) + escape)

    def cost(counts):
        return -float(np.dot(chances, np.log2(np.array(counts) / 2**log2)))

    candidates = itertools.product(range(1, 2**log2), repeat=len(weights))
    best = min(cost((*c, 2**log2 - sum(c))) for c in candidates if sum(c) < 2**log2)
    assert table.total == 2**log2
    assert cost(table.frequencies) <= best + 1e-9


@pytest.mark.parametrize(
    ("weights", "escape", "log2"),
    [([-0.1, 1], 0, 16), ([math.nan], 0.1, 16), ([0, 0], 0, 16), ([1] * 4, 0, 2), ([1], 0, 23)],
)
def test_probabilities_that_cannot_be_a_table(weights, escape, log2):
    with pytest.raises(ValueError, match=r"must be|cannot share|expected"):
        table_from_probabilities(np.array(weights, float), 0, escape, total_log2=log2)


@pytest.mark.parametrize(
    ("make", "outside"),
    [
        (laplace_tables, lambda x: math.exp(-math.sqrt(2) * x)),
        (gaussian_tables, lambda x: math.erfc(x / math.sqrt(2))),
    ],
)
def test_zero_mean_tables(make, outside):
    for sigma, table in zip(SIGMAS, make(SIGMAS), strict=True):
        reach = table.highest
        assert table.lowest == -reach
        assert outside((reach + 0.5) / sigma) < 2**-14
        assert reach == 1 or outside((reach - 0.5) / sigma) >= 2**-14
        assert table.total == 2**16
        chances = [1 - outside(0.5 / sigma)]
        chances += [
            (outside((k - 0.5) / sigma) - outside((k + 0.5) / sigma)) / 2
            for k in range(1, reach + 1)
        ]
        expected = np.array(chances[:0:-1] + chances) * 2**16
        # What integers cost beyond the true distribution, escapes aside.
        shares = table.frequencies[:-1] / table.total
        loss = np.dot(expected / 2**16, np.log2(np.maximum(expected, 1e-300) / 2**16 / shares))
        assert loss < 0.01


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, 1e6])
def test_sigma_out_of_range(sigma):
    with pytest.raises(ValueError, match="sigma is"):
        laplace_tables([1.0, sigma])
