"""Tian-2023 codecs of a few channels, in both styles, for tests of models and export.

`conv` has the paper's structure (features at full size, warped pyramid, U-Nets), `separable` that
of the preset for machines without a GPU (features at 1/4, warped frame, analytic flow).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from nvc_models.blocks import FixedConv
from nvc_models.latent import LatentQuantizer, QualityBias
from nvc_models.swift import InterConfig as SwiftInterConfig
from nvc_models.swift import IntraConfig as SwiftIntraConfig
from nvc_models.swift import Swift, SwiftConfig
from nvc_models.swift.vector_latent import WholeNumbers
from nvc_models.symbol_shape import SymbolShape
from nvc_models.tian2023 import InterConfig, IntraConfig, Tian2023, Tian2023Config

TINY_SEPARABLE = Tian2023Config(
    name="tiny-separable",
    intra=IntraConfig(
        style="separable",
        stem_stride=4,
        widths=(48, 24),
        latent=24,
        hyper=4,
        entropy_width=12,
        blocks=1,
        refine_width=0,
    ),
    inter=InterConfig(
        style="separable",
        stem_stride=4,
        widths=(12, 16, 20),
        encoder_width=48,
        latent=20,
        hyper=4,
        entropy_width=12,
        motion_stride=4,
        motion_width=8,
        motion_latent=8,
        motion_hyper=4,
        motion_entropy_width=8,
        flow_stride=4,
        flow_widths=(6,),
        flow_kernel=3,
        flow_analytic_steps=1,
        warp_frame=True,
        warp_pyramid=False,
        blocks=1,
        refine_width=0,
    ),
)

TINY_CONV = Tian2023Config(
    name="tiny-conv",
    intra=IntraConfig(
        style="conv",
        stem_stride=1,
        widths=(4, 4, 6, 6),
        latent=8,
        hyper=4,
        entropy_width=8,
        blocks=1,
        refine_width=2,
    ),
    inter=InterConfig(
        style="conv",
        stem_stride=1,
        widths=(4, 4, 6),
        encoder_width=4,
        latent=8,
        hyper=4,
        entropy_width=8,
        motion_stride=1,
        motion_width=4,
        motion_latent=4,
        motion_hyper=2,
        motion_entropy_width=6,
        flow_stride=2,
        flow_widths=(4,),
        flow_kernel=3,
        flow_analytic_steps=0,
        warp_frame=False,
        warp_pyramid=True,
        blocks=1,
        refine_width=2,
    ),
)

TINY_SWIFT = SwiftConfig(
    name="tiny-swift",
    intra=SwiftIntraConfig(
        width=12,
        latent=8,
        hyper=4,
        entropy_width=8,
        encoder_width=14,
        encoder_blocks=1,
        decoder_blocks=1,
    ),
    inter=SwiftInterConfig(
        groups=(1, 3), hyper=4, entropy_width=32, motion_hyper=4, motion_width=32
    ),
)

TINY_SWIFT_M = replace(
    TINY_SWIFT,
    name="tiny-swift-m",
    inter=replace(
        TINY_SWIFT.inter,
        groups=(1, 2, 3),
        overlap=True,
        shifts=((0, 4), (4, 0), (6, 2)),
    ),
)
"""What no preset needs to have all at once; not exported."""

TINY = {config.name: config for config in (TINY_SEPARABLE, TINY_CONV)}
"""Tiny codecs of the Tian-2023 family."""

TINY_OF_EVERY_FAMILY: dict[str, Any] = {**TINY, TINY_SWIFT.name: TINY_SWIFT}


def random_codec(config: Any, seed: int = 0) -> Any:
    """Return a codec in evaluation mode without a silent layer: zeros would hide mistakes."""
    torch.manual_seed(seed)
    codec = Swift(config) if isinstance(config, SwiftConfig) else Tian2023(config)
    with torch.no_grad():
        for module in codec.modules():
            if isinstance(module, WholeNumbers):
                module.weight += torch.empty_like(module.weight).uniform_(-0.03, 0.03)
            elif isinstance(module, nn.Conv2d) and not isinstance(module, FixedConv):
                if not module.weight.any():
                    nn.init.kaiming_uniform_(module.weight, a=2.0)
                if module.bias is not None and not module.bias.any():
                    nn.init.uniform_(module.bias, -0.1, 0.1)
            elif isinstance(module, LatentQuantizer):
                last = module.hyper_encoder[-1]
                # Small hyperlatents would round to zero.
                last.bias.copy_(torch.linspace(-4.0, 4.0, len(last.bias)))
            elif isinstance(module, QualityBias):
                nn.init.uniform_(module.bias, -0.1, 0.1)
            elif isinstance(module, SymbolShape):
                nn.init.uniform_(module.log_factor, -0.3, 0.3)
    return codec.eval()


def moving_picture(frames: int, height: int, width: int, speed: float = 1.5) -> torch.Tensor:
    """Return a smooth texture that moves right by `speed` pixels a frame, (T, 3, H, W)."""
    rows = torch.arange(height, dtype=torch.float32)[:, None]
    columns = torch.arange(width, dtype=torch.float32)[None]
    pictures = []
    for t in range(frames):
        x = columns - speed * t
        waves = [
            torch.sin(0.31 * x + 0.17 * rows + phase) + torch.sin(0.13 * x - 0.23 * rows - phase)
            for phase in (0.0, 0.9, 2.1)
        ]
        pictures.append(0.5 + 0.2 * torch.stack(waves))
    return torch.stack(pictures)
