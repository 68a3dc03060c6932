"""Motion of the swift family: compensation against plain indexing, search against known motion."""

from __future__ import annotations

import pytest
import torch
from tiny_codec import moving_picture
from torch import Tensor
from torch.nn import functional as F

from nvc_models.swift.motion import Positions, VectorTransform, cubic_taps, linear_taps, predict
from nvc_models.swift.motion_cost import SearchStep
from nvc_models.swift.motion_search import MotionSearch
from nvc_models.swift.planes import (
    CHANNELS,
    blocks_from_planes,
    planes_from_blocks,
    planes_from_rgb,
    rgb_from_planes,
)

MIDDLE = torch.tensor([32.0])


def texture(height: int, width: int) -> Tensor:
    """A smooth random picture (1, 1, H, W) in [0, 1]."""
    noise = torch.rand(1, 1, height // 8, width // 8, generator=torch.Generator().manual_seed(3))
    return F.interpolate(noise, size=(height, width), mode="bicubic").clamp(0, 1)


def constant(dx: float, dy: float, height: int, width: int) -> Tensor:
    """The same vector for every block, (1, 2, H/8, W/8)."""
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, height // 8, width // 8)


def moved(planes: Tensor, vectors: Tensor, how: str, side: int = 8) -> Tensor:
    """Planes (B, C, H, W) moved by vectors (B, 2, H/side, W/side), as planes again."""
    positions = Positions(planes.shape[-2:], vectors[:, :1], vectors[:, 1:], side)
    return F.pixel_shuffle(getattr(positions, how)(planes).flatten(1, 3), side)


@pytest.mark.parametrize("side", [8, 4])
@pytest.mark.parametrize("how", ["whole", "linear", "cubic"])
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (6, 0), (0, -5), (-3, 8), (500, -500)])
def test_whole_pixels_are_copied_and_the_border_repeats(
    side: int, how: str, dx: int, dy: int
) -> None:
    height, width = 8 * side, 16 * side
    planes = torch.rand(2, 2, height, width)
    vectors = constant(dx, dy, 64, 128).expand(2, -1, -1, -1)
    rows = (torch.arange(height) + dy).clamp(0, height - 1)
    columns = (torch.arange(width) + dx).clamp(0, width - 1)
    assert torch.equal(moved(planes, vectors, how, side), planes[:, :, rows][..., columns])


def test_every_block_follows_its_own_vector() -> None:
    plane = torch.rand(1, 1, 32, 32)
    vectors = torch.randint(-9, 10, (1, 2, 4, 4)).float()
    found = moved(plane, vectors, "whole")
    for i in range(4):
        for j in range(4):
            dx, dy = (int(v) for v in vectors[0, :, i, j])
            rows = (torch.arange(8) + 8 * i + dy).clamp(0, 31)
            columns = (torch.arange(8) + 8 * j + dx).clamp(0, 31)
            block = found[0, 0, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
            assert torch.equal(block, plane[0, 0, rows][:, columns])


def test_a_fraction_lies_between_its_neighbours() -> None:
    plane = texture(64, 64)
    found = moved(plane, constant(0.25, 0.5, 64, 64), "linear")
    between = 0.5 * (plane[:, :, :-1] + plane[:, :, 1:])
    between = 0.75 * between[..., :-1] + 0.25 * between[..., 1:]
    torch.testing.assert_close(found[..., :-1, :-1], between)


def test_cubic_interpolation_is_exact_for_parabolas() -> None:
    x = torch.arange(64.0)
    plane = (0.01 * x**2 - 0.3 * x).view(1, 1, 1, 64) + (0.02 * x**2).view(1, 1, 64, 1)
    found = moved(plane, constant(0.3, -0.6, 64, 64), "cubic")[..., 4:-4, 4:-4]
    there_x, there_y = x + 0.3, x - 0.6
    truth = (0.01 * there_x**2 - 0.3 * there_x).view(1, 64) + (0.02 * there_y**2).view(64, 1)
    torch.testing.assert_close(found[0, 0], truth[4:-4, 4:-4], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("taps", [linear_taps, cubic_taps])
def test_weights_sum_to_one_and_meet_where_the_whole_number_changes(taps) -> None:
    fraction = torch.linspace(0, 1, 33)
    weights = torch.stack(taps(fraction))
    torch.testing.assert_close(weights.sum(0), torch.ones(33))
    torch.testing.assert_close(weights[1:, -1], weights[:-1, 0])


def test_vectors_have_a_gradient() -> None:
    vectors = constant(0.4, 0.4, 64, 64).clone().requires_grad_()
    moved(texture(64, 64), vectors, "cubic").square().mean().backward()
    assert vectors.grad is not None
    assert vectors.grad.abs().min() > 0


def test_blocks_that_move_together_have_one_coefficient_each_way() -> None:
    transform = VectorTransform()
    vectors = torch.randint(-40, 41, (2, 2, 6, 8)) / 4.0
    torch.testing.assert_close(transform.inverse(transform(vectors)), vectors)
    together = F.interpolate(vectors, scale_factor=2.0)
    coefficients = transform(together)
    assert torch.equal(coefficients[:, :2], vectors)
    assert not coefficients[:, 2:].any()


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (3.0, -2.0), (0.5, 0.25), (-14.0, 9.0)])
def test_search_finds_a_pan(dx: float, dy: float) -> None:
    reference = texture(192, 192)
    frame = moved(reference, constant(dx, dy, 192, 192), "cubic")
    vectors = MotionSearch()(frame.expand(1, 3, -1, -1), reference - 0.5, SearchStep()(MIDDLE))
    middle = vectors[0, :, 4:-4, 4:-4].flatten(1).median(1).values
    assert torch.equal(middle, torch.tensor([dx, dy]))
    left = (moved(reference, vectors, "cubic") - frame)[..., 32:-32, 32:-32].abs().mean()
    assert left <= 0.1 * (reference - frame)[..., 32:-32, 32:-32].abs().mean()


def test_search_tells_two_movements_apart_within_a_latent_position() -> None:
    generator = torch.Generator().manual_seed(5)
    reference = F.interpolate(torch.rand(1, 1, 64, 64, generator=generator), scale_factor=2.0)
    vectors = constant(0, 0, 128, 128).clone()
    vectors[:, 0, :, 7:] = 6.0
    frame = moved(reference, vectors, "whole")
    found = MotionSearch()(frame.expand(1, 3, -1, -1), reference - 0.5, SearchStep()(MIDDLE))
    assert (found == vectors).all(1)[:, 2:-2, 2:-2].float().mean() > 0.95


def test_search_leaves_a_still_picture_alone() -> None:
    frame = moving_picture(1, 128, 128)
    assert not MotionSearch()(frame, planes_from_rgb(frame)[0], SearchStep()(MIDDLE)).any()


def test_of_vectors_that_cost_the_same_search_takes_none() -> None:
    frame, reference = torch.full((1, 3, 64, 128), 0.7), torch.full((1, 1, 64, 128), -0.2)
    assert not MotionSearch()(frame, reference, SearchStep()(MIDDLE)).any()


def test_vectors_are_quarter_pixels_and_smoother_where_bits_are_dear() -> None:
    reference = texture(128, 128)
    frame = moved(reference, constant(1.5, -0.75, 128, 128), "cubic")
    frame = (frame + 0.03 * torch.randn(frame.shape)).expand(1, 3, -1, -1)
    changes = []
    for quality in (0.0, 63.0):
        step = SearchStep()(torch.tensor([quality]))
        vectors = MotionSearch()(frame, reference - 0.5, step)
        assert torch.equal(4.0 * vectors, torch.round(4.0 * vectors))
        changes.append(float(vectors.diff(dim=2).abs().mean() + vectors.diff(dim=3).abs().mean()))
    assert changes[0] < 0.2 * changes[1]


def test_prediction_without_motion_is_the_frame_in_blocks() -> None:
    planes = planes_from_rgb(moving_picture(1, 64, 128))
    blocks = predict(*planes, torch.zeros(1, 2, 8, 16))
    assert blocks.shape == (1, CHANNELS, 8, 16)
    torch.testing.assert_close(planes_from_blocks(blocks), planes)


def test_prediction_moves_luma_and_chroma_alike() -> None:
    luma, chroma = planes_from_rgb(moving_picture(1, 64, 128))
    vectors = constant(3.0, -5.5, 64, 128)
    blocks = planes_from_blocks(predict(luma, chroma, vectors))
    expected = moved(luma, vectors, "cubic"), moved(chroma, vectors / 2, "linear", 4)
    torch.testing.assert_close(blocks, expected)


def test_planes_and_blocks_become_rgb() -> None:
    picture = F.interpolate(torch.rand(1, 3, 16, 32), scale_factor=4)
    planes = planes_from_rgb(picture)
    torch.testing.assert_close(rgb_from_planes(*planes), picture, atol=1e-5, rtol=0)
    torch.testing.assert_close(planes_from_blocks(blocks_from_planes(*planes)), planes)
