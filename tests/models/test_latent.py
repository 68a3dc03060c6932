"""Entropy model of a latent: checkerboard, rates, priors, gains, bounds, rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from nvc_calib import ScaleLevels
from nvc_models.blocks import BlockStyle
from nvc_models.latent import (
    QUALITIES,
    FactorizedPrior,
    LatentCoding,
    LatentConfig,
    LatentModel,
    QualityGain,
    Quantized,
    bound,
    hyper_decoder,
    hyper_encoder,
    laplace_bits,
    merge_checkerboard,
    round_through,
    split_checkerboard,
    spread_part_0,
)
from nvc_models.lean_latent import LeanLatentConfig, LeanLatentModel
from nvc_models.levels import LEVELS

MODELS = ("paper, conv", "paper, separable", "lean", "lean, step", "lean, threshold")


def checkerboard_parts(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Split (C, H, W) by definition: half A on even squares and B on odd ones, and the rest."""
    half = x.shape[0] // 2
    rows, columns = np.indices(x.shape[1:])
    even = (rows + columns) % 2 == 0
    return np.where(even, x[:half], x[half:]), np.where(even, x[half:], x[:half])


@settings(max_examples=25, deadline=None)
@given(
    half=st.integers(1, 4),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_checkerboard_is_the_definition_and_has_an_inverse(
    half: int, rows: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2 * half, 2 * rows, 2 * columns)).astype(np.float32)
    tensor = torch.from_numpy(x)[None]
    parts = split_checkerboard(tensor)
    for part, expected in zip(parts, checkerboard_parts(x), strict=True):
        np.testing.assert_array_equal(part[0].numpy(), expected)
    assert torch.equal(merge_checkerboard(*parts), tensor)


def test_spread_part_0_is_a_merge_with_nothing_known_of_part_1() -> None:
    part = torch.randn(2, 3, 4, 6)
    spread = spread_part_0(part)
    assert torch.equal(spread, merge_checkerboard(part, torch.zeros_like(part)))
    assert torch.equal(split_checkerboard(spread)[0], part)


def interval_bits(x: NDArray[np.float64], index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits of the interval x +- 1/2 under a Laplace density, by its distribution, in float64."""
    b = LEVELS.sigma_from_index(index) / math.sqrt(2.0)
    low, high = np.abs(x) - 0.5, np.abs(x) + 0.5

    def above(value: NDArray[np.float64]) -> NDArray[np.float64]:
        tail = 0.5 * np.exp(-np.abs(value) / b)
        return np.where(value >= 0, tail, 1 - tail)

    with np.errstate(divide="ignore"):
        return np.asarray(-np.log2(above(low) - above(high)))


def symbol_bits(symbol: NDArray[np.float64], index: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `interval_bits` for whole numbers, in the log domain: any outlier has finite bits."""
    rate = math.sqrt(2.0) / LEVELS.sigma_from_index(index)
    outside = (np.abs(symbol) - 0.5) * rate - np.log(-0.5 * np.expm1(-rate))
    bits = np.where(symbol == 0, -np.log(-np.expm1(-0.5 * rate)), outside) / math.log(2.0)
    return np.asarray(bits)


def test_laplace_bits_are_those_of_the_distribution() -> None:
    index, x = np.meshgrid(np.linspace(8.0, LEVELS.index_max, 48), np.linspace(-6, 6, 121))
    expected = interval_bits(x, index)
    found = laplace_bits(torch.from_numpy(x).float(), torch.from_numpy(index).float())
    usable = np.isfinite(expected) & (expected < 40)
    assert usable.mean() > 0.5
    np.testing.assert_allclose(found.numpy()[usable], expected[usable], rtol=2e-3, atol=2e-4)


def test_laplace_bits_of_outliers_are_finite_and_lead_back() -> None:
    x = torch.tensor([0.0, 0.4, 3.0, 300.0, -300.0], requires_grad=True)
    index = torch.zeros(5, requires_grad=True)
    bits = laplace_bits(x, index)
    bits.sum().backward()
    assert torch.isfinite(bits).all()
    assert x.grad is not None
    assert index.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad[3] > 0 > x.grad[4]
    assert index.grad[3] < 0


def test_probabilities_of_all_integers_sum_to_one() -> None:
    x = torch.arange(-400.0, 401.0)[:, None]
    index = torch.linspace(0, LEVELS.index_max, 30)[None]
    total = torch.exp2(-laplace_bits(x.expand(-1, 30), index.expand(801, -1))).double().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=2e-3)


def test_factorized_masses_sum_to_one_per_channel() -> None:
    prior = FactorizedPrior(5)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        masses = prior.double().probability(torch.arange(-2000.0, 2001.0).double().expand(5, 1, -1))
    assert (masses >= 0).all()
    torch.testing.assert_close(masses.sum(2), torch.ones(5, 1).double(), rtol=0, atol=1e-6)


def test_factorized_bits_are_the_logarithm_of_the_mass_of_each_channel() -> None:
    prior, z = FactorizedPrior(3), torch.randint(-4, 5, (2, 3, 4, 5)).float()
    bits = prior.bits(z)
    for b in range(2):
        for c in range(3):
            points = z[b, c].reshape(1, 1, -1).expand(3, 1, -1)
            expected = -torch.log2(prior.probability(points)[c, 0]).reshape(4, 5)
            torch.testing.assert_close(bits[b, c], expected)


def test_quality_gain_table_is_its_forward() -> None:
    gain = QualityGain(4, -1.0, 2.0)
    with torch.no_grad():
        gain.log_gain.add_(0.2 * torch.randn_like(gain.log_gain))
    table = gain.table()
    assert table.shape == (QUALITIES, 4)
    assert table.dtype == torch.float32
    for quality in range(QUALITIES):
        assert torch.equal(table[quality], gain(torch.tensor([quality]))[0, :, 0, 0])
    torch.testing.assert_close(table[0], gain.log_gain[0].exp())
    torch.testing.assert_close(table[-1], gain.log_gain[-1].exp())


def test_quality_gain_starts_geometric() -> None:
    table = QualityGain(1, -1.0, 2.0).table()[:, 0].log()
    torch.testing.assert_close(table, torch.linspace(-1.0, 2.0, QUALITIES))


@pytest.mark.parametrize(
    ("value", "slope", "passes"),
    [
        (0.5, 1.0, True),
        (-1.0, 1.0, False),
        (-1.0, -1.0, True),
        (2.0, 1.0, True),
        (2.0, -1.0, False),
    ],
)
def test_bound_lets_gradients_lead_back_into_the_range(
    value: float, slope: float, passes: bool
) -> None:
    x = torch.tensor([value], requires_grad=True)
    y = bound(x, 0.0, 1.0)
    assert float(y.detach()) == min(max(value, 0.0), 1.0)
    (slope * y).sum().backward()
    assert x.grad is not None
    assert float(x.grad) == (slope if passes else 0.0)


def test_round_through_rounds_half_to_even_and_passes_gradients() -> None:
    x = torch.tensor([0.5, 1.5, -0.5, 2.4], requires_grad=True)
    y = round_through(x)
    assert y.tolist() == [0.0, 2.0, 0.0, 2.0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0] * 4


def test_index_stays_in_its_range_and_is_even_in_log_sigma() -> None:
    raw = torch.linspace(-100, 100, 2001)
    index = LatentModel.index(raw)
    assert float(index.min()) == 0.0
    assert float(index.max()) == LEVELS.index_max == ScaleLevels().count - 0.5
    inside = (index > 0) & (index < LEVELS.index_max)
    steps = index[inside].diff()
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), rtol=1e-3, atol=0)


def latent_model(kind: str, priors: int = 0) -> LatentCoding:
    """Make one of MODELS for 6 channels, its weights drawn at random."""
    model: LatentCoding
    if kind.startswith("paper"):
        style: BlockStyle = "conv" if kind.endswith("conv") else "separable"
        model = LatentModel(LatentConfig(6, 3, priors, 8, style))
    else:
        step = kind.endswith("step")
        threshold = 0.75 if kind.endswith("threshold") else 0.5
        before = (priors,) if priors else ()
        model = LeanLatentModel(LeanLatentConfig(6, 3, before, 8, step, threshold))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def latent(size: int = 8, scale: float = 4.0) -> Tensor:
    return scale * torch.randn(2, 6, size, size)


def parts_of(model: LatentCoding, y: Tensor, coded: Quantized) -> list[tuple[Tensor, ...]]:
    """Return symbols, mean and index of both parts, found from the reconstruction."""
    part_0 = model.part_0(torch.round(model.hyper_analysis(y)))
    step = torch.ones_like(y) if part_0.step is None else part_0.step
    hats = split_checkerboard(coded.y_hat / step)
    index_1, mean_1 = model.part_1(hats[0], *part_0.kept)
    found = []
    for hat, index, mean in zip(hats, (part_0.index, index_1), (part_0.mean, mean_1), strict=True):
        found.append((hat - mean, mean, index))
    return found


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_hard_rounding_gives_whole_symbols(kind: str) -> None:
    model, y = latent_model(kind).eval(), latent()
    coded = model(y, rounding="hard")
    assert coded.y_hat.shape == y.shape
    parts = parts_of(model, y, coded)
    for symbols, _, _ in parts:
        torch.testing.assert_close(symbols, torch.round(symbols), rtol=0, atol=1e-4)
    indices = torch.cat([index for _, _, index in parts], 1)
    torch.testing.assert_close(coded.index, indices, rtol=0, atol=1e-4)
    part_0 = model.part_0(torch.round(model.hyper_analysis(y)))
    kept = dict(zip(model.kept, (t.shape[1] for t in part_0.kept), strict=True))
    assert kept == model.kept_channels
    assert (part_0.step is not None) == model.has_step
    step = torch.ones_like(y) if part_0.step is None else part_0.step
    assert (step >= 0.5).all()
    assert ((coded.y_hat - y).abs() <= model.threshold * step + 1e-3).all()


def test_a_threshold_leaves_small_values_out_and_keeps_the_rest() -> None:
    model = latent_model("lean, threshold")
    assert model.threshold == 0.75
    x = torch.tensor([0.0, 0.5, 0.74, 0.76, 1.7, 1.8, -0.74, -0.76, -1.8])
    expected = [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 0.0, -1.0, -2.0]
    assert model.round(x).tolist() == expected


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_skipped_elements_take_their_mean_and_cost_nothing(kind: str) -> None:
    model, y = latent_model(kind).eval(), latent()
    everything = model(y, rounding="hard", skip_level=LEVELS.count)
    nothing = model(y, rounding="hard")
    assert everything.bits.tolist() == [0.0, 0.0]
    assert (nothing.bits > 0).all()
    for symbols, _, _ in parts_of(model, y, everything):
        torch.testing.assert_close(symbols, torch.zeros_like(symbols), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_while_training_what_is_skipped_counts_too(kind: str) -> None:
    model, y = latent_model(kind).train(), latent()
    skipped = model(y, rounding="hard", skip_level=LEVELS.count)
    assert (skipped.bits > 0).all()
    for symbols, _, _ in parts_of(model, y, skipped):
        torch.testing.assert_close(symbols, torch.zeros_like(symbols), rtol=0, atol=1e-4)
    assert not torch.equal(model(y, rounding="hard").y_hat, skipped.y_hat)


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_bits_of_hard_rounding_are_those_of_the_levels_a_coder_uses(kind: str) -> None:
    model, y = latent_model(kind).eval(), latent(4)
    coded = model(y, rounding="hard")
    expected = np.zeros(2)
    for symbols, _, index in parts_of(model, y, coded):
        whole = torch.round(symbols).double().numpy()
        level = np.minimum(np.floor(index.double().numpy()) + 0.5, LEVELS.index_max)
        expected += symbol_bits(whole, level).sum((1, 2, 3))
        if model.shape is not None:
            expected += model.shape.bits(symbols, index).sum((1, 2, 3)).numpy()
    np.testing.assert_allclose(coded.bits.numpy(), expected, rtol=1e-3)


@pytest.mark.parametrize("halvings", [0, 1, 2])
def test_a_hyperlatent_is_half_the_size_so_many_times_and_its_way_back_doubles(
    halvings: int,
) -> None:
    y = torch.randn(2, 6, 8, 16)
    z = hyper_encoder(6, 3, halvings)(y)
    assert z.shape == (2, 3, 8 >> halvings, 16 >> halvings)
    assert hyper_decoder(3, 5, halvings)(z).shape == (2, 5, 8, 16)


def test_noise_is_drawn_only_while_training() -> None:
    model, y = latent_model("paper, separable"), latent()
    model.train()
    assert not torch.equal(model(y, rounding="noise").bits, model(y, rounding="noise").bits)
    model.eval()
    assert torch.equal(model(y, rounding="noise").bits, model(y, rounding="noise").bits)


@pytest.mark.parametrize("kind", ["paper, separable", "lean", "lean, step"])
def test_every_parameter_of_the_entropy_model_learns(kind: str) -> None:
    model = latent_model(kind, priors=2).train()
    for rounding in ("noise", "hard"):
        coded = model(latent(), torch.randn(2, 2, 8, 8), rounding=rounding)
        loss = coded.bits.mean() + coded.hyper_bits.mean() + coded.y_hat.square().mean()
        loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
