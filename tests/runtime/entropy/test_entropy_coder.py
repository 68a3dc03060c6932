"""Round trips of the frame coder, its limits, and what it makes of garbage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nvc_errors import CalibrationError, EngineError, StreamError
from nvc_runtime.entropy import (
    SYMBOL_LIMIT,
    FrameDecoder,
    FrameEncoder,
    FrequencyTable,
    TableSet,
    laplace_tables,
)
from nvc_runtime.entropy.coder import CHECK_BITS

SCALE = laplace_tables([0.05, 0.3, 1.0, 4.0, 20.0])
CHANNELS = TableSet(
    [
        FrequencyTable(np.array([60, 3, 1], dtype=np.uint32), 0),
        FrequencyTable(np.array([1, 1, 60, 1, 1], dtype=np.uint32), -2),
        FrequencyTable(np.array([63, 1], dtype=np.uint32), 5),
    ]
)

any_symbol = st.one_of(
    st.integers(-3, 3),
    st.integers(-200, 200),
    st.integers(-SYMBOL_LIMIT, SYMBOL_LIMIT),
    st.sampled_from([-SYMBOL_LIMIT, SYMBOL_LIMIT]),
)


@st.composite
def scale_steps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=8))
    symbols = draw(hnp.arrays(np.int32, shape, elements=any_symbol))
    levels = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, len(SCALE) - 1)))
    return symbols, levels, draw(st.integers(-1, len(SCALE)))


@st.composite
def factorized_steps(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    return draw(hnp.arrays(np.int32, (len(CHANNELS), height, width), elements=any_symbol))


@given(steps=st.lists(st.one_of(scale_steps(), factorized_steps()), max_size=4))
@settings(max_examples=150, deadline=None)
def test_steps_round_trip_in_one_payload(steps):
    encoder = FrameEncoder()
    for step in steps:
        if isinstance(step, tuple):
            encoder.encode_scale(step[0], step[1], SCALE, step[2])
        else:
            encoder.encode_factorized(step, CHANNELS)
    payload = encoder.finish()
    assert not payload.endswith(b"\0")
    assert 8 * len(payload) <= encoder.bits_so_far() + 16

    decoder = FrameDecoder(payload)
    for step in steps:
        if isinstance(step, tuple):
            symbols, levels, skip_level = step
            found = decoder.decode_scale(levels, SCALE, skip_level)
            expected = np.where(levels > skip_level, symbols, 0)
        else:
            expected = step
            found = decoder.decode_factorized(step.shape, CHANNELS)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)
    decoder.finish(expected_digest=encoder.digest)


def test_realistic_latent_costs_its_entropy():
    rng = np.random.default_rng(5)
    levels = rng.integers(0, len(SCALE), (16, 40, 50)).astype(np.uint8)
    flat, bits = levels.reshape(-1), 0.0
    symbols = np.zeros(flat.size, np.int32)
    for level, table in enumerate(SCALE):
        chances = table.frequencies[:-1] / table.frequencies[:-1].sum()
        where = np.flatnonzero(flat == level)
        entries = rng.choice(chances.size, size=where.size, p=chances)
        symbols[where] = entries + table.offset
        bits -= float(np.log2(table.frequencies[entries] / table.total).sum())
    encoder = FrameEncoder()
    encoder.encode_scale(symbols.reshape(levels.shape), levels, SCALE, -1)
    assert encoder.bits_so_far() == pytest.approx(bits + CHECK_BITS, rel=2e-4)
    assert 8 * len(encoder.finish()) < encoder.bits_so_far() + 9


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), (4, 4)])
def test_nothing_coded_is_an_empty_payload(shape):
    encoder = FrameEncoder()
    encoder.encode_scale(np.full(shape, 9, np.int32), np.full(shape, 2, np.uint8), SCALE, 2)
    assert encoder.bits_so_far() == 0
    assert encoder.finish() == b""
    decoder = FrameDecoder(b"")
    assert not decoder.decode_scale(np.full(shape, 2, np.uint8), SCALE, 2).any()
    decoder.finish(expected_digest=encoder.digest)


def test_finish_does_not_disturb_the_encoder():
    symbols, levels = np.arange(-4, 4, dtype=np.int32), np.full(8, 3, np.uint8)
    disturbed, plain = FrameEncoder(), FrameEncoder()
    disturbed.encode_scale(symbols, levels, SCALE, -1)
    disturbed.finish()
    disturbed.encode_scale(symbols, levels, SCALE, -1)
    for _ in range(2):
        plain.encode_scale(symbols, levels, SCALE, -1)
    assert disturbed.finish() == plain.finish()


@pytest.mark.parametrize("value", [SYMBOL_LIMIT + 1, -SYMBOL_LIMIT - 1, 2**31 - 1, -(2**31)])
def test_symbol_beyond_the_limit_is_refused(value):
    symbols = np.array([0, value], np.int32)
    with pytest.raises(EngineError, match="expected them within"):
        FrameEncoder().encode_scale(symbols, np.ones(2, np.uint8), SCALE, -1)
    with pytest.raises(EngineError, match="expected them within"):
        FrameEncoder().encode_factorized(np.full((3, 1, 1), value, np.int32), CHANNELS)


def test_skipped_symbols_are_not_looked_at():
    encoder = FrameEncoder()
    encoder.encode_scale(np.array([2**31 - 1, 1], np.int32), np.array([0, 1], np.uint8), SCALE, 0)
    levels = np.array([0, 1], np.uint8)
    assert FrameDecoder(encoder.finish()).decode_scale(levels, SCALE, 0).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("symbols", "levels", "skip_level"),
    [
        (np.zeros(2, np.int64), np.zeros(2, np.uint8), 0),
        (np.zeros(2, np.int32), np.zeros(2, np.int32), 0),
        (np.zeros(2, np.int32), np.zeros(3, np.uint8), 0),
        (np.zeros(2, np.int32), np.full(2, len(SCALE), np.uint8), 0),
        (np.zeros(2, np.int32), np.zeros(2, np.uint8), 255),
        (np.zeros(2, np.int32), np.zeros(2, np.uint8), -2),
    ],
)
def test_wrong_arguments_are_a_bug_of_the_caller(symbols, levels, skip_level):
    with pytest.raises(ValueError, match=r"expected|but"):
        FrameEncoder().encode_scale(symbols, levels, SCALE, skip_level)


@pytest.mark.parametrize("shape", [(2, 3, 3), (3, 9), (3, -1, 2)])
def test_factorized_shape_must_fit_the_tables(shape):
    with pytest.raises(ValueError, match="expected"):
        FrameDecoder(b"").decode_factorized(shape, CHANNELS)


def test_wrong_levels_are_noticed_before_decoding():
    """By the check for 15 of 16 wrong maps, and by the digest for all."""
    levels = np.random.default_rng(2).integers(1, len(SCALE), 60).astype(np.uint8)
    encoder = FrameEncoder()
    encoder.encode_scale(np.zeros(60, np.int32), levels, SCALE, 0)
    payload, noticed = encoder.finish(), 0

    def decode(levels: np.ndarray) -> None:
        decoder = FrameDecoder(payload)
        decoder.decode_scale(levels, SCALE, 0)
        decoder.finish(expected_digest=encoder.digest)

    for place in range(60):
        other = levels.copy()
        other[place] = other[place] % (len(SCALE) - 1) + 1
        with pytest.raises(CalibrationError) as error:
            decode(other)
        noticed += "coding step 1: found check" in str(error.value)
    assert noticed > 45


def test_swapped_levels_of_equal_symbols_change_the_digest():
    digests = set()
    for levels in ([0, 3, 3], [3, 0, 3], [3, 3, 0]):
        encoder = FrameEncoder()
        encoder.encode_scale(np.zeros(3, np.int32), np.array(levels, np.uint8), SCALE, 0)
        digests.add(encoder.digest)
    assert len(digests) == 3


def test_levels_that_are_not_coded_do_not_matter():
    first, second = np.array([0, 1, 3], np.uint8), np.array([1, 0, 3], np.uint8)
    encoder = FrameEncoder()
    encoder.encode_scale(np.ones(3, np.int32), first, SCALE, 1)
    decoder = FrameDecoder(encoder.finish())
    assert decoder.decode_scale(second, SCALE, 1).tolist() == [0, 0, 1]
    decoder.finish(expected_digest=encoder.digest)


def test_wrong_digest_is_noticed():
    encoder = FrameEncoder()
    encoder.encode_factorized(np.zeros((3, 2, 2), np.int32), CHANNELS)
    decoder = FrameDecoder(encoder.finish())
    decoder.decode_factorized((3, 2, 2), CHANNELS)
    with pytest.raises(CalibrationError, match="frame digest: found"):
        decoder.finish(expected_digest=encoder.digest ^ 1)


def test_payload_that_goes_on_is_refused():
    encoder = FrameEncoder()
    levels = np.full(500, 4, np.uint8)
    encoder.encode_scale(np.arange(500, dtype=np.int32) % 40, levels, SCALE, -1)
    decoder = FrameDecoder(encoder.finish() + bytes(range(1, 21)))
    decoder.decode_scale(levels, SCALE, -1)
    with pytest.raises(StreamError, match="more bytes"):
        decoder.finish(expected_digest=encoder.digest)


def test_zero_byte_at_the_end_is_refused():
    with pytest.raises(StreamError, match="zero byte at its end"):
        FrameDecoder(b"\x01\x00")


@given(payload=st.binary(max_size=200), seed=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_garbage_gives_symbols_in_range_or_an_error(payload, seed):
    levels = np.random.default_rng(seed).integers(0, len(SCALE), 300).astype(np.uint8)
    escapes = TableSet([FrequencyTable(np.array([1, 3], dtype=np.uint32), 0)] * 2)
    try:
        decoder = FrameDecoder(payload)
        symbols = decoder.decode_scale(levels, SCALE, 0)
        assert symbols.shape == levels.shape
        assert np.abs(symbols).max() <= SYMBOL_LIMIT
        assert np.abs(decoder.decode_factorized((2, 4, 4), escapes)).max() <= SYMBOL_LIMIT
        decoder.finish()
    except (StreamError, CalibrationError):
        pass


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_change_of_the_payload_is_noticed(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    levels = rng.integers(0, len(SCALE), 200).astype(np.uint8)
    symbols = np.rint(rng.normal(0, 3, 200)).astype(np.int32)
    encoder = FrameEncoder()
    encoder.encode_scale(symbols, levels, SCALE, -1)
    payload = bytearray(encoder.finish())
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    payload[bit // 8] ^= 1 << bit % 8
    try:
        decoder = FrameDecoder(bytes(payload))
        found = decoder.decode_scale(levels, SCALE, -1)
        decoder.finish(expected_digest=encoder.digest)
    except (StreamError, CalibrationError):
        return
    np.testing.assert_array_equal(found, symbols)
