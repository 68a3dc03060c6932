"""What vectors and differences are worth in bits, to the motion search of the swift family."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nvc_models.latent import QUALITIES, QualityGain
from nvc_models.rate import LOG_STEP_HIGH, LOG_STEP_LOW, lagrangian
from nvc_models.swift.interpolation import QuarterRows
from nvc_models.swift.motion_cost import (
    ResidualBits,
    SearchStep,
    SubpixelWindow,
    block_bits,
    of_large_blocks,
    vector_bits,
)
from nvc_models.swift.planes import BLOCK, LUMA, luma


def test_steps_are_those_that_gains_start_with() -> None:
    step = SearchStep()
    table = step.table()
    assert table.shape == (QUALITIES, 1)
    torch.testing.assert_close(table, QualityGain(1, LOG_STEP_LOW, LOG_STEP_HIGH).table())
    assert (table.diff(dim=0) < 0).all()
    qualities = torch.arange(QUALITIES)
    assert torch.equal(step(qualities), table.view(QUALITIES, 1, 1, 1))


def test_the_likely_vector_is_free_and_others_cost_more_the_farther_they_are() -> None:
    likely = torch.randn(2, 2, 3, 4)
    changes = torch.arange(0, 64, 0.25)
    along = torch.stack((changes, torch.zeros_like(changes)), 1).view(1, -1, 2, 1, 1)
    bits = vector_bits(likely[:, None] + along, likely)
    assert bits.shape == (2, len(changes), 3, 4)
    assert not bits[:, 0].any()
    assert (bits.diff(dim=1) > 0).all()
    torch.testing.assert_close(vector_bits(likely[:, None] - along, likely), bits)
    both = vector_bits(likely[:, None] + along + along.flip(2), likely)
    torch.testing.assert_close(both, 2 * bits)


def test_bits_of_a_vector_are_about_those_of_a_logarithm() -> None:
    changes = torch.arange(0, 24, 0.25)
    vectors = torch.stack((changes, torch.zeros_like(changes)), 1).view(1, -1, 2, 1, 1)
    found = vector_bits(vectors, torch.zeros(1, 2, 1, 1)).flatten()
    assert (found - 1.5 * torch.log2(1 + 4 * changes)).abs().max() < 0.6


def bits_of_difference(blocks: Tensor) -> Tensor:
    """Bits (B, 1, h, w) of blocks (B, 64, h, w) in steps."""
    bits = ResidualBits()
    found: Tensor = bits(bits.transform(blocks), torch.zeros_like(blocks))
    return found


def test_no_difference_costs_nothing_and_more_of_it_more_up_to_the_cost_of_all_symbols() -> None:
    bits, blocks = ResidualBits(), torch.randn(2, LUMA, 3, 4)
    torch.testing.assert_close(bits(bits.transform(blocks), blocks), torch.zeros(2, 1, 3, 4))
    costs = torch.stack([bits_of_difference(size * blocks) for size in (0.0, 0.01, 0.1, 1.0)])
    assert costs.shape == (4, 2, 1, 3, 4)
    assert (costs.diff(dim=0) > 0).all()
    torch.testing.assert_close(bits_of_difference(-blocks), bits_of_difference(blocks))
    most = torch.full((2, 1, 3, 4), LUMA * ResidualBits.SYMBOL_BITS)
    torch.testing.assert_close(bits_of_difference(1e4 * blocks), most)


@pytest.mark.parametrize("quality", [0.0, 32.0, 63.0])
def test_a_small_difference_costs_what_the_loss_makes_of_its_error(quality: float) -> None:
    at = torch.tensor([quality])
    grey = (2e-3 * torch.rand(1, 1, 16, 24)).expand(1, 3, -1, -1)
    bits = bits_of_difference(F.pixel_unshuffle(luma(grey) / SearchStep()(at), BLOCK))
    error = grey.square().mean()
    torch.testing.assert_close(bits.sum(), (lagrangian(at) * error * 16 * 24).squeeze())


@pytest.mark.parametrize(("steps", "bits"), [(0.5, 6 / math.log(2) / 4), (2.0, 7.0), (-10.0, 7.0)])
def test_a_coefficient_costs_its_symbol_or_its_error(steps: float, bits: float) -> None:
    flat = torch.full((1, LUMA, 1, 1), steps / (BLOCK * math.sqrt(3.0)))
    assert float(bits_of_difference(flat)) == pytest.approx(bits, rel=1e-4)


def pictures() -> tuple[Tensor, Tensor, Tensor]:
    """A frame in blocks, luma before, and whole vectors that also lead out of the picture."""
    before = torch.rand(2, 1, 32, 48) - 0.5
    frame = F.pixel_unshuffle(torch.rand(2, 1, 32, 48) - 0.5, BLOCK)
    return frame, before, torch.randint(-20, 21, (2, 2, 4, 6)).float()


def test_a_window_holds_all_quarter_pixels_round_a_whole_one() -> None:
    window, (_, _, vectors) = SubpixelWindow(ResidualBits()), pictures()
    candidates = window.candidates(vectors)
    offsets = (candidates - vectors[:, None])[0, :, :, 0, 0].tolist()
    quarters = [n / 4 for n in range(-2, 3)]
    assert sorted(map(tuple, offsets)) == [(x, y) for x in quarters for y in quarters]
    assert torch.equal(candidates[:, candidates.shape[1] // 2], vectors)


@torch.no_grad()
def test_a_window_s_bits_are_those_of_each_vector_alone() -> None:
    bits = ResidualBits()
    window, (frame, before, vectors) = SubpixelWindow(bits), pictures()
    steps = torch.tensor([0.08, 0.6]).view(2, 1, 1, 1)
    wanted, before = bits.transform(frame / steps), before / steps
    found = window(wanted, before, vectors)
    expected = block_bits(bits, wanted, QuarterRows(before), window.candidates(vectors))
    assert found.shape == (2, 25, 4, 6)
    assert float(expected.std()) > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)


@torch.no_grad()
def test_where_a_block_comes_from_it_costs_nothing() -> None:
    _, before, _ = pictures()
    frame = F.pixel_unshuffle(before.roll((3, -5), (2, 3)), BLOCK)
    vectors = torch.tensor([5.0, -3.0]).view(1, 1, 2, 1, 1).expand(2, 1, 2, 4, 6)
    bits = ResidualBits()
    costs = block_bits(bits, bits.transform(frame), QuarterRows(before), vectors)
    assert (costs[:, 0, 1:, :-1] < 1e-9).all()
    assert (costs[:, 0, 0] > 0.1).all()


def test_a_large_block_costs_what_its_four_do() -> None:
    bits = torch.randint(0, 1000, (2, 3, 4, 6)).float()
    expected = bits.view(2, 3, 2, 2, 3, 2).sum((3, 5))
    assert torch.equal(of_large_blocks(bits), expected)
