"""Intra and inter model of the swift family. Frames are RGB in [0, 1], (B, 3, H, W).

Both start from blocks of 8x8 pixels, a position at 1/8 each, and have their latent at 1/16. The
intra model is a pair of networks. Fine texture is many numbers and little structure: where the
blocks of a network are narrower than the 96 samples of a position, further channels pass them by,
so that every sample can be reached. The inter model moves the decoded frame before by vectors that
it sends, codes a linear transform of what is left, and filters the sum; its networks are those that
foretell the scales of symbols.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import GatedBlock, Joined, conv1x1
from nvc_models.latent import QualityBias, QualityGain, Quantized, Rounding, bound
from nvc_models.latent_graphs import LATENT_STRIDE
from nvc_models.lean_latent import LeanLatentConfig, LeanLatentModel
from nvc_models.ordered_latent import OrderedLatentConfig, OrderedLatentModel, magnitudes
from nvc_models.rate import LOG_STEP_HIGH, LOG_STEP_LOW
from nvc_models.swift.bands import Bands, BandSearch
from nvc_models.swift.config import SHIFTS, InterConfig, IntraConfig, SwiftConfig
from nvc_models.swift.interpolation import QuarterRows
from nvc_models.swift.motion import VECTORS, Compensation, VectorTransform
from nvc_models.swift.motion_cost import SearchStep
from nvc_models.swift.motion_search import MotionSearch
from nvc_models.swift.planes import (
    BLOCK,
    CHANNELS,
    blocks_from_planes,
    luma,
    planes_from_blocks,
    planes_from_rgb,
    rgb_from_planes,
)
from nvc_models.swift.shrink import BlockStrength, Shrinkage, Thresholds
from nvc_models.swift.vector_latent import (
    MOTION,
    MOTION_CHANNELS,
    VECTOR_STRIDE,
    VectorLatentModel,
)
from nvc_models.widths import resize_layers

STRIDE = 8
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
    """Latent at 1/16 to luma and chroma."""

    def __init__(self, config: IntraConfig) -> None:
        super().__init__()
        parts = part_sizes(config.width)
        self.up = nn.ModuleList(_up(config.latent, n) for n in parts)
        self.blocks = _blocks(config.width, config.decoder_blocks)
        self.last = Joined(parts, CHANNELS)
        self.shrinkage = Shrinkage(SHIFTS)

    def forward(
        self, y: Tensor, bias: Tensor, energy: Tensor, gain: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map (B, latent, H/16, W/16) and an offset (B, W, 1, 1) to a picture.

        ``energy`` and ``gain`` (B, 64 S, 1, 1): see :class:`nvc_models.swift.shrink.Thresholds`.
        Returns luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) in [-0.5, 0.5].
        """
        x, *fine = (up(y) for up in self.up)
        blocks = self.last(self.blocks(x + bias), *fine).float()
        luma, chroma = planes_from_blocks(blocks)
        with torch.autocast(y.device.type, enabled=False):
            return bound_planes(self.shrinkage(luma, energy, gain), chroma)


def _up(latent: int, channels: int) -> nn.Sequential:
    return nn.Sequential(conv1x1(latent, 4 * channels), nn.PixelShuffle(2))


class Context(nn.Module):
    """What moved blocks foretell of the difference that is left: where there is texture, and how.

    Of their coefficients only the magnitudes are seen.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transform = conv1x1(CHANNELS, CHANNELS)
        self.down = nn.Conv2d(CHANNELS, width, 2, stride=2)

    def forward(self, moved: Tensor) -> Tensor:
        """Map (B, 96, H/8, W/8) to (B, width, H/16, W/16)."""
        y: Tensor = F.leaky_relu(self.down(self.transform(moved).abs()), 0.1)
        return y


class InterAnalysis(nn.Module):
    """Transform of the difference between a frame and its prediction, to a latent at 1/16.

    It is linear: what equals its prediction costs nothing, and what was left out stays to be coded.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.transform = nn.Conv2d(CHANNELS, latent, 2, stride=2, bias=False)

    def forward(self, frame: Tensor, moved: Tensor) -> Tensor:
        """Map (B, 3, H, W) and moved blocks (B, 96, H/8, W/8) to (B, latent, H/16, W/16)."""
        y: Tensor = self.transform(blocks_from_planes(*planes_from_rgb(frame)) - moved)
        return y


class InterTransform(nn.Conv2d):
    """Latent at 1/16 to luma and chroma of the four blocks of 8x8 of each position: a matrix.

    Rows of the weights are samples of a block, each four times, once for each of the blocks. They
    are used in the order of planes instead, in which one ``pixel_shuffle`` puts four blocks
    together; by way of single blocks it takes two, and they are slow on CPUs.
    """

    def __init__(self, latent: int) -> None:
        super().__init__(latent, 4 * CHANNELS, 1, bias=False)
        sides = (BLOCK, BLOCK // 2, BLOCK // 2)
        rows = torch.split(torch.arange(4 * CHANNELS), [4 * side**2 for side in sides])
        planes = [
            # Row and column within the block, then of the block.
            part.view(side, side, 2, 2).permute(2, 0, 3, 1).flatten()
            for part, side in zip(rows, sides, strict=True)
        ]
        self.luma: Tensor
        self.chroma: Tensor
        self.register_buffer("luma", planes[0], persistent=False)
        self.register_buffer("chroma", torch.cat(planes[1:]), persistent=False)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Map (B, latent, H/16, W/16) to luma (B, 1, H, W) and chroma (B, 2, H/2, W/2)."""
        luma, chroma = (F.conv2d(y, self.weight[rows]) for rows in (self.luma, self.chroma))
        return F.pixel_shuffle(luma, 2 * BLOCK), F.pixel_shuffle(chroma, BLOCK)


class InterSynthesis(nn.Module):
    """Prediction and latent to luma and chroma: their sum, luma filtered."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        self.transform = InterTransform(config.latent)
        self.shrinkage = Shrinkage(config.shifts)

    def forward(
        self, y: Tensor, moved: Tensor, strength: Tensor, energy: Tensor, gain: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map (B, latent, H/16, W/16) and moved blocks (B, 96, H/8, W/8) to a picture.

        ``strength`` (B, 1, H/8, W/8), ``energy`` and ``gain`` (B, 64 S, 1, 1): see
        :class:`nvc_models.swift.shrink.BlockStrength` and :class:`Thresholds` there. Returns luma
        (B, 1, H, W) and chroma (B, 2, H/2, W/2) in [-0.5, 0.5].
        """
        coded, found = self.transform(y), planes_from_blocks(moved)
        luma, chroma = (change.float() + x for change, x in zip(coded, found, strict=True))
        return bound_planes(self.shrinkage(luma, energy, gain, strength), chroma)


def bound_planes(luma: Tensor, chroma: Tensor) -> tuple[Tensor, Tensor]:
    """Keep the samples of a picture in [-0.5, 0.5]."""
    return bound(luma, -0.5, 0.5), bound(chroma, -0.5, 0.5)


@dataclass
class Reference:
    """What is carried: luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) in [-0.5, 0.5].

    And at 1/32 the vectors, in coding order, with their symbols, at 1/16 the symbols of the latent;
    zeros after an intra frame. All these are whole numbers, the same on every platform: no other
    value of one frame becomes a value of the next but by the pictures.
    """

    luma: Tensor
    chroma: Tensor
    vectors: Tensor
    vector_symbols: Tensor
    symbols: Tensor


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
        self.thresholds = Thresholds(SHIFTS)

    def forward(
        self, frame: Tensor, quality: Tensor, *, rounding: Rounding, skip_level: int = -1
    ) -> Result:
        """Code a frame at a quality (B,), [0, 63]."""
        y = self.analysis(frame) * self.encode_gain(quality)
        coded = self.latent(y.float(), rounding=rounding, skip_level=skip_level)
        y_hat = coded.y_hat * self.decode_gain(quality)
        bias, thresholds = self.decode_bias(quality), self.thresholds(quality)
        decoded = rgb_from_planes(*self.synthesis(y_hat, bias, *thresholds))
        return Result(decoded if self.training else decoded.clamp(0.0, 1.0), None, coded)


class InterModel(nn.Module):
    """Codes a frame given the frame, the vectors and the symbols before."""

    def __init__(self, config: InterConfig) -> None:
        super().__init__()
        self.config = config
        self.search = MotionSearch()
        self.compensation = Compensation(overlap=config.overlap)
        self.search_step = SearchStep()
        self.band_search, self.bands = BandSearch(self.search.bits), Bands()
        self.vectors = VectorTransform()
        self.motion = VectorLatentModel(config.motion_hyper, config.motion_width)
        self.context = Context(config.entropy_width)
        self.analysis, self.synthesis = InterAnalysis(config.latent), InterSynthesis(config)
        self.latent = OrderedLatentModel(
            OrderedLatentConfig(
                config.latent,
                config.hyper,
                config.parts,
                (config.entropy_width, MOTION),
                config.entropy_width,
                INTER_THRESHOLD,
            )
        )
        self.encode_gain = QualityGain(config.latent, -LOG_STEP_LOW, -LOG_STEP_HIGH)
        self.decode_gain = QualityGain(config.latent, LOG_STEP_LOW, LOG_STEP_HIGH)
        self.thresholds = Thresholds(config.shifts)
        self.strength = BlockStrength([(row, column) for _, row, column in config.channels()])

    def reference_from_intra(self, frame: Tensor) -> Reference:
        """Return what an inter frame finds after an intra or sync frame (B, 3, H, W)."""
        b, _, h, w = frame.shape
        no_vectors = frame.new_zeros(b, MOTION_CHANNELS, h // VECTOR_STRIDE, w // VECTOR_STRIDE)
        no_symbols = frame.new_zeros(b, self.config.latent, h // LATENT_STRIDE, w // LATENT_STRIDE)
        return Reference(*planes_from_rgb(frame), no_vectors, no_vectors, no_symbols)

    def find_motion(self, frame: Tensor, before: Tensor, step: Tensor) -> Tensor:
        """Coefficients of vectors and choices of bands, (B, 9, H/16, W/16), to code a frame with.

        From luma before, (B, 1, H, W); ``step``: see :class:`SearchStep`.
        """
        wanted, reference = (luma(frame) - 0.5) / step, QuarterRows(before / step)
        vectors = self.search(wanted, reference)
        choice = self.band_search(wanted, reference, vectors)
        return torch.cat((self.vectors(vectors), choice), 1)

    def move(self, luma: Tensor, chroma: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (B, 2, H/8, W/8) and blocks (B, 96, H/8, W/8) of the picture moved by them.

        ``motion``: as :meth:`find_motion` gives it.
        """
        vectors = self.vectors.inverse(motion[:, :VECTORS])
        moved = self.compensation(luma, chroma, vectors)
        return vectors, self.bands(moved, motion[:, VECTORS:])

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
            wanted = self.motion.arrange(
                self.find_motion(frame, reference.luma, self.search_step(quality))
            )
        motion = self.motion(
            wanted,
            reference.vector_symbols,
            reference.vectors,
            rounding=rounding,
            skip_level=skip_level,
        )
        with torch.autocast(frame.device.type, enabled=False):
            coefficients = self.motion.rearrange(motion.y_hat)
            moves, moved = self.move(reference.luma, reference.chroma, coefficients)
        y = self.analysis(frame, moved) * self.encode_gain(quality)
        coded = self.latent(
            y.float(),
            reference.symbols,
            self.context(moved),
            magnitudes(coefficients),
            rounding=rounding,
            skip_level=skip_level,
        )
        with torch.autocast(frame.device.type, enabled=False):
            y_hat = coded.y_hat * self.decode_gain(quality)
            strength = self.strength(self.strength.of_vectors(moves), coded.y_hat.detach())
            luma, chroma = self.synthesis(y_hat, moved, strength, *self.thresholds(quality))
        decoded = rgb_from_planes(luma, chroma)
        following = Reference(luma, chroma, motion.y_hat, motion.symbols, coded.y_hat)
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
