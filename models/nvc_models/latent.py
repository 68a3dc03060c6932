"""Entropy model of one latent: hyperprior, fused priors, dual spatial prior, quantisation.

Follows Li et al. (MM'22) as Tian et al. (MM'23) use it. The scale *index* comes straight from
the network: ``I = clamp(16 + 4 r, 0, L - 1/2)``, evenly spaced in log sigma, so that no platform's
``log`` or ``exp`` lies between the network and a decision (Tian et al., Eq. 2-5).

The latent's channels are split in halves A and B. Part 0 holds A on the even squares of a
checkerboard and B on the odd ones, part 1 the rest; each part is a dense (B, C/2, H, W) tensor.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import BlockStyle, SeparableBlock, conv1x1, conv3x3, zero_init
from nvc_models.levels import LEVELS
from nvc_models.symbol_shape import SymbolShape

QUALITIES = 64
INDEX_CENTRE = 16.0
INDEX_GAIN = 4.0
MIN_STEP = 0.5
LOG2E = 1.0 / math.log(2.0)

Rounding = Literal["noise", "hard"]


class _Bound(torch.autograd.Function):
    """Clamp whose gradient still moves values that lie outside back towards the range."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = (low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        keep = ((x >= low) | (grad < 0)) & ((x <= high) | (grad > 0))
        return grad * keep, None, None


def bound(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp to [low, high]; while training, the gradient can lead back into the range."""
    if torch.is_grad_enabled() and x.requires_grad:
        apply: Callable[..., Tensor] = _Bound.apply
        return apply(x, low, high)
    return x.clamp(low, high)


def round_through(x: Tensor) -> Tensor:
    """Round half to even; the gradient passes as if nothing had happened."""
    return x + (torch.round(x) - x).detach()


CHECKERBOARD = (1.0, 0.0, 0.0, 1.0)
"""The 2x2 phases of an unshuffled channel that are even squares."""


def squares(like: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd squares of a checkerboard, 1 there and 0 elsewhere, (B, 1, H, W) each.

    Made from one channel of ``like``, so that a graph needs no shape arithmetic for it.
    """
    nothing = F.pixel_unshuffle(like[:, :1], 2).clamp(0.0, 0.0)
    phases = torch.tensor(CHECKERBOARD, device=like.device, dtype=like.dtype)
    even = F.pixel_shuffle(nothing + phases.view(1, 4, 1, 1), 2)
    return even, 1.0 - even


def split_checkerboard(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split (B, C, H, W) into part 0 and part 1, each (B, C/2, H, W). H and W are even.

    A product with 0 or 1 is exact on every platform, and faster than a choice.
    """
    half = x.shape[1] // 2
    a, b = x[:, :half], x[:, half:]
    even, odd = squares(x)
    return a * even + b * odd, a * odd + b * even


def merge_checkerboard(part_0: Tensor, part_1: Tensor) -> Tensor:
    """Inverse of :func:`split_checkerboard`: two (B, C/2, H, W) parts to (B, C, H, W)."""
    even, odd = squares(part_0)
    return torch.cat((part_0 * even + part_1 * odd, part_0 * odd + part_1 * even), 1)


def spread_part_0(part_0: Tensor) -> Tensor:
    """Place part 0 (B, C/2, H, W) in the full layout (B, C, H, W) with zeros elsewhere."""
    even, odd = squares(part_0)
    return torch.cat((part_0 * even, part_0 * odd), 1)


def laplace_bits(x: Tensor, index: Tensor) -> Tensor:
    """Bits of symbols ``x`` under a zero-mean Laplace of scale index ``index``; same shape.

    The probability of a symbol is the mass of its unit interval; computed in the log domain so
    that far outliers keep a gradient.
    """
    log_sigma = math.log(LEVELS.sigma_min) + LEVELS.step * index
    inverse_b = math.sqrt(2.0) * torch.exp(-log_sigma)
    distance = x.abs()
    mass = -torch.expm1(-inverse_b)
    outside = (distance - 0.5) * inverse_b - torch.log(0.5 * mass)
    inner = torch.clamp(distance, max=0.5)
    inside = -torch.log1p(
        -0.5 * (torch.exp((inner - 0.5) * inverse_b) + torch.exp((-inner - 0.5) * inverse_b))
    )
    return LOG2E * torch.where(distance < 0.5, inside, outside)


START_WIDTH = 0.5
"""Of the density that a hyperlatent starts with: most are 0 until training finds a use for them."""


class FactorizedPrior(nn.Module):
    """Learned density of each hyperlatent channel (Balle et al. 2018, appendix 6.1)."""

    def __init__(self, channels: int, filters: tuple[int, ...] = (3, 3, 3)) -> None:
        super().__init__()
        self.channels = channels
        sizes = (1, *filters, 1)
        scale = START_WIDTH ** (1 / (len(filters) + 1))
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        for i, (a, b) in enumerate(pairwise(sizes)):
            start = math.log(math.expm1(1 / scale / b))
            self.matrices.append(nn.Parameter(torch.full((channels, b, a), start)))
            self.biases.append(nn.Parameter(torch.rand(channels, b, 1) - 0.5))
            if i < len(filters):
                self.factors.append(nn.Parameter(torch.zeros(channels, b, 1)))

    def logits(self, x: Tensor) -> Tensor:
        """Logit of the cumulative distribution at ``x`` (C, 1, N); same shape."""
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = torch.matmul(F.softplus(matrix), x) + bias
            if i < len(self.factors):
                x = x + torch.tanh(self.factors[i]) * torch.tanh(x)
        return x

    def probability(self, x: Tensor) -> Tensor:
        """Mass of the unit interval round each ``x`` (C, 1, N)."""
        low, high = self.logits(x - 0.5), self.logits(x + 0.5)
        sign = -torch.sign(low + high).detach()
        return torch.abs(torch.sigmoid(sign * high) - torch.sigmoid(sign * low))

    def bits(self, z: Tensor) -> Tensor:
        """Bits of hyperlatents (B, C, H, W); same shape."""
        b, c, h, w = z.shape
        flat = z.float().transpose(0, 1).reshape(c, 1, -1)
        bits = -LOG2E * torch.log(self.probability(flat).clamp_min(1e-9))
        return bits.reshape(c, b, h, w).transpose(0, 1)


class QualityGain(nn.Module):
    """Positive gain per channel, geometrically interpolated over the quality index 0..63."""

    def __init__(self, channels: int, log_low: float, log_high: float, anchors: int = 8) -> None:
        super().__init__()
        start = torch.linspace(log_low, log_high, anchors)[:, None].repeat(1, channels)
        self.log_gain = nn.Parameter(start)

    def forward(self, quality: Tensor) -> Tensor:
        """Map quality (B,), [0, 63], to gains (B, C, 1, 1)."""
        return torch.exp(_interpolate(self.log_gain, quality))[:, :, None, None]

    def table(self) -> Tensor:
        """Gains of every quality, float32 (64, C)."""
        with torch.no_grad():
            quality = torch.arange(QUALITIES, device=self.log_gain.device)
            gains: Tensor = self(quality)
            return gains[:, :, 0, 0].float()


class QualityBias(nn.Module):
    """Offset per channel, interpolated over the quality index 0..63; starts at 0."""

    def __init__(self, channels: int, anchors: int = 8) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(anchors, channels))

    def forward(self, quality: Tensor) -> Tensor:
        """Map quality (B,), [0, 63], to offsets (B, C, 1, 1)."""
        return _interpolate(self.bias, quality)[:, :, None, None]

    def table(self) -> Tensor:
        """Offsets of every quality, float32 (64, C)."""
        with torch.no_grad():
            return _interpolate(self.bias, torch.arange(QUALITIES, device=self.bias.device)).float()


def _interpolate(anchors: Tensor, quality: Tensor) -> Tensor:
    """Rows (B, C) between the rows of ``anchors`` (A, C), spread evenly over the qualities."""
    last = anchors.shape[0] - 1
    position = quality.float() * (last / (QUALITIES - 1))
    low = position.floor().clamp(0, last - 1).long()
    weight = (position - low)[:, None]
    return anchors[low] * (1 - weight) + anchors[low + 1] * weight


@dataclass(frozen=True)
class LatentSizes:
    """Channels of a latent and of its hyperlatent."""

    channels: int
    hyper_channels: int


@dataclass(frozen=True)
class LatentConfig(LatentSizes):
    """Sizes of one latent's entropy model."""

    prior_channels: int
    width: int
    style: BlockStyle


@dataclass
class Quantized:
    """What coding one latent gives while training."""

    y_hat: Tensor
    bits: Tensor
    hyper_bits: Tensor
    index: Tensor


@dataclass
class Part0:
    """What the hyperlatent and the priors tell: tensors kept for part 1, step, index and mean.

    ``step`` (B, C, H, W), if any; ``index`` and ``mean`` (B, C/2, H, W) of part 0.
    """

    kept: tuple[Tensor, ...]
    step: Tensor | None
    index: Tensor
    mean: Tensor


def _net(style: BlockStyle, channels: tuple[int, ...]) -> nn.Sequential:
    """Chain of layers: 3x3 with LeakyReLU (``conv``), or pointwise with separable blocks."""
    layers: list[nn.Module] = []
    for a, b in pairwise(channels[:-1]):
        if style == "conv":
            layers += [conv3x3(a, b), nn.LeakyReLU(0.01)]
        else:
            layers += [conv1x1(a, b) if a != b else nn.Identity(), SeparableBlock(b, expansion=0)]
            layers += [nn.LeakyReLU(0.1)]
    last = conv3x3 if style == "conv" else conv1x1
    layers.append(last(channels[-2], channels[-1]))
    return nn.Sequential(*layers)


class LatentQuantizer(nn.Module, ABC):
    """What every entropy model of a latent has: the hyperlatent, quantisation and rates."""

    config: LatentSizes
    hyper_encoder: nn.Sequential
    factorized: FactorizedPrior
    shape: SymbolShape | None
    """Correction of the symbols' distribution, if any."""
    threshold = 0.5
    """What is nearer to its mean than this becomes a symbol 0. Above 1/2 it saves bits that are
    worth more than the error."""

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """Hyperlatent (B, N, H/4, W/4) of a scaled latent (B, C, H, W), not yet rounded."""
        z: Tensor = self.hyper_encoder(y)
        return z

    @abstractmethod
    def ends(self) -> list[nn.Module]:
        """Return what hyperlatents, indices, means and steps come from: their channels stay."""

    def round(self, residual: Tensor) -> Tensor:
        """Round a latent without its mean to symbols; same shape."""
        if self.threshold == 0.5:
            return torch.round(residual)
        return residual.sign() * (residual.abs() + (1.0 - self.threshold)).floor()

    def round_hyper(self, z: Tensor, rounding: Rounding) -> tuple[Tensor, Tensor]:
        """Hyperlatent (B, N, h, w) as it is decoded, and as rates see it; see ``rounding``."""
        z_hat = round_through(z)
        noisy = rounding == "noise" and self.training
        return z_hat, z + torch.rand_like(z) - 0.5 if noisy else z_hat

    @staticmethod
    def index(raw: Tensor) -> Tensor:
        """Continuous scale index in [0, L - 1/2] from a raw network output."""
        return bound(INDEX_CENTRE + INDEX_GAIN * raw, 0.0, LEVELS.index_max)

    def quantize(
        self, y: Tensor, mean: Tensor | None, index: Tensor, rounding: Rounding, skip_level: int
    ) -> tuple[Tensor, Tensor]:
        """Quantise one part (B, C, H, W) with its mean, if any, and index.

        ``rounding`` and ``skip_level``: see :meth:`LatentCoding.forward`. Returns the decoded part
        and its bits (B,).
        """
        residual = y if mean is None else y - mean
        symbols = residual + (self.round(residual) - residual).detach()
        if rounding == "noise" and self.training:
            rated = residual + torch.rand_like(residual) - 0.5
            return symbols if mean is None else symbols + mean, laplace_bits(rated, index).sum(
                (1, 2, 3)
            )
        level = (index.floor() + 0.5).clamp(max=LEVELS.count - 0.5)
        used = index + (level - index).detach()
        coded = (index >= skip_level + 1).to(y.dtype)
        bits = laplace_bits(symbols, used)
        if self.shape is not None:
            bits = bits + self.shape.bits(symbols, index)
        if not self.training:
            bits = bits * coded
        hat = symbols * coded
        return hat if mean is None else hat + mean, bits.sum((1, 2, 3))


class LatentCoding(LatentQuantizer):
    """A latent coded in two parts, see the module's text.

    Subclasses say how distributions come of the hyperlatent: :meth:`part_0` and :meth:`part_1`.
    """

    kept: tuple[str, ...]
    """Names of the tensors that :meth:`part_0` keeps for :meth:`part_1`."""
    has_step = True
    """Whether the network gives a quantisation step for each element; else it is 1."""

    @property
    @abstractmethod
    def kept_channels(self) -> dict[str, int]:
        """Channels of each tensor that :meth:`part_0` keeps for part 1."""

    @abstractmethod
    def part_0(self, z: Tensor, *priors: Tensor) -> Part0:
        """Map the rounded hyperlatent (B, N, H/4, W/4) and further priors (B, K, H, W)."""

    @abstractmethod
    def part_1(self, part_0_hat: Tensor, *kept: Tensor) -> tuple[Tensor, Tensor]:
        """Index and mean of part 1, (B, C/2, H, W) each, knowing part 0 and what was kept."""

    def forward(
        self, y: Tensor, *priors: Tensor, rounding: Rounding, skip_level: int = -1
    ) -> Quantized:
        """Quantise a scaled latent (B, C, H, W) as a codec would, with gradients.

        ``noise``: rates see uniform noise, values are rounded straight through.
        ``hard``: rates see the rounded values and the levels that a coder would use, and
        elements at or below ``skip_level`` are replaced by their mean. While training, rates see
        those, too: nothing else would tell the network that an element it passes over is not 0.
        """
        z_hat, z_rate = self.round_hyper(self.hyper_analysis(y), rounding)
        part_0 = self.part_0(z_hat, *priors)
        step = part_0.step
        y_0, y_1 = split_checkerboard(y if step is None else y / step)
        hat_0, bits_0 = self.quantize(y_0, part_0.mean, part_0.index, rounding, skip_level)
        index_1, mean_1 = self.part_1(hat_0, *part_0.kept)
        hat_1, bits_1 = self.quantize(y_1, mean_1, index_1.float(), rounding, skip_level)
        y_hat = merge_checkerboard(hat_0, hat_1)
        return Quantized(
            y_hat=y_hat if step is None else y_hat * step,
            bits=bits_0 + bits_1,
            hyper_bits=self.factorized.bits(z_rate).sum((1, 2, 3)),
            index=torch.cat((part_0.index, index_1), 1),
        )


def hyper_encoder(channels: int, hyper_channels: int, halvings: int = 2) -> nn.Sequential:
    """Return the network from a latent to its hyperlatent, half the size so many times."""
    n = hyper_channels
    layers: list[nn.Module] = [conv3x3(channels, n)]
    for _ in range(halvings):
        layers += [nn.LeakyReLU(0.01), conv3x3(n, n, 2)]
    return nn.Sequential(*layers)


def hyper_decoder(hyper_channels: int, channels: int, doublings: int = 2) -> nn.Sequential:
    """Return the network from a hyperlatent to ``channels``, twice the size so many times."""
    n = hyper_channels
    layers: list[nn.Module] = []
    for _ in range(doublings):
        layers += [conv1x1(n, n * 4), nn.PixelShuffle(2), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers, conv3x3(n, channels))


class LatentModel(LatentCoding):
    """The paper's entropy model: the spatial prior sees the fused parameters."""

    config: LatentConfig
    kept = ("fused",)

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        c, n, style = config.channels, config.hyper_channels, config.style
        self.config, self.shape = config, None
        hyper_out = c if style == "separable" else 2 * c
        self.hyper_encoder = hyper_encoder(c, n)
        self.hyper_decoder = hyper_decoder(n, hyper_out)
        width = config.width
        self.fusion = _net(style, (hyper_out + config.prior_channels, width, width, 3 * c))
        self.spatial = _net(style, (c + 3 * c, width, width, 2 * c))
        for net in (self.fusion, self.spatial):
            last = net[-1]
            assert isinstance(last, nn.Conv2d)
            zero_init(last)
        self.factorized = FactorizedPrior(n)

    @property
    def kept_channels(self) -> dict[str, int]:
        """See :class:`LatentCoding`."""
        return {"fused": 3 * self.config.channels}

    def part_0(self, z: Tensor, *priors: Tensor) -> Part0:
        """See :class:`LatentCoding`."""
        parameters = self.fusion(torch.cat((self.hyper_decoder(z), *priors), 1)).float()
        step, raw, mean = parameters.chunk(3, 1)
        index_0, _ = split_checkerboard(raw)
        mean_0, _ = split_checkerboard(mean)
        step = bound(step + 1.0, MIN_STEP, 1e4)
        return Part0((parameters,), step, self.index(index_0), mean_0)

    def part_1(self, part_0_hat: Tensor, *kept: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`LatentCoding`."""
        (fused,) = kept
        delta = self.spatial(torch.cat((spread_part_0(part_0_hat), fused), 1))
        raw, mean = (fused[:, self.config.channels :] + delta).chunk(2, 1)
        return self.index(split_checkerboard(raw)[1]), split_checkerboard(mean)[1]

    def ends(self) -> list[nn.Module]:
        """See :class:`LatentCoding`."""
        return [self.hyper_encoder[-1], self.fusion[-1], self.spatial[-1]]
