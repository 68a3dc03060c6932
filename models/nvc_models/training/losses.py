"""Rate, distortion and quality indices, as the training steps of every family use them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nvc_models.latent import Quantized
from nvc_models.rate import MAX_QUALITY


@dataclass
class StepResult:
    """Loss to differentiate, and figures (floats) for the log."""

    loss: Tensor
    figures: dict[str, float]


def as_float(x: Tensor) -> float:
    """Return the mean of a tensor as a plain number."""
    return float(x.detach().mean())


def bits_per_pixel(coded: Quantized, frame: Tensor) -> Tensor:
    """Return the bits of a latent by the pixels of its frames (B, 3, H, W), as (B,)."""
    pixels = frame.shape[-1] * frame.shape[-2]
    return (coded.bits + coded.hyper_bits) / pixels


def mean_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared error of each pair of frames (B, 3, H, W), as (B,)."""
    return (a - b).square().mean((1, 2, 3))


def psnr_db(mse: Tensor) -> float:
    """Return the mean PSNR of mean squared errors (B,) of samples in [0, 1]."""
    return float(-10 * torch.log10(mse.detach().clamp_min(1e-9)).mean())


def random_quality(batch: int, device: torch.device) -> Tensor:
    """Quality per sample, uniform over [0, 63]; drawn on the CPU, alike for every device."""
    return (torch.rand(batch) * MAX_QUALITY).to(device)


def better_quality(quality: Tensor, offset: float) -> Tensor:
    """Qualities (B,) up to ``offset`` above these, as far as there are; uniform."""
    if not offset:
        return quality
    better = offset * torch.rand(quality.shape[0]).to(quality.device)
    return (quality + better).clamp(max=MAX_QUALITY)
