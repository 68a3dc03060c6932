"""Planes of the swift family: chroma as video readers interpolate it, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nvc_models.swift.planes import (
    BLUE,
    RED,
    blocks_from_planes,
    luma,
    planes_from_blocks,
    planes_from_rgb,
    rgb_from_planes,
)
from nvc_runtime.video.chroma import SITING_LEFT, pad_chroma, upsample_columns, upsample_rows

HEIGHT, WIDTH = 32, 48


@pytest.fixture
def chroma() -> Tensor:
    """Code values of two chroma planes around 128, as rough as they come."""
    generator = torch.Generator().manual_seed(4)
    return torch.randint(40, 216, (1, 2, HEIGHT // 2, WIDTH // 2), generator=generator)


def test_chroma_is_interpolated_as_the_runtime_reads_it(chroma: Tensor) -> None:
    grey = torch.full((1, 1, HEIGHT, WIDTH), 0.1)
    frame = rgb_from_planes(grey, (chroma - 128) / 255)
    torch.testing.assert_close(luma(frame), grey + 0.5)
    for channel, plane, weight in ((2, 0, BLUE), (0, 1, RED)):
        padded = pad_chroma(chroma[0, plane].numpy().astype(np.uint8))
        rows = upsample_rows(padded, 0, HEIGHT, SITING_LEFT.centred_y)
        read = upsample_columns(rows, WIDTH, 8, SITING_LEFT.centred_x) / 128
        found = (frame[0, channel] - luma(frame)[0, 0]) / (2 * (1 - weight)) * 255
        np.testing.assert_allclose(found.numpy(), read, atol=0.2)


def test_interpolated_chroma_is_given_back(chroma: Tensor) -> None:
    planes = torch.rand(1, 1, HEIGHT, WIDTH) - 0.5, (chroma - 128) / 255
    found = planes_from_rgb(rgb_from_planes(*planes))
    torch.testing.assert_close(found[0], planes[0])
    inside = (..., slice(3, -3), slice(5, -5))
    torch.testing.assert_close(found[1][inside], planes[1][inside], atol=2e-3, rtol=0)
    torch.testing.assert_close(found[1], planes[1], atol=0.15, rtol=0)


def test_flat_colours_stay() -> None:
    frame = torch.tensor([0.9, 0.2, 0.4]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    torch.testing.assert_close(rgb_from_planes(*planes_from_rgb(frame)), frame)


def test_chroma_finer_than_its_plane_is_filtered_not_folded() -> None:
    stripes = torch.tensor([0.2, 0.8]).repeat(8).expand(1, 1, 16, 16)
    frame = torch.cat((stripes, torch.zeros_like(stripes), stripes), 1)
    c = planes_from_rgb(frame)[1]
    mean = planes_from_rgb(frame.mean(3, keepdim=True).expand_as(frame))[1]
    inside = (..., slice(2, -2), slice(2, -2))
    assert (c - mean)[inside].abs().max() < 0.25 * (0.8 - 0.2) / 2


def test_planes_become_blocks_and_back() -> None:
    planes = planes_from_rgb(torch.rand(1, 3, 16, 32))
    torch.testing.assert_close(planes_from_blocks(blocks_from_planes(*planes)), planes)
