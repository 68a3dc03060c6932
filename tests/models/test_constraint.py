"""The piecewise Gaussian constraint: values, gradients, and what it does to a distribution."""

from __future__ import annotations

import pytest
import torch

from nvc_models.families import FAMILIES
from nvc_models.levels import LEVELS
from nvc_models.training.constraint import boundary_energy, constraint_loss
from nvc_models.training.stage import Stage


def test_energy_is_the_distance_to_the_middle_of_the_level() -> None:
    index = torch.tensor([5.0, 5.1, 4.9, 5.29, 5.31, 5.5])
    expected = torch.tensor([0.5, 0.4, 0.4, 0.21, 0.0, 0.0]).square() / 2
    torch.testing.assert_close(boundary_energy(index), expected)
    torch.testing.assert_close(boundary_energy(index, deviation=2.0), expected / 4)


def test_boundaries_that_need_no_calibration_are_left_alone() -> None:
    last = LEVELS.count - 1
    index = torch.tensor([0.0, 0.2, 1.0, 9.05, 9.95, 10.1, last + 0.1, last + 0.5])
    assert (boundary_energy(index) > 0).tolist() == [0, 0, 1, 1, 1, 1, 1, 0]
    assert (boundary_energy(index, skip_level=9) > 0).tolist() == [0, 0, 0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(("start", "sign"), [(7.1, 1.0), (6.9, -1.0)])
def test_descent_leads_away_from_the_boundary(start: float, sign: float) -> None:
    index = torch.tensor([start], requires_grad=True)
    torch.autograd.backward(boundary_energy(index).sum())
    assert index.grad is not None
    assert -index.grad.item() * sign == pytest.approx(0.4)


def test_descent_empties_the_neighbourhood_of_boundaries() -> None:
    index = torch.nn.Parameter(torch.rand(4000) * 20)
    optimizer = torch.optim.SGD([index], lr=1.0)
    before = (index - index.round()).abs() < 0.01
    for _ in range(20):
        optimizer.zero_grad()
        loss = constraint_loss([index], 1.0)
        assert isinstance(loss, torch.Tensor)
        torch.autograd.backward(loss * index.numel())
        optimizer.step()
    after = ((index - index.round()).abs() < 0.01) & (index.round() > 0)
    assert before.sum() > 40
    assert after.sum() == 0


def test_loss_is_the_mean_over_all_elements() -> None:
    a, b = torch.full((1, 2, 3, 1), 4.0), torch.full((2, 1), 4.5)
    loss = constraint_loss([a, b], 3.0)
    assert float(loss) == pytest.approx(3.0 * 6 * 0.125 / 8)
    assert constraint_loss([a], 0.0) == 0.0
    assert constraint_loss([], 1.0) == 0.0


@pytest.mark.parametrize(("family", "preset"), [("swift", "swift-s"), ("tian2023", "lite")])
def test_tasks_add_the_constraint(family: str, preset: str) -> None:
    torch.manual_seed(2)
    model = FAMILIES[family].model(FAMILIES[family].presets[preset]).train()
    frames = torch.rand(1, 3, 3, 64, 64)
    losses = []
    for weight in (0.0, 1.0, 3.0):
        stage = Stage(
            "s", "calibrate", 1, 1, 3, 64, 1e-4, rounding="hard", constraint_weight=weight
        )
        torch.manual_seed(3)
        step = FAMILIES[family].tasks["calibrate"].step(model, frames, stage)
        losses.append(float(step.loss.detach()))
    assert losses[1] > losses[0]
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-3)
