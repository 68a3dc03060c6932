"""Intra and inter model of the swift family. Frames are RGB in [0, 1], (B, 3, H, W).

Both are the same pair of transforms: blocks of 8x8 pixels, a position at 1/8 each, a 2x2 stride to
the latent at 1/16, and back. The inter model moves the decoded frame before by vectors that it
sends, joins what it makes of this prediction at 1/8 on both ways, and codes what it does not tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nvc_models.blocks import GatedBlock, conv1x1
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


class Analysis(nn.Module):
    """Frame, and a context and a prediction if there are some, to a latent at 1/16."""

    def __init__(self, config: IntraConfig | InterConfig, context: int, prediction: int) -> None:
        super().__init__()
        width, bypass = config.encoder_width, config.bypass
        self.stem = conv1x1(CHANNELS, width)
        self.join = conv1x1(width + context + prediction, width) if context else None
        self.blocks = _blocks(width, config.encoder_blocks)
        self.fine = conv1x1(CHANNELS + prediction, bypass) if bypass else None
        self.down = nn.Conv2d(width + bypass, config.latent, 2, stride=2)
        self.deep = _blocks(config.latent, config.encoder_deep_blocks)

    def forward(self, frame: Tensor, *known: Tensor) -> Tensor:
        """Map (B, 3, H, W), context and prediction (B, K, H/8, W/8) to (B, latent, H/16, W/16)."""
        blocks = blocks_from_planes(*planes_from_rgb(frame))
        x = self.stem(blocks)
        if self.join is not None:
            x = self.join(torch.cat((x, *known), 1))
        x = self.blocks(x)
        if self.fine is not None:
            x = torch.cat((x, self.fine(torch.cat((blocks, *known[1:]), 1))), 1)
        y: Tensor = self.deep(self.down(x))
        return y


class Synthesis(nn.Module):
    """Latent at 1/16, and a context if there is one, to features at 1/8."""

    def __init__(self, config: IntraConfig | InterConfig, context: int) -> None:
        super().__init__()
        width, self.bypass = config.width, config.bypass
        self.deep = _blocks(config.latent, config.decoder_deep_blocks)
        self.up = nn.Sequential(
            conv1x1(config.latent, 4 * (width + config.bypass)), nn.PixelShuffle(2)
        )
        self.join = conv1x1(width + context, width) if context else None
        self.blocks = _blocks(width, config.decoder_blocks)

    def forward(self, y: Tensor, bias: Tensor, *known: Tensor) -> tuple[Tensor, ...]:
        """Map (B, latent, H/16, W/16), an offset (B, W, 1, 1) and a context (B, W, H/8, W/8).

        Returns features (B, W, H/8, W/8) and, if some channels pass the blocks by, those.
        """
        x = self.up(self.deep(y))
        x, fine = (x[:, : -self.bypass], (x[:, -self.bypass :],)) if self.bypass else (x, ())
        x = x + bias
        if self.join is not None:
            x = self.join(torch.cat((x, *known), 1))
        return self.blocks(x), *fine


class IntraHead(nn.Module):
    """Features at 1/8 to blocks of luma and chroma."""

    def __init__(self, width: int, bypass: int) -> None:
        super().__init__()
        self.last = conv1x1(width + bypass, CHANNELS)

    def forward(self, *features: Tensor) -> Tensor:
        """Map what :class:`Synthesis` gives to (B, 96, H/8, W/8)."""
        blocks: Tensor = self.last(torch.cat(features, 1))
        return blocks


class InterHead(nn.Module):
    """Features and a prediction at 1/8 to blocks of luma and chroma.

    The prediction comes as coefficients of a learned transform of its blocks, and how much of each
    stays is decided block by block: where motion fails, fine texture can go and the rest stay.
    """

    def __init__(self, width: int, bypass: int) -> None:
        super().__init__()
        self.keep = conv1x1(width, CHANNELS)
        self.last = conv1x1(CHANNELS + width + bypass, CHANNELS)

    def forward(self, prediction: Tensor, *features: Tensor) -> Tensor:
        """Map (B, 96, H/8, W/8) and what :class:`Synthesis` gives to (B, 96, H/8, W/8)."""
        kept = prediction * self.keep(features[0]).clamp(0.0, 1.0)
        blocks: Tensor = self.last(torch.cat((kept, *features), 1))
        return blocks


class Context(nn.Module):
    """What the first coefficients of a prediction tell about the frame."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        self.width = config.width
        self.blocks = _blocks(config.width, config.context_blocks)

    def forward(self, prediction: Tensor) -> Tensor:
        """Map (B, 96, H/8, W/8) to (B, W, H/8, W/8)."""
        context: Tensor = self.blocks(prediction[:, : self.width])
        return context


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
        self.analysis = Analysis(config, 0, 0)
        self.synthesis = Synthesis(config, 0)
        self.head = IntraHead(config.width, config.bypass)
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
        self.transform = conv1x1(CHANNELS, CHANNELS)
        self.context = Context(config)
        self.temporal_prior = nn.Sequential(
            nn.Conv2d(config.width, config.width, 2, stride=2), nn.LeakyReLU(0.1)
        )
        self.analysis = Analysis(config, config.width, CHANNELS)
        self.synthesis = Synthesis(config, config.width)
        self.head = InterHead(config.width, config.bypass)
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
            prediction = predict(reference.luma, reference.chroma, moves)
        prediction = self.transform(prediction)
        context = self.context(prediction)
        y = self.analysis(frame, context, prediction) * self.encode_gain(quality)
        coded = self.latent(
            y.float(),
            self.temporal_prior(context),
            rounding=rounding,
            skip_level=skip_level,
        )
        features = self.synthesis(
            coded.y_hat * self.decode_gain(quality), self.decode_bias(quality), context
        )
        decoded, y_plane, c_plane = pictures_from_blocks(self.head(prediction, *features).float())
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
