"""Try to make a decoder that keeps the contract find another level than the encoder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvc_calib import PositionCoder, decode_levels, encode_levels, round_epsilon

CODERS = [PositionCoder.RPC, PositionCoder.RETRIEVAL]
DYADIC = [2.0**-16, 2.0**-13, 2.0**-7, 0.125]
"""n - epsilon and n + epsilon are float32 numbers: drift of exactly epsilon happens."""
BELOW_LIMIT = float(np.nextafter(np.float32(0.25), np.float32(0)))
EPSILONS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.2, BELOW_LIMIT, *DYADIC]

Index = NDArray[np.float32]


def largest_within(reference: Index, epsilon: float, direction: int) -> Index:
    """The float32 furthest from each reference in one direction with |difference| <= epsilon."""
    exact = reference.astype(np.float64) + direction * epsilon
    moved = exact.astype(np.float32)
    too_far = np.abs(moved.astype(np.float64) - reference.astype(np.float64)) > epsilon
    return np.where(too_far, np.nextafter(moved, reference), moved).astype(np.float32)


def boundary_cases(levels: int, epsilon: float) -> Index:
    """Every boundary, the edges of both key sets around it, and their float32 neighbours."""
    n = np.arange(levels + 1, dtype=np.float64)[:, None]
    offsets = epsilon * np.array([-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3])
    exact = (n + offsets).astype(np.float32)
    toward = [np.nextafter(exact, np.float32(side)) for side in (-np.inf, np.inf)]
    halves = (n[:, 0] + 0.5).astype(np.float32)
    parts = [exact, *toward, halves, np.float32([-0.0, 1e-45, 1e-30])]
    return np.concatenate([part.reshape(-1) for part in parts])


def assert_exact(
    encoder: Index, decoder: Index, levels: int, skip_level: int, epsilon: float, coder: str
) -> None:
    arguments = {
        "levels": levels,
        "skip_level": skip_level,
        "epsilon": epsilon,
        "coder": PositionCoder(coder),
    }
    sent, side_information = encode_levels(encoder, **arguments)
    found = decode_levels(decoder, side_information, **arguments)
    assert sent.dtype == found.dtype == np.uint8
    assert sent.shape == found.shape == encoder.shape
    np.testing.assert_array_equal(sent, found)
    assert sent.max(initial=0) <= levels - 1
    assert sent.min(initial=255) >= max(skip_level, 0)
    # A level may be rounded up by no more than epsilon.
    limited = np.clip(encoder, 0, levels - 1).astype(np.float64)
    coded = sent > max(skip_level, 0)
    assert (limited[coded] >= sent[coded] - round_epsilon(epsilon)).all()


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize(
    ("levels", "skip_level"),
    [(32, -1), (32, 0), (32, 7), (32, 30), (2, -1), (2, 0), (256, -1), (256, 254)],
)
def test_extreme_drift_at_every_boundary_is_exact(
    coder: PositionCoder, epsilon: float, levels: int, skip_level: int
) -> None:
    encoder = boundary_cases(levels, epsilon)
    bound = round_epsilon(epsilon)
    for direction in (-1, 1):
        decoder = largest_within(encoder, bound, direction)
        assert_exact(encoder, decoder, levels, skip_level, epsilon, coder)
        assert_exact(decoder, encoder, levels, skip_level, epsilon, coder)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_drift_within_the_contract_is_exact(data: st.DataObject) -> None:
    levels = data.draw(st.sampled_from([2, 3, 32, 255, 256]))
    skip_level = data.draw(st.integers(-1, levels - 2))
    epsilon = data.draw(st.one_of(st.floats(1e-6, 0.2499), st.sampled_from(EPSILONS), st.just(0.0)))
    bound = round_epsilon(epsilon)
    centre = st.integers(0, levels).map(float)
    near = st.builds(
        lambda n, k, nudge: float(np.float32(n + k * epsilon) + nudge),
        centre,
        st.sampled_from([-2, -1, -0.5, 0, 0.5, 1, 2]),
        st.sampled_from([0.0, 2.0**-24, -(2.0**-24), 2.0**-16, -(2.0**-16)]),
    )
    anywhere = st.floats(-1, levels + 1, width=32)
    values = data.draw(st.lists(st.one_of(near, centre, anywhere), max_size=40))
    encoder = np.array(values, dtype=np.float32)
    steps = data.draw(
        st.lists(
            st.sampled_from([-1.0, -0.999, -0.5, 0.0, 0.5, 0.999, 1.0]),
            min_size=len(values),
            max_size=len(values),
        )
    )
    decoder = encoder.copy()
    for place, step in enumerate(steps):
        size = float(np.float32(abs(step) * bound))
        moved = largest_within(encoder[place : place + 1], size, 1 if step > 0 else -1)
        decoder[place : place + 1] = moved if step else encoder[place]
    for coder in CODERS:
        assert_exact(encoder, decoder, levels, skip_level, epsilon, coder)


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("epsilon", [1e-4, 1e-3, 1e-2])
def test_random_signs_on_a_whole_latent(coder: PositionCoder, epsilon: float) -> None:
    rng = np.random.default_rng(3)
    encoder = (rng.random((96, 24, 40)) * 31).astype(np.float32)
    bound = round_epsilon(epsilon)
    up, down = (largest_within(encoder, bound, side) for side in (1, -1))
    decoder = np.where(rng.random(encoder.shape) < 0.5, up, down)
    assert_exact(encoder, decoder, 32, 5, epsilon, coder)


@pytest.mark.parametrize("coder", CODERS)
def test_every_element_can_be_a_key(coder: PositionCoder) -> None:
    """A huge key set: everything within epsilon of a boundary, on alternating sides."""
    rng = np.random.default_rng(4)
    boundary = rng.integers(1, 32, 40_000)
    encoder = (boundary + rng.choice([-0.2, -0.01, 0.0, 0.01, 0.2], 40_000)).astype(np.float32)
    decoder = largest_within(encoder, round_epsilon(0.22), 1)
    assert_exact(encoder, decoder, 32, -1, 0.22, coder)
    assert_exact(decoder, encoder, 32, -1, 0.22, coder)


def test_without_protection_levels_differ() -> None:
    rng = np.random.default_rng(5)
    encoder = (rng.random(50_000) * 31).astype(np.float32)
    decoder = largest_within(encoder, round_epsilon(1e-3), 1)
    arguments = {"levels": 32, "skip_level": -1, "epsilon": 1e-3, "coder": PositionCoder.NONE}
    sent, side_information = encode_levels(encoder, **arguments)
    assert side_information == b""
    wrong = np.count_nonzero(sent != decode_levels(decoder, b"", **arguments))
    assert wrong > 10
    for coder in CODERS:
        assert_exact(encoder, decoder, 32, -1, 1e-3, coder)


@pytest.mark.parametrize("coder", CODERS)
def test_drift_beyond_the_contract_can_go_wrong(coder: PositionCoder) -> None:
    """The bound is not idle: ten epsilon of drift is more than either coder covers."""
    encoder = (np.arange(2_000) % 30 + 1 + 5e-3).astype(np.float32)
    arguments = {"levels": 32, "skip_level": -1, "epsilon": 1e-3, "coder": coder}
    sent, side_information = encode_levels(encoder, **arguments)
    drifted = decode_levels(encoder - np.float32(1e-2), side_information, **arguments)
    assert (sent != drifted).any()


@pytest.mark.parametrize("coder", list(PositionCoder))
def test_pixels_round_alike(coder: PositionCoder) -> None:
    """The pixel-exact mode: levels of 255 x + 1/2 are the rounded 8-bit samples."""
    samples = np.linspace(0, 1, 5_001, dtype=np.float32)
    index = np.float32(255) * samples + np.float32(0.5)
    sent, side_information = encode_levels(
        index, levels=256, skip_level=-1, epsilon=3e-4, coder=coder
    )
    found = decode_levels(
        index, side_information, levels=256, skip_level=-1, epsilon=3e-4, coder=coder
    )
    np.testing.assert_array_equal(sent, found)
    assert sent[0] == 0
    assert sent[-1] == 255
    expected = np.floor(index.astype(np.float64))
    assert np.count_nonzero(sent != expected) <= index.size // 100


@pytest.mark.parametrize("coder", list(PositionCoder))
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4)])
def test_shapes_are_kept(coder: PositionCoder, shape: tuple[int, ...]) -> None:
    index = np.full(shape, 3.0, dtype=np.float32)
    arguments = {"levels": 32, "skip_level": -1, "epsilon": 1e-4, "coder": coder}
    sent, side_information = encode_levels(index, **arguments)
    assert sent.shape == shape
    found = decode_levels(index, side_information, **arguments)
    assert found.shape == shape
    assert (found == 3).all()
    assert (sent == 3).all()


@pytest.mark.parametrize("coder", list(PositionCoder))
def test_strided_input_is_read_in_logical_order(coder: PositionCoder) -> None:
    rng = np.random.default_rng(6)
    index = (rng.random((40, 30)) * 31).astype(np.float32)
    arguments = {"levels": 32, "skip_level": -1, "epsilon": 1e-2, "coder": coder}
    plain = encode_levels(np.ascontiguousarray(index.T), **arguments)
    strided = encode_levels(index.T, **arguments)
    np.testing.assert_array_equal(plain[0], strided[0])
    assert plain[1] == strided[1]


@pytest.mark.parametrize("coder", list(PositionCoder))
def test_values_beyond_the_range_take_the_outer_levels(coder: PositionCoder) -> None:
    index = np.float32([-1e30, -3.0, -0.0, 0.0, 31.0, 31.7, 32.0, 33.0, 3e38])
    sent, side_information = encode_levels(
        index, levels=32, skip_level=-1, epsilon=1e-2, coder=coder
    )
    np.testing.assert_array_equal(sent, [0, 0, 0, 0, 31, 31, 31, 31, 31])
    found = decode_levels(
        index, side_information, levels=32, skip_level=-1, epsilon=1e-2, coder=coder
    )
    np.testing.assert_array_equal(found, sent)
