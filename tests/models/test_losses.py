"""Qualities that training steps draw."""

from __future__ import annotations

import torch

from nvc_models.rate import MAX_QUALITY
from nvc_models.training.losses import better_quality


def test_better_qualities_lie_between_the_given_and_the_best() -> None:
    torch.manual_seed(4)
    quality = torch.linspace(0, MAX_QUALITY, 500)
    better = better_quality(quality, 28.0)
    assert (better >= quality).all()
    assert (better - quality).max() > 25.0
    assert better.max() == MAX_QUALITY
    assert (better <= quality + 28.0).all()


def test_without_an_offset_nothing_is_drawn() -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    quality = torch.tensor([1.0, 2.0])
    assert better_quality(quality, 0.0) is quality
    assert torch.equal(torch.rand(3), expected)
