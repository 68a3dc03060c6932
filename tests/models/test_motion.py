"""Motion: warping, analytic flow, flow fields at other sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_codec import moving_picture

from nvc_models.tian2023.motion import FlowEstimator, LucasKanade, resize_flow, warp


def warp_by_definition(x: NDArray[np.float64], flow: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sample (C, H, W) bilinearly at (2, H, W) pixels off, coordinates clamped to the border."""
    _, height, width = x.shape
    rows, columns = np.indices((height, width))
    at_x = np.clip(columns + flow[0], 0, width - 1)
    at_y = np.clip(rows + flow[1], 0, height - 1)
    left, top = np.floor(at_x).astype(int), np.floor(at_y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = at_x - left, at_y - top
    upper = x[:, top, left] * (1 - fx) + x[:, top, right] * fx
    lower = x[:, bottom, left] * (1 - fx) + x[:, bottom, right] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def test_warp_is_bilinear_with_a_repeated_border() -> None:
    rng = np.random.default_rng(1)
    x, flow = rng.standard_normal((2, 3, 9, 13)), 4 * rng.standard_normal((2, 2, 9, 13))
    found = warp(torch.from_numpy(x).float(), torch.from_numpy(flow).float()).numpy()
    for i in range(2):
        np.testing.assert_allclose(found[i], warp_by_definition(x[i], flow[i]), atol=2e-5)


def test_warp_looks_to_the_right_and_down() -> None:
    x = torch.arange(20.0).reshape(1, 1, 4, 5)
    right = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 5)
    down = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 5)
    torch.testing.assert_close(warp(x, right)[..., :-1], x[..., 1:])
    torch.testing.assert_close(warp(x, down)[..., :-1, :], x[..., 1:, :])


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_vectors_grow_with_their_field(factor: int) -> None:
    flow = torch.full((1, 2, 3, 4), 1.5)
    enlarged = resize_flow(flow, factor)
    assert enlarged.shape == (1, 2, 3 * factor, 4 * factor)
    torch.testing.assert_close(enlarged, torch.full_like(enlarged, 1.5 * factor))


def strong_texture(height: int, width: int) -> torch.Tensor:
    """Return a picture (1, 3, H, W) whose gradients outweigh the regularization everywhere."""
    rows = torch.arange(height, dtype=torch.float32)[:, None]
    columns = torch.arange(width, dtype=torch.float32)[None]
    waves = torch.sin(0.6 * columns + 0.2 * rows) + torch.sin(0.25 * columns - 0.55 * rows)
    return (0.5 + 0.22 * waves).expand(1, 3, height, width)


@pytest.mark.parametrize("shift", [(0.4, 0.0), (0.0, -0.35), (-0.3, 0.25)])
def test_lucas_kanade_recovers_a_sub_pixel_shift(shift: tuple[float, float]) -> None:
    pictures = strong_texture(48, 64)
    true = torch.tensor(shift).reshape(1, 2, 1, 1).expand(1, 2, 48, 64)
    current = warp(pictures, true)
    found = LucasKanade()(current, pictures)[..., 6:-6, 6:-6]
    error = (found - true[..., 6:-6, 6:-6]).abs()
    assert float(error.mean()) < 0.06
    assert float(error.mean()) < 0.25 * max(map(abs, shift))


def test_lucas_kanade_leaves_flat_areas_alone() -> None:
    flat = torch.full((1, 3, 16, 16), 0.5)
    assert torch.equal(LucasKanade()(flat, flat), torch.zeros(1, 2, 16, 16))
    assert LucasKanade()(flat + 0.2, flat).abs().max() <= 1.0


@pytest.mark.parametrize("speed", [0.0, 1.5, 5.0])
@torch.no_grad()
def test_analytic_flow_follows_a_moving_picture(speed: float) -> None:
    before, after = moving_picture(2, 128, 192, speed)[:, None]
    flow = FlowEstimator(2, (4,), 3, 3)(after, before)
    assert flow.shape == (1, 2, 64, 96)
    middle = flow[..., 16:-16, 24:-24]
    assert abs(float(middle[:, 0].mean()) * 2 + speed) < 0.25 + 0.1 * speed
    assert abs(float(middle[:, 1].mean())) < 0.2


def test_untrained_flow_without_analytic_steps_is_zero() -> None:
    pair = torch.rand(2, 1, 3, 64, 64)
    assert torch.equal(FlowEstimator(2, (4,), 3, 0)(pair[0], pair[1]), torch.zeros(1, 2, 32, 32))
