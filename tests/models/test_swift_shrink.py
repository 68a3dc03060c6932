"""The loop filter of the swift family: its transforms, what it leaves alone, what it smooths."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nvc_models.latent import QUALITIES
from nvc_models.swift.config import SHIFTS, SWIFT_S
from nvc_models.swift.dct import dct
from nvc_models.swift.planes import BLOCK, LUMA
from nvc_models.swift.shrink import BlockStrength, Shifts, Shrinkage, Thresholds

WIDTH, HEIGHT = 64, 48
COARSE = torch.tensor([0.0])
THREE = ((0, 4), (4, 0), (4, 4))
SHIFT = pytest.mark.parametrize("shift", SHIFTS + THREE, ids=str)
HOW_MANY = pytest.mark.parametrize("shifts", [SHIFTS[:1], SHIFTS, THREE], ids=len)


@torch.no_grad()
def filtered(luma: Tensor, quality: Tensor = COARSE) -> Tensor:
    """Luma (1, 1, H, W) as the filter leaves it at its start."""
    found: Tensor = Shrinkage(SHIFTS)(luma, *Thresholds(SHIFTS)(quality))
    return found


def smooth() -> Tensor:
    """A picture (1, 1, H, W) of a few slow waves, in [-0.5, 0.5]."""
    rows, columns = torch.arange(HEIGHT)[:, None], torch.arange(WIDTH)[None]
    return (0.2 * torch.sin(0.05 * rows + 0.07 * columns) + 0.1 * torch.cos(0.09 * columns))[
        None, None
    ]


def edges(luma: Tensor) -> float:
    """Mean step from one block of 8x8 to the next, both ways, away from the picture's border."""
    across, down = luma.diff(dim=3).abs(), luma.diff(dim=2).abs()
    inside = slice(BLOCK, -BLOCK)
    across, down = across[..., inside, BLOCK - 1 :: BLOCK], down[..., BLOCK - 1 :: BLOCK, inside]
    return float(across.mean() + down.mean())


@pytest.mark.parametrize("side", [4, 8])
def test_the_dct_is_its_definition(side: int) -> None:
    def cosine(frequency: int, place: int) -> float:
        scale = math.sqrt((2 if frequency else 1) / side)
        return scale * math.cos(math.pi * frequency * (2 * place + 1) / (2 * side))

    expected = torch.tensor(
        [
            [cosine(v, y) * cosine(u, x) for y in range(side) for x in range(side)]
            for v in range(side)
            for u in range(side)
        ]
    )
    torch.testing.assert_close(dct(side), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(dct(side) @ dct(side).T, torch.eye(side**2), rtol=0, atol=1e-5)


@SHIFT
@torch.no_grad()
def test_a_transform_and_the_way_back_are_those_of_the_blocks_that_lie_across_others(
    shift: tuple[int, int],
) -> None:
    luma = torch.rand(1, 1, HEIGHT, WIDTH)
    shrinkage = Shrinkage([shift])
    rows, columns = (slice(start, start - BLOCK) for start in shift)
    found = shrinkage.transform(luma[..., rows, columns])
    assert found.shape == (1, LUMA, HEIGHT // BLOCK - 1, WIDTH // BLOCK - 1)
    for i in range(found.shape[2]):
        for j in range(found.shape[3]):
            y, x = BLOCK * i + shift[0], BLOCK * j + shift[1]
            block = luma[0, 0, y : y + BLOCK, x : x + BLOCK].flatten()
            torch.testing.assert_close(found[0, :, i, j], dct(BLOCK) @ block, rtol=0, atol=1e-5)
    back = F.pixel_shuffle(shrinkage.back(found), BLOCK)
    torch.testing.assert_close(back, luma[..., rows, columns], rtol=0, atol=1e-5)


def test_without_a_gain_a_picture_stays_bit_for_bit() -> None:
    luma = torch.rand(2, 1, 24, 40) - 0.5
    energy, gain = torch.full((2, 128, 1, 1), 0.01), torch.zeros(2, 128, 1, 1)
    assert torch.equal(Shrinkage(SHIFTS)(luma, energy, gain), luma)


@HOW_MANY
@torch.no_grad()
def test_what_no_shifted_block_covers_stays_bit_for_bit(shifts: Shifts) -> None:
    luma = torch.rand(1, 1, HEIGHT, WIDTH) - 0.5
    change = (Shrinkage(shifts)(luma, *Thresholds(shifts)(COARSE)) - luma)[0, 0]
    covered = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    for row, column in shifts:
        covered[row : row - BLOCK, column : column - BLOCK] = True
    assert not change[~covered].any()
    assert (change[covered] != 0).float().mean() > 0.99


@pytest.mark.parametrize("number", [0, 1])
@torch.no_grad()
def test_each_coefficient_shrinks_as_a_wiener_filter_would(number: int) -> None:
    size, energy, strength = 0.3, 0.04, 0.5
    row, column = SHIFTS[number]
    for channel in (0, 9, 63):
        luma = torch.zeros(1, 1, 2 * BLOCK, 2 * BLOCK)
        wave = size * dct(BLOCK)[channel].view(BLOCK, BLOCK)
        luma[0, 0, row : row + BLOCK, column : column + BLOCK] = wave
        gain = torch.zeros(1, 2 * LUMA, 1, 1)
        gain[0, LUMA * number + channel] = energy * strength
        found = Shrinkage(SHIFTS)(luma, torch.full_like(gain, energy), gain)
        kept = 1 - strength * energy / (size**2 + energy)
        torch.testing.assert_close(found, luma * kept, rtol=0, atol=1e-6)


def test_a_smooth_picture_passes_nearly_unchanged() -> None:
    picture = smooth()
    assert (filtered(picture) - picture).square().mean() < 1e-5
    fine = torch.tensor([63.0])
    assert (filtered(picture, fine) - picture).square().mean() < 3e-7


def test_edges_of_blocks_are_lowered_and_the_picture_gets_better() -> None:
    clean = smooth()
    offsets = 0.02 * torch.randn(1, 1, HEIGHT // BLOCK, WIDTH // BLOCK)
    blocky = clean + F.interpolate(offsets, scale_factor=BLOCK)
    found = filtered(blocky)
    assert edges(found) - edges(clean) < 0.5 * (edges(blocky) - edges(clean))
    assert (found - clean).square().mean() < (blocky - clean).square().mean()


def test_thresholds_grow_with_the_quantiser() -> None:
    luma = smooth() + 0.02 * torch.randn(1, 1, HEIGHT, WIDTH)
    changes = [
        float((filtered(luma, torch.tensor([quality])) - luma).square().mean())
        for quality in (0.0, 20.0, 40.0, 63.0)
    ]
    assert changes == sorted(changes, reverse=True)


@HOW_MANY
def test_tables_of_thresholds_are_their_forward(shifts: Shifts) -> None:
    thresholds, channels = Thresholds(shifts), LUMA * len(shifts)
    with torch.no_grad():
        for parameter in thresholds.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        tables = thresholds.tables()
        for quality in range(QUALITIES):
            found = thresholds(torch.tensor([float(quality)]))
            for table, tensor in zip(tables, found, strict=True):
                assert tensor.shape == (1, channels, 1, 1)
                assert torch.equal(table[quality], tensor[0, :, 0, 0])
    assert all(table.shape == (QUALITIES, channels) for table in tables)
    assert all(table.dtype == torch.float32 for table in tables)
    assert not any(table.requires_grad for table in tables)


def strength_of(vectors: Tensor) -> Tensor:
    """What the vectors (1, 2, h, w) alone give each block, (1, 1, h, w)."""
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    strength, (h, w) = BlockStrength(places), vectors.shape[-2:]
    with torch.no_grad():
        return strength(strength.of_vectors(vectors), torch.zeros(1, 4, h // 2, w // 2))


@pytest.mark.parametrize("vector", [(0.0, 0.0), (3.0, -2.0)])
def test_copies_are_not_filtered(vector: tuple[float, float]) -> None:
    vectors = torch.tensor(vector).view(1, 2, 1, 1).expand(1, 2, 4, 6)
    assert not strength_of(vectors).any()
    luma = torch.rand(1, 1, 32, 48) - 0.5
    found = Shrinkage(SHIFTS)(luma, *Thresholds(SHIFTS)(COARSE), strength_of(vectors))
    assert torch.equal(found, luma)


@torch.no_grad()
def test_each_block_gets_its_share() -> None:
    luma, thresholds = torch.rand(1, 1, 32, 48) - 0.5, Thresholds(SHIFTS)(COARSE)
    strength = torch.rand(1, 1, 4, 6)
    whole = Shrinkage(SHIFTS)(luma, *thresholds) - luma
    found = Shrinkage(SHIFTS)(luma, *thresholds, strength) - luma
    shares = strength.repeat_interleave(BLOCK, 2).repeat_interleave(BLOCK, 3)
    torch.testing.assert_close(found, whole * shares, rtol=0, atol=1e-6)


@pytest.mark.parametrize("vector", [(0.25, 0.0), (-2.0, 1.75), (-0.5, -0.5)])
def test_interpolated_blocks_are_filtered_in_part(vector: tuple[float, float]) -> None:
    vectors = torch.tensor(vector).view(1, 2, 1, 1).expand(1, 2, 4, 6)
    expected = torch.full((1, 1, 4, 6), BlockStrength.START_BETWEEN)
    torch.testing.assert_close(strength_of(vectors), expected)


@pytest.mark.parametrize("component", [0, 1])
@pytest.mark.parametrize("by", [1.0, -2.0])
def test_blocks_that_move_apart_are_filtered(component: int, by: float) -> None:
    vectors = torch.zeros(1, 2, 6, 6)
    vectors[0, component, 2, 3] = by
    expected = torch.zeros(1, 1, 6, 6)
    expected[0, 0, 1:4, 2:5] = 1.0
    assert torch.equal(strength_of(vectors), expected)


@pytest.mark.parametrize("symbol", [1.0, -3.0])
def test_blocks_with_symbols_are_filtered_wholly_and_alone(symbol: float) -> None:
    channels = SWIFT_S.inter.channels()
    strength = BlockStrength([(row, column) for _, row, column in channels])
    for channel in (0, 5, 20, 150, 319):
        symbols = torch.zeros(1, len(channels), 2, 3)
        symbols[0, channel, 1, 2] = symbol
        _, row, column = channels[channel]
        expected = torch.zeros(1, 1, 4, 6)
        expected[0, 0, 2 + row, 4 + column] = 1.0
        with torch.no_grad():
            assert torch.equal(strength(torch.zeros(1, 1, 4, 6), symbols), expected)
