"""Rate and quality of a model: padding, 8-bit samples, means, BD-rate."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")
pytest.importorskip("bjontegaard", reason="the tool's curves need nvc[bench]")
pytest.importorskip("matplotlib", reason="the tool's plots need nvc[bench]")

import torch
from model_coding import CodedClip, bd_rate, code_clip, mean_points

from nvc_models.families import FAMILIES
from nvc_models.rate import LAMBDA_LOW


@pytest.mark.parametrize(
    ("family", "preset", "tensors"), [("swift", "swift-s", 3), ("tian2023", "lite", 3)]
)
def test_code_clip(family: str, preset: str, tensors: int) -> None:
    torch.manual_seed(1)
    model = FAMILIES[family].model(FAMILIES[family].presets[preset])
    clip = torch.round(torch.rand(2, 3, 70, 60) * 255) / 255
    seen: list[int] = []
    coded = code_clip(
        model, clip, 20, skip_level=-1, on_index=lambda number, _: seen.append(number)
    )
    assert seen == [0] + [1] * (tensors - 1)
    assert coded.bits_per_pixel > 0
    assert 0 < coded.psnr_rgb_db < 40
    skipped = code_clip(model, clip, 20, skip_level=60)
    assert skipped.bits_per_pixel < coded.bits_per_pixel
    assert skipped.mse > 0


def test_mean_points_and_loss() -> None:
    a, b = CodedClip(0, 0.1, 30.0, 0.001), CodedClip(0, 0.3, 40.0, 0.003)
    (mean,) = mean_points([[a], [b]])
    assert (mean.bits_per_pixel, mean.psnr_rgb_db) == pytest.approx((0.2, 35.0))
    assert mean.loss == pytest.approx(LAMBDA_LOW * 0.002 + 0.2)
    with pytest.raises(ValueError, match="different qualities"):
        mean_points([[a], [CodedClip(1, 0.3, 40.0, 0.003)]])


def test_bd_rate_of_scaled_rates() -> None:
    pairs = ((0, 0.1, 30.0), (20, 0.2, 33.0), (40, 0.4, 36.0), (63, 0.8, 38.5))
    anchor = [CodedClip(q, r, p, 10 ** (-p / 10)) for q, r, p in pairs]
    test = [CodedClip(q, 1.5 * r, p, 10 ** (-p / 10)) for q, r, p in pairs]
    found = bd_rate(anchor, test)
    assert found is not None
    assert math.isclose(found, 50, abs_tol=1e-6)
