"""Intra and inter model of the swift family. Frames are RGB in [0, 1], (B, 3, H, W).

Both are the same pair of transforms: pixels unshuffled to 1/8, blocks, a 2x2 stride to the latent
at 1/16, and back. The inter model joins what it knows of the frame before at 1/8, on both ways.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nvc_models.blocks import GatedBlock, conv1x1
from nvc_models.latent import (
    LatentConfig,
    LatentModel,
    QualityBias,
    QualityGain,
    Quantized,
    Rounding,
)
from nvc_models.latent_graphs import LATENT_STRIDE
from nvc_models.rate import LOG_STEP_HIGH, LOG_STEP_LOW
from nvc_models.swift.config import InterConfig, IntraConfig, SwiftConfig

STRIDE = 8
PIXELS = 3 * STRIDE * STRIDE
MAX_FEATURE = 16.0
"""Bound of what is carried from frame to frame, more than twice what real video reaches."""


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(GatedBlock(channels) for _ in range(count)))


class Analysis(nn.Module):
    """Frame, and a context if there is one, to a latent at 1/16."""

    def __init__(self, width: int, latent: int, blocks: int, deep: int, *, context: bool) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(STRIDE)
        self.stem = conv1x1(PIXELS, width)
        self.join = conv1x1(2 * width, width) if context else None
        self.blocks = _blocks(width, blocks)
        self.down = nn.Conv2d(width, latent, 2, stride=2)
        self.deep = _blocks(latent, deep)

    def forward(self, frame: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (B, 3, H, W) and (B, W, H/8, W/8) to (B, latent, H/16, W/16)."""
        x = self.stem(self.unshuffle(frame) - 0.5)
        if self.join is not None and context is not None:
            x = self.join(torch.cat((x, context), 1))
        y: Tensor = self.deep(self.down(self.blocks(x)))
        return y


class Synthesis(nn.Module):
    """Latent at 1/16, and a context if there is one, to a feature at 1/8 and the frame."""

    def __init__(self, width: int, latent: int, blocks: int, deep: int, *, context: bool) -> None:
        super().__init__()
        self.deep = _blocks(latent, deep)
        self.up = nn.Sequential(conv1x1(latent, 4 * width), nn.PixelShuffle(2))
        self.join = conv1x1(2 * width, width) if context else None
        self.blocks = _blocks(width, blocks)
        self.last = conv1x1(width, PIXELS)
        self.shuffle = nn.PixelShuffle(STRIDE)

    def forward(
        self, y: Tensor, bias: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map (B, latent, H/16, W/16), an offset (B, W, 1, 1) and a context (B, W, H/8, W/8).

        Returns the frame (B, 3, H, W), not clamped, and the feature (B, W, H/8, W/8).
        """
        x = self.up(self.deep(y)) + bias
        if self.join is not None and context is not None:
            x = self.join(torch.cat((x, context), 1))
        feature = self.blocks(x).clamp(-MAX_FEATURE, MAX_FEATURE)
        frame = self.shuffle(self.last(feature) + 0.5)
        return frame, feature


@dataclass
class Reference:
    """What is carried: feature (B, W, H/8, W/8), latent (B, C, H/16, W/16; zeros after intra)."""

    feature: Tensor
    y_hat: Tensor


@dataclass
class Result:
    """Reconstruction (B, 3, H, W), what to carry, and the bits of the latent."""

    frame: Tensor
    reference: Reference | None
    latent: Quantized


class IntraModel(nn.Module):
    """Codes one frame on its own."""

    def __init__(self, config: IntraConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.width, config.latent)
        self.analysis = Analysis(*sizes, config.encoder_blocks, config.deep_blocks, context=False)
        self.synthesis = Synthesis(*sizes, config.decoder_blocks, config.deep_blocks, context=False)
        self.latent = LatentModel(
            LatentConfig(config.latent, config.hyper, 0, config.entropy_width, "separable")
        )
        self.encode_gain = QualityGain(config.latent, -LOG_STEP_LOW, -LOG_STEP_HIGH)
        self.decode_gain = QualityGain(config.latent, LOG_STEP_LOW, LOG_STEP_HIGH)
        self.decode_bias = QualityBias(config.width)

    def forward(
        self, frame: Tensor, quality: Tensor, *, rounding: Rounding, skip_level: int = -1
    ) -> Result:
        """Code a frame at a quality (B,), [0, 63]."""
        y = self.analysis(frame) * self.encode_gain(quality)
        coded = self.latent(y.float(), rounding=rounding, skip_level=skip_level)
        decoded, _ = self.synthesis(
            coded.y_hat * self.decode_gain(quality), self.decode_bias(quality)
        )
        decoded = decoded.float()
        return Result(decoded if self.training else decoded.clamp(0.0, 1.0), None, coded)


class InterModel(nn.Module):
    """Codes a frame given the feature and the latent of the frame before."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.width, config.latent)
        self.adapt = nn.Sequential(nn.PixelUnshuffle(STRIDE), conv1x1(PIXELS, config.width))
        self.context = _blocks(config.width, config.context_blocks)
        self.temporal_prior = nn.Sequential(
            nn.Conv2d(config.width, config.width, 2, stride=2), nn.LeakyReLU(0.1)
        )
        self.analysis = Analysis(*sizes, config.encoder_blocks, config.deep_blocks, context=True)
        self.synthesis = Synthesis(*sizes, config.decoder_blocks, config.deep_blocks, context=True)
        self.latent = LatentModel(
            LatentConfig(
                config.latent,
                config.hyper,
                config.width + config.latent,
                config.entropy_width,
                "separable",
            )
        )
        self.encode_gain = QualityGain(config.latent, -LOG_STEP_LOW, -LOG_STEP_HIGH)
        self.decode_gain = QualityGain(config.latent, LOG_STEP_LOW, LOG_STEP_HIGH)
        self.decode_bias = QualityBias(config.width)

    def reference_from_intra(self, frame: Tensor) -> Reference:
        """Return what an inter frame finds after an intra or sync frame (B, 3, H, W)."""
        b, _, h, w = frame.shape
        zeros = frame.new_zeros(b, self.config.latent, h // LATENT_STRIDE, w // LATENT_STRIDE)
        return Reference(self.adapt(frame - 0.5), zeros)

    def forward(
        self,
        frame: Tensor,
        reference: Reference,
        quality: Tensor,
        *,
        rounding: Rounding,
        skip_level: int = -1,
    ) -> Result:
        """Code a frame (B, 3, H, W) at a quality (B,), [0, 63]."""
        context = self.context(reference.feature)
        y = self.analysis(frame, context) * self.encode_gain(quality)
        coded = self.latent(
            y.float(),
            self.temporal_prior(context),
            reference.y_hat,
            rounding=rounding,
            skip_level=skip_level,
        )
        decoded, feature = self.synthesis(
            coded.y_hat * self.decode_gain(quality), self.decode_bias(quality), context
        )
        decoded = decoded.float()
        return Result(
            decoded if self.training else decoded.clamp(0.0, 1.0),
            Reference(feature, coded.y_hat),
            coded,
        )


class Swift(nn.Module):
    """Intra and inter model of one configuration."""

    def __init__(self, config: SwiftConfig) -> None:
        super().__init__()
        self.config = config
        self.intra = IntraModel(config.intra)
        self.inter = InterModel(config.inter)
