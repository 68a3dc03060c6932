"""The learned shape of symbols' distributions: what it adds up to, and what its tables hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nvc_export.tables import laplace_masses_of, scale_tables
from nvc_models.latent import laplace_bits
from nvc_models.levels import LEVELS
from nvc_models.symbol_shape import MAGNITUDES, SymbolShape, laplace_masses

MIDDLES = torch.arange(LEVELS.count) + 0.5


def random_shape() -> SymbolShape:
    shape = SymbolShape()
    nn.init.uniform_(shape.log_factor, -1.0, 1.0)
    return shape


def middles(symbols: Tensor) -> tuple[Tensor, Tensor]:
    """Every symbol (N,) at the middle of every level: both (L, N)."""
    return symbols.expand(LEVELS.count, -1), MIDDLES[:, None].expand(-1, len(symbols))


def test_masses_are_those_that_the_rate_of_a_laplace_distribution_has() -> None:
    masses = laplace_masses()
    assert masses.shape == (LEVELS.count, MAGNITUDES)
    torch.testing.assert_close(masses.sum(1), torch.ones(LEVELS.count, dtype=torch.float64))
    symbols, index = middles(torch.arange(MAGNITUDES - 1).double())
    both_signs = 1.0 + (symbols > 0).double()
    bits = laplace_bits(symbols, index.double())
    torch.testing.assert_close(both_signs * torch.exp2(-bits), masses[:, :-1])


@torch.no_grad()
def test_probabilities_of_every_level_add_up_to_one() -> None:
    shape = random_shape()
    symbols, index = middles(torch.arange(-2000.0, 2001.0))
    bits = laplace_bits(symbols, index) + shape.bits(symbols, index)
    total = torch.exp2(-bits.double()).sum(1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-3)
    assert (shape.bits(symbols, index).abs().amax(1) > 0.1).all()


@torch.no_grad()
def test_a_new_shape_changes_nothing() -> None:
    symbols, index = middles(torch.arange(-20.0, 21.0))
    torch.testing.assert_close(
        SymbolShape().bits(symbols, index), torch.zeros_like(index), rtol=0, atol=1e-6
    )


@torch.no_grad()
def test_factors_are_those_of_the_level_and_the_magnitude() -> None:
    shape = SymbolShape()
    shape.log_factor[5, 2] = 1.0
    symbols, index = middles(torch.arange(-3.0, 4.0))
    bits = shape.bits(symbols, index)
    assert torch.equal(bits, bits.flip(1))
    others = torch.arange(LEVELS.count) != 5
    torch.testing.assert_close(bits[others], torch.zeros_like(bits[others]), rtol=0, atol=1e-6)
    assert float(bits[5, 1] - bits[5, 0]) == pytest.approx(-1 / math.log(2), rel=1e-5)
    assert float(bits[5, 0]) > 0
    far = torch.tensor([-1e6, MAGNITUDES - 1.0, 1e6])
    assert torch.equal(shape.bits(*middles(far)), shape.bits(*middles(far.flip(0))))
    assert torch.equal(shape.bits(symbols, index + 0.49), bits)


def test_frequent_magnitudes_learn_to_be_cheaper() -> None:
    shape = SymbolShape()
    index = torch.full((1, 4, 2, 2), 12.3, requires_grad=True)
    shape.bits(torch.full_like(index, 3.0), index).sum().backward()
    gradient = shape.log_factor.grad
    assert gradient is not None
    assert gradient[12, 3] < 0
    assert (gradient[12, [0, 1, 2, 4, 5, 6]] > 0).all()
    assert not gradient[torch.arange(LEVELS.count) != 12].any()
    assert index.grad is None


@torch.no_grad()
def test_tables_cost_what_the_rate_says() -> None:
    shape = random_shape()
    tables = scale_tables(LEVELS, shape)
    plain = scale_tables(LEVELS, None)
    compared = 0
    for level, (table, before) in enumerate(zip(tables, plain, strict=True)):
        assert (table.offset, len(table.frequencies)) == (before.offset, len(before.frequencies))
        frequencies = np.asarray(table.frequencies, dtype=np.float64)
        shares = frequencies / frequencies.sum()
        symbols = torch.arange(len(shares) - 1, dtype=torch.float32) + table.offset
        index = torch.full_like(symbols, level + 0.5)
        expected = (laplace_bits(symbols, index) + shape.bits(symbols, index)).numpy()
        frequent = np.exp2(-expected) > 2e-3
        np.testing.assert_allclose(-np.log2(shares[:-1][frequent]), expected[frequent], atol=0.03)
        compared += int(frequent.sum())
    assert compared > 3 * LEVELS.count


@pytest.mark.parametrize("sigma", [0.05, 0.7, 9.0])
def test_masses_of_symbols_are_symmetric_and_leave_the_tails(sigma: float) -> None:
    masses = laplace_masses_of(sigma, 30)
    assert len(masses) == 61
    np.testing.assert_allclose(masses, masses[::-1])
    assert masses.sum() == pytest.approx(1 - math.exp(-math.sqrt(2) * 30.5 / sigma))
