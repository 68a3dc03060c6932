"""Planes of the swift family: chroma where video has it, and back."""

from __future__ import annotations

import numpy as np
import torch

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


def test_chroma_lies_where_the_runtime_reads_it() -> None:
    rows, columns = torch.arange(HEIGHT // 2)[:, None], torch.arange(WIDTH // 2)
    chroma = torch.stack((60 + 5 * rows + 2 * columns, 200 - 3 * rows - 4 * columns))[None]
    grey = torch.full((1, 1, HEIGHT, WIDTH), 0.1)
    frame = rgb_from_planes(grey, (chroma - 128) / 255)
    torch.testing.assert_close(luma(frame), grey + 0.5)
    for channel, plane, weight in ((2, 0, BLUE), (0, 1, RED)):
        padded = pad_chroma(chroma[0, plane].numpy().astype(np.uint8))
        upper = upsample_rows(padded, 0, HEIGHT, SITING_LEFT.centred_y)
        read = upsample_columns(upper, WIDTH, 8, SITING_LEFT.centred_x) / 128
        found = (frame[0, channel] - luma(frame)[0, 0]) / (2 * (1 - weight)) * 255
        inside = (slice(4, -4), slice(4, -4))
        np.testing.assert_allclose(found.numpy()[inside], read[inside], atol=0.2)


def test_chroma_is_interpolated_across_blocks_and_repeated_at_the_edges() -> None:
    c = torch.rand(1, 2, HEIGHT // 2, WIDTH // 2) - 0.5
    frame = rgb_from_planes(torch.zeros(1, 1, HEIGHT, WIDTH), c)
    rows, columns = torch.arange(HEIGHT), torch.arange(WIDTH)
    beyond = (rows // 2 + rows % 2 * 2 - 1).clamp(0, HEIGHT // 2 - 1)
    upright = 0.75 * c[:, :, rows // 2] + 0.25 * c[:, :, beyond]
    right = ((columns + 1) // 2).clamp(max=WIDTH // 2 - 1)
    full = (upright[..., columns // 2] + upright[..., right]) / 2
    for channel, plane, weight in ((2, 0, BLUE), (0, 1, RED)):
        torch.testing.assert_close(frame[:, channel] - 0.5, full[:, plane] * 2 * (1 - weight))
    torch.testing.assert_close(luma(frame), torch.full((1, 1, HEIGHT, WIDTH), 0.5))


def test_planes_survive_rgb() -> None:
    planes = torch.rand(1, 1, HEIGHT, WIDTH) - 0.5, torch.rand(1, 2, HEIGHT // 2, WIDTH // 2) - 0.5
    torch.testing.assert_close(planes_from_rgb(rgb_from_planes(*planes)), planes)


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
    blocks = blocks_from_planes(*planes)
    torch.testing.assert_close(planes_from_blocks(blocks), planes)
