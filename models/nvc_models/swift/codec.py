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


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(GatedBlock(channels) for _ in range(count)))


def fine_channels(width: int) -> list[int]:
    """Channels at 1/8 that pass blocks of this width by: one number, or none."""
    return [CHANNELS - width] if width < CHANNELS else []


class Analysis(nn.Module):
    """Frame, and a context and a prediction if there are some, to a latent at 1/16."""

    def __init__(self, config: IntraConfig | InterConfig, *known: int) -> None:
        """Take the channels of the context and of the prediction's parts."""
        super().__init__()
        width, fine = config.encoder_width, fine_channels(config.width)
        self.stem = conv1x1(CHANNELS, width)
        self.join = Joined((width, *known), width) if known else None
        self.blocks = _blocks(width, config.encoder_blocks)
        self.fine = nn.ModuleList(Joined((CHANNELS, *known[1:]), n) for n in fine)
        self.down = Joined((width, *fine), config.latent, stride=2)
        self.deep = _blocks(config.latent, config.encoder_deep_blocks)

    def forward(self, frame: Tensor, *known: Tensor) -> Tensor:
        """Map (B, 3, H, W), context and prediction (B, K, H/8, W/8) to (B, latent, H/16, W/16)."""
        blocks = blocks_from_planes(*planes_from_rgb(frame))
        x = self.stem(blocks)
        if self.join is not None:
            x = self.join(x, *known)
        fine = [layer(blocks, *known[1:]) for layer in self.fine]
        y: Tensor = self.deep(self.down(self.blocks(x), *fine))
        return y


class Synthesis(nn.Module):
    """Latent at 1/16, and a context if there is one, to features at 1/8."""

    def __init__(self, config: IntraConfig | InterConfig, *known: int) -> None:
        super().__init__()
        width, latent = config.width, config.latent
        self.deep = _blocks(latent, config.decoder_deep_blocks)
        self.up = _up(latent, width)
        self.up_fine = nn.ModuleList(_up(latent, n) for n in fine_channels(width))
        self.join = Joined((width, *known), width) if known else None
        self.blocks = _blocks(width, config.decoder_blocks)

    def forward(self, y: Tensor, bias: Tensor, *known: Tensor) -> tuple[Tensor, ...]:
        """Map (B, latent, H/16, W/16), an offset (B, W, 1, 1) and a context (B, W, H/8, W/8).

        Returns features (B, W, H/8, W/8) and, if there are some, what passes the blocks by.
        """
        y = self.deep(y)
        x = self.up(y) + bias
        if self.join is not None:
            x = self.join(x, *known)
        return self.blocks(x), *(layer(y) for layer in self.up_fine)


def _up(latent: int, channels: int) -> nn.Sequential:
    return nn.Sequential(conv1x1(latent, 4 * channels), nn.PixelShuffle(2))


class IntraHead(nn.Module):
    """What :class:`Synthesis` gives to blocks of luma and chroma."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.last = Joined((width, *fine_channels(width)), CHANNELS)

    def forward(self, *features: Tensor) -> Tensor:
        """Map (B, K, H/8, W/8) each to (B, 96, H/8, W/8)."""
        blocks: Tensor = self.last(*features)
        return blocks


class Prediction(nn.Module):
    """A learned transform of predicted blocks: ``width`` coefficients first, then the fine ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(conv1x1(CHANNELS, n) for n in (width, *fine_channels(width)))

    def forward(self, blocks: Tensor) -> list[Tensor]:
        """Map (B, 96, H/8, W/8) to (B, W, H/8, W/8) and, if there are some, the fine ones."""
        return [part(blocks) for part in self.parts]


class InterHead(nn.Module):
    """What :class:`Synthesis` and :class:`Prediction` give to blocks of luma and chroma.

    How much of each coefficient of the prediction stays is decided block by block: where motion
    fails, fine texture can go and the rest stay.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        parts = (width, *fine_channels(width))
        self.keep = nn.ModuleList(conv1x1(width, n) for n in parts)
        self.last = Joined((*parts, *parts), CHANNELS)

    def forward(self, features: Sequence[Tensor], prediction: Sequence[Tensor]) -> Tensor:
        """Map (B, K, H/8, W/8) each to (B, 96, H/8, W/8)."""
        kept = [
            x * keep(features[0]).clamp(0.0, 1.0)
            for x, keep in zip(prediction, self.keep, strict=True)
        ]
        blocks: Tensor = self.last(*kept, *features)
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


def _latent_model(
    channels: int, hyper: int, prior: int, width: int, *, adaptive_step: bool = False
) -> LeanLatentModel:
    return LeanLatentModel(
        LeanLatentConfig(channels, hyper, prior, width, "separable", adaptive_step)
    )


class IntraModel(nn.Module):
    """Codes one frame on its own."""

    def __init__(self, config: IntraConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.head = IntraHead(config.width)
        self.latent = _latent_model(
            config.latent, config.hyper, 0, config.entropy_width, adaptive_step=True
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
        features = self.synthesis(
            coded.y_hat * self.decode_gain(quality), self.decode_bias(quality)
        )
        decoded = pictures_from_blocks(self.head(*features).float())[0]
        return Result(decoded if self.training else decoded.clamp(0.0, 1.0), None, coded)


class InterModel(nn.Module):
    """Codes a frame given the frame and the vectors before."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        self.config = config
        self.search = MotionSearch()
        self.bit_cost = BitCost()
        self.vectors = VectorTransform()
        self.motion = _latent_model(VECTORS, config.motion_hyper, VECTORS, config.motion_width)
        self.motion_encode_gain = QualityGain(VECTORS, LOG_VECTOR, LOG_VECTOR)
        self.motion_decode_gain = QualityGain(VECTORS, -LOG_VECTOR, -LOG_VECTOR)
        self.prediction = Prediction(config.width)
        self.context = _blocks(config.width, config.context_blocks)
        self.temporal_prior = nn.Sequential(
            nn.Conv2d(config.width, config.width, 2, stride=2), nn.LeakyReLU(0.1)
        )
        parts = (config.width, *fine_channels(config.width))
        self.analysis = Analysis(config, config.width, *parts)
        self.synthesis = Synthesis(config, config.width)
        self.head = InterHead(config.width)
        self.latent = _latent_model(config.latent, config.hyper, config.width, config.entropy_width)
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
        prediction = self.prediction(moved)
        context = self.context(prediction[0])
        y = self.analysis(frame, context, *prediction) * self.encode_gain(quality)
        coded = self.latent(
            y.float(),
            self.temporal_prior(context),
            rounding=rounding,
            skip_level=skip_level,
        )
        features = self.synthesis(
            coded.y_hat * self.decode_gain(quality), self.decode_bias(quality), context
        )
        decoded, y_plane, c_plane = pictures_from_blocks(self.head(features, prediction).float())
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
