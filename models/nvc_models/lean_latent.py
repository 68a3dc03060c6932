"""The swift family's entropy model: that of :mod:`nvc_models.latent` with less to compute.

The spatial prior sees the features that the parameters are made of, which are fewer, and what
depends on a square's colour is chosen before the widest layers, not after them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from nvc_models.blocks import Joined, SeparableBlock, conv1x1, zero_init
from nvc_models.latent import (
    MIN_STEP,
    FactorizedPrior,
    LatentCoding,
    LatentSizes,
    Part0,
    bound,
    hyper_decoder,
    hyper_encoder,
    squares,
)
from nvc_models.symbol_shape import SymbolShape


@dataclass(frozen=True)
class LeanLatentConfig(LatentSizes):
    """Sizes of one latent's entropy model, and what the network says of each element.

    ``adaptive_step``: a quantisation step; else 1. ``threshold``: see :class:`LatentQuantizer`.
    """

    prior_channels: tuple[int, ...]
    width: int
    adaptive_step: bool = False
    threshold: float = 0.5


def _trunk(width: int) -> nn.Sequential:
    return nn.Sequential(
        SeparableBlock(width, expansion=0),
        nn.LeakyReLU(0.1),
        SeparableBlock(width, expansion=0),
        nn.LeakyReLU(0.1),
    )


class BothParts(nn.Module):
    """A parameter of both parts from features: two pointwise layers, the second on one colour.

    Channel i of part 0 is that of half A on even squares and of half B on odd ones; in part 1 it is
    the other way round. The first layer serves half B, their sum half A.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.base = zero_init(conv1x1(width, channels // 2))
        self.more = zero_init(conv1x1(width, channels // 2))

    def forward(self, features: Tensor, even: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, width, H, W) and the squares (B, 1, H, W) to (B, C/2, H, W) for each part."""
        base, more = self.base(features).float(), self.more(features).float()
        return base + more * even, base + more * odd


class ByColour(nn.Module):
    """A pointwise layer with other weights on even than on odd squares."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.even, self.odd = (conv1x1(in_channels, out_channels) for _ in range(2))

    def forward(self, x: Tensor, even: Tensor, odd: Tensor) -> Tensor:
        """Map (B, in, H, W) and the squares (B, 1, H, W) to (B, out, H, W)."""
        y: Tensor = self.even(x) * even + self.odd(x) * odd
        return y


class LeanLatentModel(LatentCoding):
    """Everything that turns a latent into symbols with distributions, and back."""

    config: LeanLatentConfig

    def __init__(self, config: LeanLatentConfig) -> None:
        super().__init__()
        c, n, width = config.channels, config.hyper_channels, config.width
        self.config = config
        self.threshold, self.shape = config.threshold, SymbolShape()
        self.has_step, self.kept = config.adaptive_step, ("features", "1_raw", "1_base")
        self.hyper_encoder = hyper_encoder(c, n)
        self.hyper_decoder = hyper_decoder(n, width)
        self.prior = Joined(config.prior_channels, width) if config.prior_channels else None
        self.fusion = _trunk(width)
        self.scale = BothParts(width, c)
        self.mean = BothParts(width, c)
        self.step = zero_init(conv1x1(width, c)) if config.adaptive_step else None
        self.seen, self.enter = ByColour(c // 2, width), conv1x1(width, width)
        self.spatial = _trunk(width)
        self.more_scale = _silent((width, width), c // 2)
        self.more_mean = _silent((width, width), c // 2)
        self.factorized = FactorizedPrior(n)

    @property
    def kept_channels(self) -> dict[str, int]:
        """See :class:`nvc_models.latent.LatentCoding`."""
        half = self.config.channels // 2
        return dict.fromkeys(self.kept, half) | {"features": self.enter.in_channels}

    def part_0(self, z: Tensor, *priors: Tensor) -> Part0:
        """See :class:`nvc_models.latent.LatentCoding`."""
        x = self.hyper_decoder(z)
        if self.prior is not None:
            x = x + self.prior(*priors)
        features = self.fusion(x)
        even, odd = squares(features)
        raw_0, raw_1 = self.scale(features, even, odd)
        index, step = self.index(raw_0), None
        if self.step is not None:
            step = bound(self.step(features).float() + 1.0, MIN_STEP, 1e4)
        mean_0, mean_1 = self.mean(features, even, odd)
        return Part0((features, raw_1, mean_1), step, index, mean_0)

    def part_1(self, part_0_hat: Tensor, *kept: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`nvc_models.latent.LatentCoding`."""
        features, raw, base = kept
        even, odd = squares(part_0_hat)
        x = self.spatial(self.enter(features) + self.seen(part_0_hat, even, odd))
        on_even, on_odd = x * even, x * odd
        index = self.index(raw + self.more_scale(on_even, on_odd).float())
        return index, base + self.more_mean(on_even, on_odd).float()

    def ends(self) -> list[nn.Module]:
        """See :class:`nvc_models.latent.LatentCoding`."""
        heads = [self.scale, self.more_scale, self.mean, self.more_mean]
        return [self.hyper_encoder[-1], *heads, *([] if self.step is None else [self.step])]


def _silent(channels: tuple[int, ...], out_channels: int) -> Joined:
    joined = Joined(channels, out_channels)
    for layer in joined.layers:
        assert isinstance(layer, nn.Conv2d)
        zero_init(layer)
    return joined
