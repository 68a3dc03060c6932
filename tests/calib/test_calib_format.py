"""Golden bytes of both side-information formats, and a second reader written from the spec."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvc_calib import PositionCoder, encode_levels
from nvc_calib.hashrows import block_numbers, hash_words
from nvc_calib.retrieval import SINGLE_BLOCK_BYTES, pack_answers, unpack_blocks
from nvc_calib.rpc import pack_positions, unpack_positions
from nvc_errors import DamagedInputError

MASK = (1 << 64) - 1


def splitmix(number: int) -> int:
    """Output ``number`` (from 1) of SplitMix64 started from 0."""
    z = number * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


class BitReader:
    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data, "little")
        self.place = 0

    def take(self, count: int) -> int:
        field = self.value >> self.place & ((1 << count) - 1)
        self.place += count
        return field


def read_answer(data: bytes, position: int) -> bool:
    """Answer for one position, from the text of docs/calibration.md and nothing else."""
    seed, block = 0, 0
    if len(data) <= 64:
        solutions = [int.from_bytes(data, "little")]
    else:
        block_count, used = 0, 0
        while True:
            block_count |= (data[used] & 0x7F) << 7 * used
            used += 1
            if data[used - 1] < 0x80:
                break
        seed, base = data[used] >> 6, 128 + 4 * (data[used] & 63)
        reader = BitReader(data[used + 1 :])
        folded = [reader.take(4) for _ in range(block_count)]
        for number in range(block_count):
            while reader.take(1) == 0:
                folded[number] += 16
        solutions = []
        for value in folded:
            columns = base + (-(value + 1) // 2 if value & 1 else value // 2)
            solutions.append(reader.take(columns - 1) | 1 << (columns - 1) if columns else 0)
        block = (splitmix((seed << 48) + position + 1) >> 32) * block_count >> 32
    words = solutions[block].bit_length() // 64 + 1
    row = sum(
        splitmix((seed << 48) + (word + 1 << 32) + position + 1) << 64 * word
        for word in range(words)
    )
    return bool((row & solutions[block]).bit_count() & 1)


def keyed(count: int, size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(size, count, replace=False)), rng.random(count) < 0.5


def test_the_hash_is_splitmix64() -> None:
    # Published first outputs of SplitMix64 with seed 0.
    assert [splitmix(1), splitmix(2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    positions = np.array([0, 1, 737_279, (1 << 32) - 1])
    rows = hash_words(positions, 3, 2)
    for place, position in enumerate(positions.tolist()):
        for word in (0, 1):
            expected = splitmix((3 << 48) + (word + 1 << 32) + position + 1)
            assert int(rows[word, place]) == expected
        expected_block = (splitmix((3 << 48) + position + 1) >> 32) * 1_000 >> 32
        assert int(block_numbers(positions, 3, 1_000)[place]) == expected_block


GOLDEN_INDEX = np.float32(
    [0.5, 0.99995, 1.0, 7.00005, 7.4, 8.9999, 12.5, 30.99999, 31.0, 3.0001, 2.00012, 5.5]
)


@pytest.mark.parametrize(
    ("coder", "skip_level", "expected"),
    [
        (PositionCoder.NONE, -1, ""),
        (PositionCoder.RPC, -1, "03010913"),
        (PositionCoder.RPC, 6, "03030c"),
        (PositionCoder.RETRIEVAL, -1, "2901"),
        (PositionCoder.RETRIEVAL, 6, "09"),
    ],
)
def test_golden_levels(coder: PositionCoder, skip_level: int, expected: str) -> None:
    _, side_information = encode_levels(
        GOLDEN_INDEX, levels=32, skip_level=skip_level, epsilon=1e-4, coder=coder
    )
    assert side_information.hex() == expected


def test_golden_positions() -> None:
    assert pack_positions(np.array([], dtype=np.int64)) == b""
    assert pack_positions(np.array([0])).hex() == "0000"
    assert pack_positions(np.array([300])).hex() == "00ac02"
    # Gaps 2, 7, 78: seven bits each, lowest first: 0x02 | 0x07 << 7 | 0x4e << 14.
    assert pack_positions(np.array([3, 5, 12, 90])).hex() == "0703828313"


def test_golden_blocks() -> None:
    """600 keys in three blocks, every third answer 1."""
    positions = np.arange(0, 6_000, 10)
    answers = (positions // 10) % 3 == 0
    assert pack_answers(positions, answers).hex() == (
        "0312d7b8c01e26cbdd9672d14c248ddf2dafd0cc2f2072c23219dc464c1b8cc603154632dc66d3e2"
        "ebf22188ec35316f8d5689203f3e67f67697a9d5c5d16b60d2722bc5a21fb5330bb2447128e300"
    )


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 20, 100, 500, 512, 513, 720, 721, 3_000])
def test_a_second_reader_agrees(count: int) -> None:
    positions, answers = keyed(count, 50_000, count)
    data = pack_answers(positions, answers)
    np.testing.assert_array_equal(unpack_blocks(data, 50_000).answer(positions), answers)
    sample = slice(None, None, max(1, count // 40))
    found = [read_answer(data, position) for position in positions[sample].tolist()]
    assert found == answers[sample].tolist()
    # Positions that are no key get the same (arbitrary) answer from both readers, too.
    others = np.arange(20)
    expected = [read_answer(data, position) for position in range(20)]
    assert unpack_blocks(data, 50_000).answer(others).tolist() == expected


@given(
    bits=st.dictionaries(st.integers(0, (1 << 32) - 1), st.booleans(), max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_any_small_key_set_round_trips(bits: dict[int, bool]) -> None:
    positions = np.array(sorted(bits), dtype=np.int64)
    answers = np.array([bits[position] for position in sorted(bits)], dtype=np.bool_)
    data = pack_answers(positions, answers)
    assert len(data) <= (len(bits) + 7) // 8 + 3
    np.testing.assert_array_equal(unpack_blocks(data, 1 << 32).answer(positions), answers)


@pytest.mark.parametrize("chance", [0.0, 0.001, 0.01, 0.99, 1.0])
@pytest.mark.parametrize("count", [400, 600, 5_000])
def test_lopsided_answers_round_trip(count: int, chance: float) -> None:
    positions, _ = keyed(count, 20_000, 1)
    answers = np.random.default_rng(2).random(count) < chance
    answers[-1] |= chance > 0
    data = pack_answers(positions, answers)
    np.testing.assert_array_equal(unpack_blocks(data, 20_000).answer(positions), answers)
    if chance == 0.0:
        assert data == b""


def test_a_short_many_block_structure_is_told_apart_by_its_length() -> None:
    """One block all zeros and one solved: fewer bits than a single block may have."""
    positions, _ = keyed(600, 50_000, 3)
    answers = block_numbers(positions, 0, 3) == 1
    answers &= np.random.default_rng(3).random(600) < 0.5
    data = pack_answers(positions, answers)
    assert len(data) >= SINGLE_BLOCK_BYTES + 1
    np.testing.assert_array_equal(unpack_blocks(data, 50_000).answer(positions), answers)


def test_a_key_set_that_crowds_one_block_takes_another_seed() -> None:
    candidates = np.arange(400_000)
    crowded = candidates[block_numbers(candidates, 0, 10) == 0][:2_000]
    answers = np.random.default_rng(4).random(crowded.size) < 0.5
    data = pack_answers(crowded, answers)
    assert unpack_blocks(data, 400_000).seed == 1
    np.testing.assert_array_equal(unpack_blocks(data, 400_000).answer(crowded), answers)


@given(positions=st.sets(st.integers(0, (1 << 32) - 1), max_size=50))
@settings(max_examples=150, deadline=None)
def test_any_position_set_round_trips(positions: set[int]) -> None:
    ordered = np.array(sorted(positions), dtype=np.int64)
    np.testing.assert_array_equal(unpack_positions(pack_positions(ordered), 1 << 32), ordered)


@given(data=st.binary(max_size=64), size=st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_what_is_read_is_what_would_be_written(data: bytes, size: int) -> None:
    """One set of positions has one byte string."""
    try:
        positions = unpack_positions(data, size)
    except DamagedInputError:
        return
    assert pack_positions(positions) == data


@pytest.fixture(scope="module")
def uniform_index() -> NDArray[np.float32]:
    return (np.random.default_rng(11).random(737_280) * 31).astype(np.float32)


@pytest.mark.parametrize(("epsilon", "share"), [(1e-4, 5), (1e-3, 5), (1e-2, 4)])
def test_retrieval_costs_a_fraction_of_rpc(
    uniform_index: NDArray[np.float32], epsilon: float, share: int
) -> None:
    sizes = {
        coder: len(
            encode_levels(uniform_index, levels=32, skip_level=-1, epsilon=epsilon, coder=coder)[1]
        )
        for coder in (PositionCoder.RPC, PositionCoder.RETRIEVAL)
    }
    assert 0 < share * sizes[PositionCoder.RETRIEVAL] <= sizes[PositionCoder.RPC]


@pytest.mark.parametrize("count", [5, 20, 300, 640, 3_000, 30_000])
def test_about_one_bit_a_key(count: int) -> None:
    positions, answers = keyed(count, 737_280, 100 + count)
    assert 8 * len(pack_answers(positions, answers)) <= 1.035 * count + 20


def test_skipping_cuts_the_side_information(uniform_index: NDArray[np.float32]) -> None:
    sizes = [
        len(
            encode_levels(
                uniform_index,
                levels=32,
                skip_level=skip_level,
                epsilon=1e-3,
                coder=PositionCoder.RETRIEVAL,
            )[1]
        )
        for skip_level in (-1, 15, 30)
    ]
    assert sizes[0] > 1.8 * sizes[1] > 18 * sizes[2]
