"""Adaptive tables against section 5.4 of docs/bitstream.md, by the letter of the text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_runtime.entropy import (
    CodedGroups,
    FrameDecoder,
    FrameEncoder,
    FrequencyTable,
    StreamTables,
    TableSet,
    laplace_tables,
)

SCALE = laplace_tables([0.05, 0.3, 1.0, 4.0, 20.0])


class SpecifiedTables:
    """Section 5.4, in Python integers."""

    def __init__(self, start: Sequence[FrequencyTable]) -> None:
        self.start = list(start)
        self.frequencies = [[int(f) for f in table.frequencies] for table in start]
        self.counts = [[0] * len(table) for table in self.frequencies]
        self.made_of = [0] * len(self.start)

    def learn(self, index: int, symbols: Sequence[int]) -> None:
        table, counts = self.start[index], self.counts[index]
        for symbol in symbols:
            named = table.lowest <= symbol <= table.highest
            counts[symbol - table.offset if named else -1] += 1
        if not symbols or 8 * (sum(counts) - self.made_of[index]) < 256 + self.made_of[index]:
            return
        while sum(counts) > 65536:
            counts[:] = [count // 2 for count in counts]
        self.made_of[index] = sum(counts)
        size, total = len(counts), table.total
        weights = [256 * int(f) + total * n for f, n in zip(table.frequencies, counts, strict=True)]
        ends = [sum(weights[:i]) * (total - size) // sum(weights) + i for i in range(size + 1)]
        self.frequencies[index] = [high - low for low, high in pairwise(ends)]


def frame(rng: np.random.Generator, size: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    levels = rng.integers(0, len(SCALE), size).astype(np.uint8)
    return np.rint(rng.laplace(0.4, spread, size)).astype(np.int32), levels


@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.sampled_from([0, 3, 90, 700]), max_size=8))
@settings(max_examples=60, deadline=None)
def test_tables_change_by_the_letter(seed, sizes):
    rng = np.random.default_rng(seed)
    stream, specified = StreamTables({"x": SCALE, "y": SCALE}), SpecifiedTables(list(SCALE))
    tables = stream.of_step("y")
    for size in sizes:
        symbols, levels = frame(rng, size, rng.choice([0.3, 2.0, 90.0]))
        encoder = FrameEncoder()
        encoder.encode_scale(symbols, levels, tables, 0)
        stream.learn(encoder.coded)
        for level in range(1, len(SCALE)):
            specified.learn(level, symbols[levels == level].tolist())
        assert [t.frequencies.tolist() for t in tables] == specified.frequencies
    assert list(stream.of_step("x")) == list(SCALE)


@pytest.mark.parametrize("log2", [2, 16, 22])
def test_many_symbols_are_counted_by_the_letter(log2):
    """Counts beyond the limit are halved, and no sum overflows."""
    frequencies = np.array([1, 1, 2**log2 - 2], dtype=np.uint32)
    start = TableSet([FrequencyTable(frequencies, 0)])
    stream, specified = StreamTables({"y": start}), SpecifiedTables(list(start))
    tables = stream.of_step("y")
    for size in (300_000, 40_000, 70_000, 5):
        symbols = np.arange(size, dtype=np.int32) % 5
        stream.learn([CodedGroups(tables, np.array([0]), np.array([size]), symbols)])
        specified.learn(0, symbols.tolist())
        assert tables[0].frequencies.tolist() == specified.frequencies[0]
        assert tables[0].total == tables[0].frequencies.sum() == 2**log2


def test_made_tables_are_valid_ones():
    stream = StreamTables({"y": SCALE})
    tables = stream.of_step("y")
    symbols = np.repeat(np.array([-700, 0, 1, 700], np.int32), 500)
    stream.learn([CodedGroups(tables, np.array([3]), np.array([2000]), symbols)])
    made = tables[3]
    checked = FrequencyTable(made.frequencies, made.offset)
    assert (checked.total, checked.escape) == (SCALE[3].total, SCALE[3].escape)
    assert made.frequencies.tolist() != SCALE[3].frequencies.tolist()
    assert not made.frequencies.flags.writeable


def test_decoder_learns_the_same_and_symbols_get_cheaper():
    rng, sizes = np.random.default_rng(4), []
    writing, reading = StreamTables({"y": SCALE}), StreamTables({"y": SCALE})
    for number in range(12):
        if number == 9:
            writing.reset()
            reading.reset()
        symbols, levels = frame(rng, 3000, 0.7)
        encoder = FrameEncoder()
        encoder.encode_scale(symbols, levels, writing.of_step("y"), -1)
        writing.learn(encoder.coded)
        payload = encoder.finish()
        decoder = FrameDecoder(payload)
        found = decoder.decode_scale(levels, reading.of_step("y"), -1)
        np.testing.assert_array_equal(found, symbols)
        decoder.finish(expected_digest=encoder.digest)
        reading.learn(decoder.coded)
        sizes.append(len(payload))
    assert sizes[8] < 0.8 * sizes[0]
    assert abs(sizes[9] - sizes[0]) < 0.1 * sizes[0]


def test_channels_learn_apart():
    stream = StreamTables({"z": TableSet([SCALE[1], SCALE[1]])})
    tables = stream.of_step("z")
    symbols = np.stack([np.zeros((20, 20)), np.ones((20, 20))]).astype(np.int32)
    encoder = FrameEncoder()
    encoder.encode_factorized(symbols, tables)
    stream.learn(encoder.coded)
    one = 1 - SCALE[1].offset
    assert tables[0].frequencies[one] < SCALE[1].frequencies[one] < tables[1].frequencies[one]
