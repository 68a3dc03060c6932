from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nvc_calib
from nvc_calib import PositionCoder, ScaleLevels, encode_levels
from nvc_errors import DamagedInputError, UsageError


def test_public_names_are_sorted_and_exist() -> None:
    assert nvc_calib.__all__ == sorted(nvc_calib.__all__)
    assert all(hasattr(nvc_calib, name) for name in nvc_calib.__all__)


def test_the_grid_is_the_papers() -> None:
    levels = ScaleLevels()
    assert (levels.count, levels.sigma_min, levels.sigma_max) == (32, 0.01, 64.0)
    assert levels.step == pytest.approx(math.log(6400) / 31)
    np.testing.assert_allclose(levels.index_from_sigma([0.01, 64.0]), [0, 31], atol=1e-12)


def test_representatives_lie_in_their_levels() -> None:
    levels = ScaleLevels(count=64, sigma_min=0.1, sigma_max=30.0)
    sigmas = levels.representatives()
    assert sigmas.dtype == np.float64
    assert sigmas.shape == (64,)
    np.testing.assert_array_equal(np.floor(levels.index_from_sigma(sigmas)), np.arange(64))
    np.testing.assert_allclose(sigmas[1:] / sigmas[:-1], math.exp(levels.step))


@given(st.floats(0.0, 31.49))
def test_index_and_sigma_are_inverse(index: float) -> None:
    levels = ScaleLevels()
    assert levels.index_from_sigma(levels.sigma_from_index(index)) == pytest.approx(index, abs=1e-9)


def test_saturated_scales_cost_nothing() -> None:
    levels = ScaleLevels()
    index = levels.index_from_sigma([1e-9, 1e3, 1e9]).astype(np.float32)
    level_map, side_information = encode_levels(
        index, levels=32, skip_level=-1, epsilon=0.2, coder=PositionCoder.RPC
    )
    assert level_map.tolist() == [0, 31, 31]
    assert side_information == b""


@pytest.mark.parametrize(
    "arguments",
    [
        {"count": 1},
        {"count": 257},
        {"sigma_min": 0.0},
        {"sigma_min": 65.0},
        {"sigma_max": math.inf},
        {"sigma_min": math.nan},
    ],
)
def test_bad_grids_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        ScaleLevels(**arguments)  # type: ignore[arg-type]


def test_wire_ids_are_fixed() -> None:
    assert {coder.value: coder.wire_id for coder in PositionCoder} == {
        "none": 0,
        "rpc": 1,
        "retrieval": 2,
    }
    for coder in PositionCoder:
        assert PositionCoder.from_wire_id(coder.wire_id) is coder
    with pytest.raises(DamagedInputError, match="position coder 3"):
        PositionCoder.from_wire_id(3)
