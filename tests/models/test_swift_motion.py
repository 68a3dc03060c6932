"""Motion of the swift family: compensation against plain indexing, search against known motion."""

from __future__ import annotations

import pytest
import torch
from tiny_codec import moving_picture
from torch import Tensor
from torch.nn import functional as F

from nvc_models.swift.motion import (
    PREDICTED,
    MotionSearch,
    compensate,
    planes_from_blocks,
    planes_from_rgb,
    predict,
    rgb_matrix,
)


def texture(height: int, width: int) -> Tensor:
    """A smooth random picture (1, 1, H, W) in [0, 1]."""
    noise = torch.rand(1, 1, height // 8, width // 8, generator=torch.Generator().manual_seed(3))
    return F.interpolate(noise, size=(height, width), mode="bicubic").clamp(0, 1)


def constant(dx: float, dy: float, height: int, width: int) -> Tensor:
    """The same vector for every block, (1, 2, H/16, W/16)."""
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, height // 16, width // 16)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (6, 0), (0, -4), (-2, 8), (500, -500)])
def test_whole_pixels_are_copied_and_the_border_repeats(scale: int, dx: int, dy: int) -> None:
    height, width = 64 // scale, 128 // scale
    planes = torch.rand(2, 2, height, width)
    moved = compensate(planes, constant(dx, dy, 64, 128).expand(2, -1, -1, -1), scale)
    rows = (torch.arange(height) + dy // scale).clamp(0, height - 1)
    columns = (torch.arange(width) + dx // scale).clamp(0, width - 1)
    assert torch.equal(moved, planes[:, :, rows][..., columns])


def test_a_fraction_lies_between_its_neighbours() -> None:
    plane = texture(64, 64)
    moved = compensate(plane, constant(0.25, 0.5, 64, 64), 1)
    between = 0.5 * (plane[:, :, :-1] + plane[:, :, 1:])
    between = 0.75 * between[..., :-1] + 0.25 * between[..., 1:]
    torch.testing.assert_close(moved[..., :-1, :-1], between)


def test_vectors_have_a_gradient() -> None:
    vectors = constant(0.4, 0.4, 64, 64).clone().requires_grad_()
    compensate(texture(64, 64), vectors, 1).square().mean().backward()
    assert vectors.grad is not None
    assert vectors.grad.abs().min() > 0


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (3.0, -2.0), (0.5, 0.25), (-14.0, 9.0)])
def test_search_finds_a_pan(dx: float, dy: float) -> None:
    reference = texture(192, 192)
    frame = compensate(reference, constant(dx, dy, 192, 192), 1)
    vectors = MotionSearch()(frame.expand(1, 3, -1, -1), reference - 0.5)
    middle = vectors[:, :, 2:-2, 2:-2].flatten(2).median(2).values
    assert (middle - torch.tensor([dx, dy])).abs().max() < 0.3
    left = (compensate(reference, vectors, 1) - frame)[..., 32:-32, 32:-32].abs().mean()
    assert left <= 0.15 * (reference - frame)[..., 32:-32, 32:-32].abs().mean()


def test_search_leaves_a_still_picture_alone() -> None:
    frame = moving_picture(1, 128, 128)
    assert not MotionSearch()(frame, planes_from_rgb(frame)[0]).any()


def test_prediction_without_motion_is_the_frame_in_blocks() -> None:
    luma, chroma = planes_from_rgb(moving_picture(1, 64, 128))
    blocks = predict(luma, chroma, torch.zeros(1, 2, 4, 8))
    assert blocks.shape == (1, PREDICTED, 8, 16)
    torch.testing.assert_close(planes_from_blocks(blocks), (luma, chroma))


def test_prediction_moves_luma_and_chroma_alike() -> None:
    luma, chroma = planes_from_rgb(moving_picture(1, 64, 128))
    vectors = constant(3.0, -5.5, 64, 128)
    moved = planes_from_blocks(predict(luma, chroma, vectors))
    torch.testing.assert_close(
        moved, (compensate(luma, vectors, 1), compensate(chroma, vectors, 2))
    )


def test_blocks_of_luma_and_chroma_become_rgb() -> None:
    picture = F.interpolate(torch.rand(1, 3, 16, 32), scale_factor=4)
    luma, chroma = planes_from_rgb(picture)
    blocks = torch.cat((F.pixel_unshuffle(luma, 8), F.pixel_unshuffle(chroma, 4)), 1)
    rgb = F.pixel_shuffle(F.conv2d(blocks, rgb_matrix()[:, :, None, None]) + 0.5, 8)
    torch.testing.assert_close(rgb, picture, atol=1e-5, rtol=0)
