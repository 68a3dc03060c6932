"""Intra and inter model of the swift family. Frames are RGB in [0, 1], (B, 3, H, W).

Both are the same pair of transforms: blocks of 8x8 pixels, a position at 1/8 each, a 2x2 stride to
the latent at 1/16, and back. Fine texture is many numbers and little structure: where the blocks of
a network are narrower than the 96 samples of a position, further channels pass them by, so that
every sample can be reached. The inter model moves the decoded frame before by vectors that it
sends, joins what it makes of this prediction at 1/8 on both ways, and codes what it does not tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nvc_models.blocks import GatedBlock, Joined, conv1x1
from nvc_models.latent import QualityBias, QualityGain, Quantized, Rounding, bound
from nvc_models.latent_graphs import LATENT_STRIDE
from nvc_models.lean_latent import LeanLatentConfig, LeanLatentModel
from nvc_models.rate import LOG_STEP_HIGH, LOG_STEP_LOW
from nvc_models.swift.config import InterConfig, IntraConfig, SwiftConfig
from nvc_models.swift.motion import VECTORS, VectorTransform, predict
from nvc_models.swift.motion_search import BitCost, MotionSearch
from nvc_models.swift.planes import (
    CHANNELS,
    blocks_from_planes,
    planes_from_blocks,
    planes_from_rgb,
    rgb_from_planes,
)
from nvc_models.widths import resize_layers

STRIDE = 8
LOG_VECTOR = math.log(4.0)
"""Vectors start in quarter pixels, as the search finds them."""
INTRA_THRESHOLD, INTER_THRESHOLD = 0.6, 0.75
"""How far from its mean an element must be to become a symbol other than 0."""


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(GatedBlock(channels) for _ in range(count)))


def fine_channels(width: int) -> list[int]:
    """Channels at 1/8 that pass blocks of this width by: one number, or none."""
    return [CHANNELS - width] if width < CHANNELS else []


def part_sizes(width: int) -> list[int]:
    """Channels at 1/8 in parts: those that blocks of this width see, then the fine ones if any."""
    return [width, CHANNELS - width] if width < CHANNELS else [width]


class IntraAnalysis(nn.Module):
    """Frame to a latent at 1/16."""

    def __init__(self, config: IntraConfig) -> None:
        super().__init__()
        width, (_, *fine) = config.encoder_width, part_sizes(config.width)
        self.stem = conv1x1(CHANNELS, width)
        self.blocks = _blocks(width, config.encoder_blocks)
        self.fine = nn.ModuleList(conv1x1(CHANNELS, n) for n in fine)
        self.down = Joined((width, *fine), config.latent, stride=2)

    def forward(self, frame: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, latent, H/16, W/16)."""
        blocks = blocks_from_planes(*planes_from_rgb(frame))
        fine = [layer(blocks) for layer in self.fine]
        y: Tensor = self.down(self.blocks(self.stem(blocks)), *fine)
        return y


class IntraSynthesis(nn.Module):
    """Latent at 1/16 to blocks of luma and chroma."""

    def __init__(self, config: IntraConfig) -> None:
        super().__init__()
        parts = part_sizes(config.width)
        self.up = nn.ModuleList(_up(config.latent, n) for n in parts)
        self.blocks = _blocks(config.width, config.decoder_blocks)
        self.last = Joined(parts, CHANNELS)

    def forward(self, y: Tensor, bias: Tensor) -> Tensor:
        """Map (B, latent, H/16, W/16) and an offset (B, W, 1, 1) to (B, 96, H/8, W/8)."""
        x, *fine = (up(y) for up in self.up)
        blocks: Tensor = self.last(self.blocks(x + bias), *fine)
        return blocks


def _up(latent: int, channels: int) -> nn.Sequential:
    return nn.Sequential(conv1x1(latent, 4 * channels), nn.PixelShuffle(2))


class Prediction(nn.Module):
    """What moved blocks tell about those of the frame, as coefficients of a learned transform.

    How much of each coefficient stays is decided block by block: where motion fails, fine texture
    can go and the rest stay.
    """

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        width, parts = config.width, part_sizes(config.width)
        self.transform = nn.ModuleList(conv1x1(CHANNELS, n) for n in parts)
        self.context = _blocks(width, config.context_blocks)
        self.keep = nn.ModuleList(conv1x1(width, n) for n in parts)
        self.change = nn.ModuleList(conv1x1(width, n) for n in parts)

    def forward(self, blocks: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map (B, 96, H/8, W/8) to the context (B, W, H/8, W/8) and the coefficients, in parts."""
        moved = [layer(blocks) for layer in self.transform]
        context = self.context(moved[0])
        return context, [
            x * bound(keep(context), 0.0, 1.0) + change(context)
            for x, keep, change in zip(moved, self.keep, self.change, strict=True)
        ]


class InterAnalysis(nn.Module):
    """Transform of the difference between a frame and its prediction, to a latent at 1/16.

    It is linear: what equals its prediction costs nothing, and what was left out stays to be coded.
    """

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        parts = part_sizes(config.width)
        self.transform = nn.ModuleList(conv1x1(CHANNELS, n) for n in parts)
        self.down = Joined(parts, config.latent, stride=2)

    def forward(self, frame: Tensor, predicted: Sequence[Tensor]) -> Tensor:
        """Map (B, 3, H, W) and the coefficients predicted to (B, latent, H/16, W/16)."""
        blocks = blocks_from_planes(*planes_from_rgb(frame))
        parts = [layer(blocks) - x for layer, x in zip(self.transform, predicted, strict=True)]
        y: Tensor = self.down(*parts)
        return y


class InterSynthesis(nn.Module):
    """Prediction and latent to blocks of luma and chroma: their sum, and a filter's correction."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        width, parts = config.width, part_sizes(config.width)
        self.up = nn.ModuleList(_up(config.latent, n) for n in parts)
        self.join = Joined((width, width), width)
        self.blocks = _blocks(width, config.decoder_blocks)
        self.last = Joined((*parts, width), CHANNELS)

    def forward(
        self, y: Tensor, bias: Tensor, context: Tensor, predicted: Sequence[Tensor]
    ) -> Tensor:
        """Map (B, latent, H/16, W/16), an offset (B, W, 1, 1) and what :class:`Prediction` gives.

        Returns (B, 96, H/8, W/8).
        """
        parts = [x + up(y) for x, up in zip(predicted, self.up, strict=True)]
        features = self.blocks(self.join(parts[0], context) + bias)
        blocks: Tensor = self.last(*parts, features)
        return blocks


def pictures_from_blocks(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frame (B, 3, H, W), not clamped, luma and chroma of decoded blocks (B, 96, H/8, W/8)."""
    y, c = planes_from_blocks(bound(blocks, -0.5, 0.5))
    return rgb_from_planes(y, c), y, c


@dataclass
class Reference:
    """What is carried: luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) in [-0.5, 0.5].

    And at 1/16 the coefficients of the vectors, zeros after an intra frame. Not the latent: what is
    skipped takes a mean that the latent before foretells, and over long groups of pictures such a
    loop can grow without limit.
    """

    luma: Tensor
    chroma: Tensor
    vectors: Tensor


@dataclass
class Result:
    """Reconstruction (B, 3, H, W), what to carry, and the bits of latent and vectors."""

    frame: Tensor
    reference: Reference | None
    latent: Quantized
    motion: Quantized | None = None


class IntraModel(nn.Module):
    """Codes one frame on its own."""

    def __init__(self, config: IntraConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis, self.synthesis = IntraAnalysis(config), IntraSynthesis(config)
        self.latent = LeanLatentModel(
            LeanLatentConfig(
                config.latent,
                config.hyper,
                (),
                config.entropy_width,
                adaptive_step=True,
                threshold=INTRA_THRESHOLD,
            )
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
        blocks = self.synthesis(coded.y_hat * self.decode_gain(quality), self.decode_bias(quality))
        decoded = pictures_from_blocks(blocks.float())[0]
        return Result(decoded if self.training else decoded.clamp(0.0, 1.0), None, coded)


class InterModel(nn.Module):
    """Codes a frame given the frame and the vectors before."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        self.config = config
        self.search = MotionSearch()
        self.bit_cost = BitCost()
        self.vectors = VectorTransform()
        self.motion = LeanLatentModel(
            LeanLatentConfig(VECTORS, config.motion_hyper, (VECTORS,), config.motion_width)
        )
        self.motion_encode_gain = QualityGain(VECTORS, LOG_VECTOR, LOG_VECTOR)
        self.motion_decode_gain = QualityGain(VECTORS, -LOG_VECTOR, -LOG_VECTOR)
        self.prediction = Prediction(config)
        self.temporal_prior = nn.Sequential(
            nn.Conv2d(config.width, config.width, 2, stride=2), nn.LeakyReLU(0.1)
        )
        self.analysis, self.synthesis = InterAnalysis(config), InterSynthesis(config)
        self.latent = LeanLatentModel(
            LeanLatentConfig(
                config.latent,
                config.hyper,
                (config.width, VECTORS),
                config.entropy_width,
                predicts_mean=False,
                threshold=INTER_THRESHOLD,
            )
        )
        self.encode_gain = QualityGain(config.latent, -LOG_STEP_LOW, -LOG_STEP_HIGH)
        self.decode_gain = QualityGain(config.latent, LOG_STEP_LOW, LOG_STEP_HIGH)
        self.decode_bias = QualityBias(config.width)

    def reference_from_intra(self, frame: Tensor) -> Reference:
        """Return what an inter frame finds after an intra or sync frame (B, 3, H, W)."""
        b, _, h, w = frame.shape
        size = (h // LATENT_STRIDE, w // LATENT_STRIDE)
        return Reference(
            *planes_from_rgb(frame),
            frame.new_zeros(b, VECTORS, *size),
        )

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
        with torch.no_grad(), torch.autocast(frame.device.type, enabled=False):
            found = self.search(frame, reference.luma, self.bit_cost(quality))
            vectors = self.vectors(found)
        motion = self.motion(
            vectors * self.motion_encode_gain(quality),
            reference.vectors,
            rounding=rounding,
            skip_level=skip_level,
        )
        vectors = motion.y_hat * self.motion_decode_gain(quality)
        with torch.autocast(frame.device.type, enabled=False):
            moves = self.vectors.inverse(vectors)
            moved = predict(reference.luma, reference.chroma, moves)
        context, predicted = self.prediction(moved)
        y = self.analysis(frame, predicted) * self.encode_gain(quality)
        coded = self.latent(
            y.float(),
            self.temporal_prior(context),
            vectors,
            rounding=rounding,
            skip_level=skip_level,
        )
        blocks = self.synthesis(
            coded.y_hat * self.decode_gain(quality), self.decode_bias(quality), context, predicted
        )
        decoded, y_plane, c_plane = pictures_from_blocks(blocks.float())
        following = Reference(y_plane, c_plane, vectors)
        return Result(
            decoded if self.training else decoded.clamp(0.0, 1.0), following, coded, motion
        )


class Swift(nn.Module):
    """Intra and inter model of one configuration."""

    def __init__(self, config: SwiftConfig) -> None:
        super().__init__()
        self.config = config
        self.intra = IntraModel(config.intra)
        self.inter = InterModel(config.inter)
        resize_layers(self, config.channels)
