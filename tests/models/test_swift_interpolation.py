"""Fetching blocks of the swift family: against plain indexing and convolution, and its filters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from moved_planes import constant, moved, moved_chroma, texture
from torch import Tensor
from torch.nn import functional as F

from nvc_models.swift.interpolation import BEFORE, FILTERS, PHASES, TAPS, Positions, QuarterRows

FREQUENCIES = torch.linspace(0, 1, 129, dtype=torch.float64)
"""As shares of the highest."""
MOVED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"luma": moved, "chroma": moved_chroma}


def gains(weights: Tensor) -> Tensor:
    """How much a row of weights (N, 8) changes each frequency, (129, N)."""
    places = torch.arange(weights.shape[1], dtype=torch.float64)
    waves = torch.exp(1j * torch.pi * FREQUENCIES[:, None] * places)
    return (waves @ weights.T.to(waves.dtype)).abs()


def test_filters_amplify_no_frequency() -> None:
    """What amplifies lets drift grow from frame to frame."""
    assert gains(FILTERS.double()).max() <= 1.0 + 1e-12


def test_filters_keep_more_of_high_frequencies_than_cubic_convolution() -> None:
    cubic = torch.tensor([[-1, 9, 9, -1]], dtype=torch.float64) / 16
    kept, cubic_kept = gains(FILTERS.double()), gains(cubic)[:, 0]
    for share, least in ((0.5, 0.995), (0.625, 0.96)):
        number = round(share * 128)
        assert kept[number].min() > least
        assert kept[number].min() > cubic_kept[number]


def test_filters_sum_to_one_exactly_and_are_mirrored() -> None:
    assert FILTERS.shape == (PHASES, TAPS)
    assert torch.equal(FILTERS.sum(1), torch.ones(PHASES))
    assert torch.equal(FILTERS[1:].flip(0, 1), FILTERS[1:])
    assert torch.equal(FILTERS[0], torch.eye(TAPS)[BEFORE])


@pytest.mark.parametrize("plane", MOVED)
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (6, 0), (0, -5), (-3, 8), (500, -500), (-9, 70)])
def test_whole_pixels_are_copied_and_the_border_repeats(plane: str, dx: int, dy: int) -> None:
    planes = torch.rand(2, 1, 64, 128)
    vectors = constant(dx, dy, 64, 128).expand(2, -1, -1, -1)
    rows = (torch.arange(64) + dy).clamp(0, 63)
    columns = (torch.arange(128) + dx).clamp(0, 127)
    assert torch.equal(MOVED[plane](planes, vectors), planes[:, :, rows][..., columns])


def test_every_block_follows_its_own_vector() -> None:
    plane = torch.rand(1, 1, 32, 32)
    vectors = torch.randint(-9, 10, (1, 2, 4, 4)).float()
    found = moved(plane, vectors)
    positions = Positions((32, 32), vectors[:, :1], vectors[:, 1:], 8)
    assert torch.equal(F.pixel_shuffle(positions.whole(plane).flatten(1, 3), 8), found)
    for i in range(4):
        for j in range(4):
            dx, dy = (int(v) for v in vectors[0, :, i, j])
            rows = (torch.arange(8) + 8 * i + dy).clamp(0, 31)
            columns = (torch.arange(8) + 8 * j + dx).clamp(0, 31)
            block = found[0, 0, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
            assert torch.equal(block, plane[0, 0, rows][:, columns])


@pytest.mark.parametrize("across", range(PHASES))
@pytest.mark.parametrize("down", range(PHASES))
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (-11, 4), (3, -9), (-200, 300)])
def test_quarter_pixels_are_a_convolution(across: int, down: int, dx: int, dy: int) -> None:
    plane = torch.rand(2, 1, 32, 48)
    vectors = constant(dx + across / 4, dy + down / 4, 32, 48).expand(2, -1, -1, -1)
    rows = torch.arange(-BEFORE, 32 + TAPS - 1 - BEFORE) + dy
    columns = torch.arange(-BEFORE, 48 + TAPS - 1 - BEFORE) + dx
    around = plane[:, :, rows.clamp(0, 31)][..., columns.clamp(0, 47)]
    expected = F.conv2d(around, torch.outer(FILTERS[down], FILTERS[across])[None, None])
    torch.testing.assert_close(moved(plane, vectors), expected)


def test_of_vectors_between_quarters_the_nearest_is_taken() -> None:
    plane, vectors = texture(64, 64), torch.randint(-40, 41, (1, 2, 8, 8)) / 4
    aside = vectors + 0.1 * (torch.rand(vectors.shape) - 0.5)
    assert torch.equal(moved(plane, aside), moved(plane, vectors))


def test_some_rows_and_columns_of_blocks_are_those_of_all() -> None:
    plane, vectors = torch.rand(1, 1, 32, 48), torch.randint(-40, 41, (1, 2, 4, 6)) / 4
    rows = QuarterRows(plane)
    some = rows.blocks(vectors, rows=(4, 8), columns=(2, 6))
    torch.testing.assert_close(some, rows.blocks(vectors)[:, :, 4:8, 2:6])


def test_straight_lines_are_moved_within_a_fortieth_of_a_pixel() -> None:
    x = torch.arange(64.0)
    plane = (0.3 * x).view(1, 1, 1, 64) + (-0.5 * x).view(1, 1, 64, 1)
    middle = moved(plane, constant(0.5, -0.5, 64, 64))[..., 8:-8, 8:-8]
    torch.testing.assert_close(middle, plane[..., 8:-8, 8:-8] + 0.4, rtol=0, atol=1e-4)
    for quarter in (0.25, -1.75, 2.75):
        across = moved(plane, constant(quarter, 0.0, 64, 64)) - plane
        down = moved(plane, constant(0.0, quarter, 64, 64)) - plane
        assert (across[..., 8:-8, 8:-8] / 0.3 - quarter).abs().max() < 0.025
        assert (down[..., 8:-8, 8:-8] / -0.5 - quarter).abs().max() < 0.025


def test_chroma_is_interpolated_linearly() -> None:
    plane = texture(64, 64)
    found = moved_chroma(plane, constant(0.125, 0.5, 64, 64))
    between = 0.5 * (plane[:, :, :-1] + plane[:, :, 1:])
    between = 0.875 * between[..., :-1] + 0.125 * between[..., 1:]
    torch.testing.assert_close(found[..., :-1, :-1], between)


@pytest.mark.parametrize("plane", MOVED)
def test_a_picture_has_a_gradient(plane: str) -> None:
    picture = texture(64, 64).requires_grad_()
    MOVED[plane](picture, constant(0.25, 0.5, 64, 64)).square().mean().backward()
    assert picture.grad is not None
    assert (picture.grad[..., 8:-8, 8:-8] != 0).all()
