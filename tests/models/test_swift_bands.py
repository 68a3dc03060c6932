"""Bands of the prediction: what each choice keeps, and which one the encoder makes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nvc_models.swift.bands import ALL, LOW, MEAN, Bands, BandSearch, low_frequencies
from nvc_models.swift.dct import dct
from nvc_models.swift.interpolation import QuarterRows
from nvc_models.swift.motion_cost import ResidualBits
from nvc_models.swift.planes import BLOCK, CHANNELS, LUMA

HEIGHT, WIDTH = 4, 6
"""In blocks of 8x8."""
PLANES = [(0, 8, 3), (LUMA, 4, 1), ((LUMA + CHANNELS) // 2, 4, 1)]
STEP = torch.full((1, 1, 1, 1), 0.1)


def some_blocks() -> Tensor:
    torch.manual_seed(3)
    return torch.rand(1, CHANNELS, HEIGHT, WIDTH) - 0.5


def everywhere(choice: float) -> Tensor:
    return torch.full((1, 1, HEIGHT // 2, WIDTH // 2), choice)


def reduced(blocks: Tensor, choice: float) -> Tensor:
    """Each plane of every block by its DCT, where only the bands of a choice are left."""
    found = blocks.clone()
    for first, side, highest in PLANES:
        plane = slice(first, first + side * side)
        coefficients = torch.einsum("kp,bphw->bkhw", dct(side), blocks[:, plane])
        frequency = torch.tensor([u + v for v in range(side) for u in range(side)])
        kept = frequency <= (highest if choice == LOW else 0)
        coefficients = coefficients * kept.view(-1, 1, 1)
        found[:, plane] = torch.einsum("kp,bkhw->bphw", dct(side), coefficients)
    return found


def test_where_all_is_kept_blocks_stay_bit_for_bit() -> None:
    blocks = some_blocks()
    assert torch.equal(Bands()(blocks, everywhere(ALL)), blocks)


@pytest.mark.parametrize("choice", [LOW, MEAN])
def test_a_choice_keeps_its_bands_of_every_plane(choice: float) -> None:
    blocks = some_blocks()
    torch.testing.assert_close(Bands()(blocks, everywhere(choice)), reduced(blocks, choice))


def test_means_are_those_of_the_samples() -> None:
    found = Bands()(some_blocks(), everywhere(MEAN))
    for first, side, _ in PLANES:
        plane = slice(first, first + side * side)
        mean = some_blocks()[:, plane].mean(1, keepdim=True).expand(-1, side * side, -1, -1)
        torch.testing.assert_close(found[:, plane], mean)


@pytest.mark.parametrize("choice", [LOW, MEAN])
def test_a_choice_is_for_16x16_pixels(choice: float) -> None:
    blocks, choices = some_blocks(), everywhere(ALL)
    choices[0, 0, 1, 2] = choice
    found = Bands()(blocks, choices)
    expected = blocks.clone()
    expected[:, :, 2:4, 4:6] = reduced(blocks, choice)[:, :, 2:4, 4:6]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("choice", [LOW, MEAN])
def test_what_no_encoder_writes_counts_as_the_nearest_choice(choice: float) -> None:
    bands, blocks = Bands(), some_blocks()
    assert torch.equal(bands(blocks, everywhere(1e6 * choice)), bands(blocks, everywhere(choice)))


@pytest.mark.parametrize("side", [4, 8])
def test_the_mean_is_a_low_frequency_and_the_finest_is_not(side: int) -> None:
    low = low_frequencies(side, 1)
    assert low.nonzero().flatten().tolist() == [0, 1, side]


def found_by_search(luma: Tensor, before: Tensor) -> Tensor:
    """The choice for luma (1, 1, H, W) in [0, 1] that did not move."""
    search = BandSearch(ResidualBits())
    vectors = torch.zeros(1, 2, luma.shape[2] // BLOCK, luma.shape[3] // BLOCK)
    return search((luma - 0.5) / STEP, QuarterRows((before - 0.5) / STEP), vectors)


def waves() -> Tensor:
    """A smooth picture (1, 1, 32, 48) in [0, 1]."""
    rows, columns = torch.arange(32.0)[:, None], torch.arange(48.0)
    return (0.5 + 0.3 * torch.sin(rows / 6 + columns / 9))[None, None]


def checkers() -> Tensor:
    """Detail of the highest frequency, (1, 1, 32, 48), of mean 0."""
    return (0.25 * (torch.arange(32)[:, None] + torch.arange(48)).remainder(2) - 0.125)[None, None]


def test_search_keeps_all_where_the_prediction_is_right() -> None:
    picture = waves() + checkers()
    assert torch.equal(found_by_search(picture, picture), torch.zeros(1, 1, 2, 3))


def test_search_keeps_what_is_low_where_the_detail_is_wrong() -> None:
    assert torch.equal(
        found_by_search(waves(), waves() + checkers()), torch.full((1, 1, 2, 3), LOW)
    )


def test_search_keeps_means_where_everything_else_is_wrong() -> None:
    flat = F.interpolate(F.avg_pool2d(waves(), BLOCK), scale_factor=BLOCK)
    found = found_by_search(flat, 2.0 * waves() - flat)
    assert torch.equal(found, torch.full((1, 1, 2, 3), MEAN))
