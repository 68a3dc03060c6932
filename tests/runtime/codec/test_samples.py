"""From float samples to frames: rounded, clamped and cropped, without needless copies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nvc_runtime.codec.samples import (
    frame_from_output,
    frame_from_planes,
    input_from_frame,
    psnr_db,
)


@pytest.mark.parametrize("size", [(1, 1), (31, 7), (32, 9), (33, 16), (100, 65)], ids=str)
def test_a_reconstruction_is_rounded_clamped_and_cropped(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    output = generator.uniform(-0.3, 1.3, (1, 3, 128, 128)).astype(np.float32)
    frame = frame_from_output(output, *size)
    expected = np.clip(np.floor(output[0] * np.float32(255) + np.float32(0.5)), 0, 255)
    assert frame.dtype == np.uint8
    assert frame.transpose(2, 0, 1).flags.c_contiguous
    assert np.array_equal(frame, expected[:, : size[0], : size[1]].transpose(1, 2, 0))


def test_a_frame_survives_the_way_to_an_engine_and_back() -> None:
    frame = np.random.default_rng(2).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    assert np.array_equal(frame_from_output(input_from_frame(frame, (64, 128)), 50, 70), frame)


def test_planes_are_seen_as_a_frame() -> None:
    planes = np.random.default_rng(3).integers(0, 256, (3, 5, 9), dtype=np.uint8)
    frame = frame_from_planes(planes)
    assert np.array_equal(frame, planes.transpose(1, 2, 0))
    assert np.shares_memory(frame, planes)


@pytest.mark.parametrize("size", [(1, 1), (32, 7), (70, 4096)], ids=str)
def test_psnr_is_exact_in_every_layout(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(4)
    planes = generator.integers(0, 256, (2, 3, *size), dtype=np.uint8)
    one, other = (frame_from_planes(picture) for picture in planes)
    squares = int(np.square(one.astype(np.int64) - other).sum())
    expected = 10 * math.log10(255.0**2 * one.size / squares)
    assert psnr_db(one, other) == expected
    assert psnr_db(np.ascontiguousarray(one), other) == expected
    assert psnr_db(one, one.copy()) == math.inf


def test_psnr_of_the_greatest_difference() -> None:
    black, white = np.zeros((3, 4096, 3), np.uint8), np.full((3, 4096, 3), 255, np.uint8)
    assert psnr_db(black, white) == 0
