"""The payload against sections 4 to 6 of docs/bitstream.md, decoded by the letter of the text."""

from __future__ import annotations

import bisect
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_runtime.entropy import FrameDecoder, FrameEncoder, FrequencyTable, TableSet

WORKED = TableSet(
    [
        FrequencyTable(np.array([15, 1], dtype=np.uint32), 0),
        FrequencyTable(np.array([2, 11, 2, 1], dtype=np.uint32), -1),
        FrequencyTable(np.array([1, 3, 7, 3, 1, 1], dtype=np.uint32), -2),
    ]
)


class SpecifiedDecoder:
    """Section 5.1, in Python integers."""

    def __init__(self, payload: bytes) -> None:
        self.payload, self.read = payload, 8
        self.code = int.from_bytes(payload[:8].ljust(8, b"\0"), "big")
        self.range = 2**64 - 1

    def quotient(self) -> int:
        quotient = self.code // (self.range >> 24)
        assert quotient < 2**24
        return quotient

    def narrow(self, low: int, high: int) -> None:
        part = self.range >> 24
        self.code -= part * low
        self.range = part * (high - low)
        if self.range < 2**32:
            following = self.payload[self.read : self.read + 4].ljust(4, b"\0")
            self.code = (self.code << 32) + int.from_bytes(following, "big")
            self.range <<= 32
            self.read += 4

    def decode(self, cumulative: list[int]) -> int:
        entry = bisect.bisect_right(cumulative, self.quotient()) - 1
        self.narrow(cumulative[entry], cumulative[entry + 1])
        return entry

    def uniform(self, bits: int) -> int:
        entry = self.quotient() >> (24 - bits)
        self.narrow(entry << (24 - bits), (entry + 1) << (24 - bits))
        return entry

    def group(self, count: int, table: FrequencyTable) -> list[int]:
        frequencies = [int(f) for f in table.frequencies]
        size, total = len(frequencies), sum(frequencies)
        cumulative = [sum(frequencies[:i]) * (2**24 - size) // total + i for i in range(size + 1)]
        entries = [self.decode(cumulative) for _ in range(count)]
        lengths = [self.uniform(5) for entry in entries if entry == size - 1]
        assert all(n <= 22 for n in lengths)
        escaped = [2**n - 1 + (self.uniform(n) if n else 0) for n in lengths]
        first, last = table.offset, table.offset + size - 2
        values = iter(
            [last + 1 + u // 2 if u % 2 == 0 else first - 1 - (u - 1) // 2 for u in escaped]
        )
        return [table.offset + e if e < size - 1 else next(values) for e in entries]


@st.composite
def table_sets(draw: st.DrawFn) -> TableSet:
    log2 = draw(st.integers(3, 22))
    tables = []
    for _ in range(draw(st.integers(1, 4))):
        cuts = draw(st.sets(st.integers(1, 2**log2 - 1), min_size=1, max_size=6))
        edges = np.array([0, *sorted(cuts), 2**log2])
        frequencies = np.diff(edges).astype(np.uint32)
        tables.append(FrequencyTable(frequencies, draw(st.integers(-9, 9))))
    return TableSet(tables)


@given(tables=table_sets(), seed=st.integers(0, 2**32 - 1), size=st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_payload_decodes_by_the_letter(tables, seed, size):
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, len(tables), size).astype(np.uint8)
    spread = rng.choice([3, 30, 2000])
    symbols = np.rint(rng.normal(0, spread, size)).astype(np.int32)
    encoder = FrameEncoder()
    encoder.encode_scale(symbols, levels, tables, -1)
    decoder = SpecifiedDecoder(encoder.finish())
    ordered: list[int] = []
    crc = zlib.crc32(levels.tobytes()).to_bytes(4, "little")
    if size:
        assert decoder.uniform(4) == zlib.crc32(crc) % 16
    for level in range(len(tables)):
        group = symbols[levels == level].tolist()
        assert decoder.group(len(group), tables[level]) == group
        ordered += group
    assert decoder.read >= len(decoder.payload)
    assert encoder.digest == zlib.crc32(crc + np.array(ordered, dtype="<i4").tobytes())


@given(log2=st.integers(5, 22), size=st.integers(2, 20), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_every_interval_ends_where_specified(log2, size, seed):
    """Short tables are searched in another way than long ones, but to the same end."""
    edges = np.random.default_rng(seed).choice(np.arange(1, 2**log2), size - 1, replace=False)
    frequencies = np.diff(np.array([0, *sorted(edges.tolist()), 2**log2]))
    table = FrequencyTable(frequencies.astype(np.uint32), -3)
    part = (2**64 - 1) >> 24
    lower = (np.cumsum(frequencies) - frequencies) * (2**24 - size) // 2**log2 + np.arange(size)
    for quotient in [*lower.tolist(), *(lower[1:] - 1).tolist()]:
        payload = (quotient * part).to_bytes(8, "big").rstrip(b"\0")
        found = FrameDecoder(payload).decode_factorized((1, 1, 1), TableSet([table]))
        assert found.reshape(-1).tolist() == SpecifiedDecoder(payload).group(1, table)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_payload_is_the_shortest_and_smallest(data):
    """No shorter byte string, and no smaller one of the same length, decodes to the symbols."""
    tables = TableSet([FrequencyTable(np.array([1, 250, 5], dtype=np.uint32), 0)])
    symbols = np.array([data.draw(st.lists(st.integers(0, 1), max_size=14))], np.int32)
    encoder = FrameEncoder()
    encoder.encode_factorized(symbols[:, None], tables)
    payload = encoder.finish()

    def gives_the_symbols(candidate: bytes) -> bool:
        try:
            return SpecifiedDecoder(candidate).group(symbols.size, tables[0]) == symbols[0].tolist()
        except AssertionError:
            return False

    assert gives_the_symbols(payload)
    if payload:
        number, size = int.from_bytes(payload, "big"), len(payload)
        assert number == 0 or not gives_the_symbols((number - 1).to_bytes(size, "big"))
        for neighbour in (number >> 8, (number >> 8) + 1):
            if neighbour < 256 ** (size - 1):
                assert not gives_the_symbols(neighbour.to_bytes(size - 1, "big"))


@pytest.mark.parametrize("tail", [0, 1, 2])
def test_carries_across_words_are_exact(tail):
    """Long runs of the topmost entry keep the encoder's carry pending over many words."""
    tables = TableSet([FrequencyTable(np.array([1, 1, 2, 4, 8, 16, 31, 1], dtype=np.uint32), 0)])
    for length in range(1, 120, 7):
        symbols = np.full((1, 1, length + 1), 7, np.int32)
        symbols[0, 0, -1] = tail
        encoder = FrameEncoder()
        encoder.encode_factorized(symbols, tables)
        decoded = SpecifiedDecoder(encoder.finish()).group(length + 1, tables[0])
        assert decoded == symbols.reshape(-1).tolist()


def test_worked_example():
    """Bytes that must never change."""
    encoder = FrameEncoder()
    encoder.encode_factorized(
        np.array([[[0, 0, 0]], [[-1, 1, 0]], [[2, -2, -3]]], np.int32), WORKED
    )
    levels = np.array([[2, 1, 0, 2], [0, 2, 1, 1]], np.uint8)
    symbols = np.array([[1, 0, 0, -1], [0, 900, -1048576, 1]], np.int32)
    encoder.encode_scale(symbols, levels, WORKED, 0)
    assert encoder.finish().hex() == "17d38a0d3552aad41f00be"
    assert encoder.digest == 0x6B48F2BF
