from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_calib import (
    IndexDrift,
    PositionCoder,
    compare_indices,
    decode_levels,
    encode_levels,
    merge_drifts,
    recommend_epsilon,
    round_epsilon,
)
from nvc_errors import CalibrationError, UsageError


def test_counts_and_differences() -> None:
    reference = np.float32([0.5, 2.0, 9.999, 20.0, 40.0, -5.0])
    other = np.float32([0.75, 1.99, 10.0, 20.0, 50.0, -1.0])
    drift = compare_indices(reference, other, levels=32, skip_level=4)
    assert drift.elements == 6
    assert drift.max_difference == 0.25  # what lies beyond the range does not count
    assert drift.mean_difference == pytest.approx((0.25 + 0.01 + 0.001) / 6, rel=1e-3)
    assert drift.flips == 2
    assert drift.coded_flips == 1


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-6, 1e-4, 1e-2, 0.1]))
@settings(max_examples=60, deadline=None)
def test_the_smallest_epsilon_protects_the_pair(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    reference = (rng.random(300) * 34 - 1).astype(np.float32)
    other = (reference + rng.uniform(-scale, scale, 300)).astype(np.float32)
    epsilon = compare_indices(reference, other, levels=32, skip_level=2).smallest_epsilon
    assert epsilon == round_epsilon(epsilon)
    for coder in (PositionCoder.RPC, PositionCoder.RETRIEVAL):
        sent, data = encode_levels(reference, levels=32, skip_level=2, epsilon=epsilon, coder=coder)
        found = decode_levels(other, data, levels=32, skip_level=2, epsilon=epsilon, coder=coder)
        np.testing.assert_array_equal(sent, found)


def test_merging_weighs_by_elements() -> None:
    merged = merge_drifts([IndexDrift(10, 0.1, 0.01, 2, 1), IndexDrift(30, 0.2, 0.05, 3, 0)])
    assert merged.elements == 40
    assert merged.max_difference == 0.2
    assert merged.mean_difference == pytest.approx(0.04)
    assert (merged.flips, merged.coded_flips) == (5, 1)
    assert merge_drifts([]) == IndexDrift(0, 0.0, 0.0, 0, 0)


def test_the_recommendation_keeps_its_margin() -> None:
    drift = IndexDrift(10, 1e-5, 1e-6, 0, 0)
    assert recommend_epsilon(drift) >= 4e-5
    assert recommend_epsilon(drift) == round_epsilon(recommend_epsilon(drift))
    assert recommend_epsilon(drift, margin=1000) == pytest.approx(1e-2, rel=1e-6)
    assert recommend_epsilon(IndexDrift(10, 0.0, 0.0, 0, 0)) == 2.0**-16
    with pytest.raises(CalibrationError, match="TF32"):
        recommend_epsilon(IndexDrift(10, 0.09, 0.01, 0, 0))
    with pytest.raises(UsageError):
        recommend_epsilon(drift, margin=0.5)
    assert IndexDrift(1, 7.0, 7.0, 1, 1).smallest_epsilon == 7.0


def test_recordings_must_match() -> None:
    with pytest.raises(UsageError, match="shapes"):
        compare_indices(np.zeros(3, np.float32), np.zeros(4, np.float32), levels=32, skip_level=0)
    with pytest.raises(CalibrationError):
        compare_indices(np.zeros(1, np.float32), np.float32([np.nan]), levels=32, skip_level=0)
    empty = np.zeros((0, 4), np.float32)
    assert compare_indices(empty, empty, levels=32, skip_level=0).elements == 0
