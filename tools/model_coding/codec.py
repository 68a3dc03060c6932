"""Rate and quality of a model on one clip, as an encoder would reach them but for headers.

Values are rounded, scale levels are those of a coder, and elements at or below the skip level
cost nothing. Bits are the model's own estimate: no container, no calibration, ideal coders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.latent import Quantized
from nvc_models.rate import lagrangian

ALIGNMENT = 64
"""Frames are padded at right and bottom to multiples of this, as the runtime does."""
LATENTS = ("latent", "motion", "context")
"""Where the families keep what a frame was coded into."""


@dataclass(frozen=True)
class CodedClip:
    """One clip as a single GOP at one quality. ``mse``: of 8-bit RGB samples over 255."""

    quality: int
    bits_per_pixel: float
    psnr_rgb_db: float
    mse: float

    @property
    def loss(self) -> float:
        """Lagrangian of training at this quality, over all frames alike."""
        weight = float(lagrangian(torch.tensor([float(self.quality)])))
        return weight * self.mse + self.bits_per_pixel


@torch.no_grad()
def code_clip(
    model: nn.Module,
    clip: Tensor,
    quality: int,
    *,
    skip_level: int,
    on_index: Callable[[int, Tensor], None] = lambda _frame, _index: None,
) -> CodedClip:
    """Code float32 (T, 3, H, W) in [0, 1] as one intra and T - 1 inter frames.

    ``on_index`` receives the frame's number and each of its scale index tensors, float32
    (1, C, h, w), [0, L - 1/2].
    """
    codec: Any = model.eval()
    height, width = clip.shape[-2:]
    padded = F.pad(clip, (0, -width % ALIGNMENT, 0, -height % ALIGNMENT), mode="replicate")
    index = torch.tensor([float(quality)])
    options = {"rounding": "hard", "skip_level": skip_level}
    bits, errors, reference = 0.0, [], None
    for number in range(len(clip)):
        frame = padded[number : number + 1]
        if reference is None:
            coded = codec.intra(frame, index, **options)
            reference = codec.inter.reference_from_intra(coded.frame)
        else:
            coded = codec.inter(frame, reference, index, **options)
            reference = coded.reference
        for latent in latents_of(coded):
            bits += float(latent.bits + latent.hyper_bits)
            on_index(number, latent.index)
        shown = torch.round(coded.frame * 255) / 255
        errors.append((shown - frame)[..., :height, :width].square().mean())
    mse = torch.stack(errors)
    return CodedClip(
        quality=quality,
        bits_per_pixel=bits / (len(clip) * height * width),
        psnr_rgb_db=float((-10 * torch.log10(mse.clamp_min(1e-10))).mean()),
        mse=float(mse.mean()),
    )


def latents_of(coded: Any) -> list[Quantized]:
    """Return what a frame of any family was coded into, in coding order of its parts."""
    found = [getattr(coded, name, None) for name in LATENTS]
    return [value for value in found if isinstance(value, Quantized)]
