"""Side information comes from a file: every byte string ends in a level map or our own error."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvc_calib import PositionCoder, decode_levels, encode_levels
from nvc_calib.retrieval import SINGLE_BLOCK_BYTES, pack_answers, unpack_blocks
from nvc_calib.rpc import pack_positions, unpack_positions
from nvc_errors import CalibrationError, DamagedInputError, UsageError

ARGUMENTS = {"levels": 32, "skip_level": 3, "epsilon": 1e-2}
CODERS = list(PositionCoder)


def latent(size: int) -> NDArray[np.float32]:
    return (np.random.default_rng(7).random(size) * 31).astype(np.float32)


SMALL = latent(400)
LARGE = latent(40_000)


def decode_or_refuse(index: NDArray[np.float32], data: bytes, coder: PositionCoder) -> None:
    try:
        found = decode_levels(index, data, coder=coder, **ARGUMENTS)
    except (CalibrationError, DamagedInputError):
        return
    assert found.shape == index.shape
    assert found.dtype == np.uint8
    assert found.min() >= 3
    assert found.max() <= 31


@given(data=st.binary(max_size=200), coder=st.sampled_from(CODERS), large=st.booleans())
@example(data=b"\0", coder=PositionCoder.RETRIEVAL, large=True)
@example(data=b"\xff" * 200, coder=PositionCoder.RETRIEVAL, large=True)
@example(data=b"\xff" * 200, coder=PositionCoder.RPC, large=True)
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes(data: bytes, coder: PositionCoder, large: bool) -> None:
    decode_or_refuse(LARGE if large else SMALL, data, coder)


@pytest.mark.parametrize("coder", [PositionCoder.RPC, PositionCoder.RETRIEVAL])
@pytest.mark.parametrize("index", [SMALL, LARGE], ids=["small", "large"])
def test_every_truncation_and_random_bit_flips(
    coder: PositionCoder, index: NDArray[np.float32]
) -> None:
    _, whole = encode_levels(index, coder=coder, **ARGUMENTS)
    rng = np.random.default_rng(8)
    lengths = np.unique(
        np.concatenate([np.arange(min(len(whole), 80)), rng.integers(0, len(whole), 60)])
    )
    for length in lengths:
        decode_or_refuse(index, whole[:length], coder)
    flips = np.unique(np.concatenate([np.arange(64), rng.integers(0, 8 * len(whole), 200)]))
    for bit in flips[flips < 8 * len(whole)]:
        damaged = bytearray(whole)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        decode_or_refuse(index, bytes(damaged), coder)
    decode_or_refuse(index, whole + b"\0", coder)
    decode_or_refuse(index, whole + whole, coder)


@pytest.mark.parametrize("coder", CODERS)
def test_megabytes_of_junk_are_refused_at_once(coder: PositionCoder) -> None:
    for filler in (b"\0", b"\1", b"\xff", b"\x80\x01"):
        started = time.perf_counter()
        with pytest.raises(DamagedInputError):
            decode_levels(SMALL, filler * 4_000_000, coder=coder, **ARGUMENTS)
        assert time.perf_counter() - started < 1.0


def test_absurd_block_counts_are_refused() -> None:
    for count in (b"\0", b"\1", b"\xff\xff\xff\xff\x0f", b"\xff\x01", b"\x80\x00"):
        with pytest.raises(DamagedInputError):
            unpack_blocks(count + b"\xff" * 100, 40_000)


def test_a_huge_block_is_refused() -> None:
    head = b"\x02\x00" + b"\xff" + bytes(70) + b"\x80"  # low bits 15, then a very long quotient
    with pytest.raises(DamagedInputError):
        unpack_blocks(head + bytes(100), 40_000)


def test_retrieval_lengths_and_padding_are_checked() -> None:
    positions = np.arange(1_500, dtype=np.int64)
    answers = np.random.default_rng(9).random(1_500) < 0.5
    data = pack_answers(positions, answers)
    assert len(data) > SINGLE_BLOCK_BYTES
    for wrong in (data + b"\0", data[:-1], data + b"\1"):
        with pytest.raises(DamagedInputError):
            unpack_blocks(wrong, 10_000)
    with pytest.raises(DamagedInputError):
        unpack_blocks(b"\1\0", 10_000)


def test_rpc_refuses_each_kind_of_damage() -> None:
    data = pack_positions(np.array([3, 5, 12, 90]))
    assert list(unpack_positions(data, 91)) == [3, 5, 12, 90]
    damaged = [
        data[:1],  # no first position
        data[:2],  # a gap width but no gaps
        data + b"\0",  # padding of a whole byte
        bytes([33]) + data[1:],  # gaps wider than a position
        bytes([data[0] + 1]) + data[1:],  # another width
        b"\0\x05\x01",  # one position, then gaps
        b"\0\x85\x00",  # first position not in its shortest form
        b"\0\xff\xff\xff\xff\xff\x01",  # first position beyond 2**32
        b"\0\x5b",  # first position beyond the latent
    ]
    for wrong in damaged:
        with pytest.raises(DamagedInputError):
            unpack_positions(wrong, 91)
    with pytest.raises(DamagedInputError):
        unpack_positions(data, 90)


def test_rpc_notices_a_position_far_from_every_boundary() -> None:
    index = np.full(10, 5.5, dtype=np.float32)
    with pytest.raises(CalibrationError, match="flat position 4"):
        decode_levels(index, pack_positions(np.array([4])), coder=PositionCoder.RPC, **ARGUMENTS)


def test_side_information_without_a_coder_is_refused() -> None:
    with pytest.raises(DamagedInputError, match="position coder is none"):
        decode_levels(SMALL, b"\1", coder=PositionCoder.NONE, **ARGUMENTS)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("coder", CODERS)
def test_numbers_that_are_not_finite_are_named(bad: float, coder: PositionCoder) -> None:
    index = np.ones((2, 3, 4), dtype=np.float32)
    index[1, 2, 3] = bad
    with pytest.raises(CalibrationError, match=r"\(1, 2, 3\)"):
        encode_levels(index, coder=coder, **ARGUMENTS)
    with pytest.raises(CalibrationError, match=r"\(1, 2, 3\)"):
        decode_levels(index, b"", coder=coder, **ARGUMENTS)


@pytest.mark.parametrize(
    "change",
    [
        {"levels": 1},
        {"levels": 257},
        {"skip_level": -2},
        {"skip_level": 31},
        {"epsilon": -1e-9},
        {"epsilon": 0.25},
        {"epsilon": 0.25 - 1e-12},
        {"epsilon": float("nan")},
        {"epsilon": float("inf")},
    ],
)
def test_bad_arguments_are_usage_errors(change: dict[str, float]) -> None:
    arguments = ARGUMENTS | change
    with pytest.raises(UsageError):
        encode_levels(SMALL, coder=PositionCoder.RETRIEVAL, **arguments)
    with pytest.raises(UsageError):
        decode_levels(SMALL, b"", coder=PositionCoder.RETRIEVAL, **arguments)


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(UsageError, match="float64"):
        encode_levels(SMALL.astype(np.float64), coder=PositionCoder.RPC, **ARGUMENTS)
