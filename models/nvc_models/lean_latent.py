"""The swift family's entropy model: that of :mod:`nvc_models.latent` with less to compute.

The spatial prior sees the features that the parameters are made of, which are fewer, and what
depends on a square's colour is chosen before the widest layers, not after them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nvc_models.blocks import SeparableBlock, conv1x1, zero_init
from nvc_models.latent import (
    MIN_STEP,
    FactorizedPrior,
    LatentCoding,
    LatentConfig,
    Part0,
    bound,
    hyper_decoder,
    hyper_encoder,
    squares,
)


@dataclass(frozen=True)
class LeanLatentConfig(LatentConfig):
    """Sizes of one latent's entropy model, and whether each element has a step of its own."""

    adaptive_step: bool = False


def _trunk(width: int) -> nn.Sequential:
    return nn.Sequential(
        SeparableBlock(width, expansion=0),
        nn.LeakyReLU(0.1),
        SeparableBlock(width, expansion=0),
        nn.LeakyReLU(0.1),
    )


class LeanLatentModel(LatentCoding):
    """Everything that turns a latent into symbols with distributions, and back."""

    KEPT = ("features", "1_raw", "1_base")

    def __init__(self, config: LeanLatentConfig) -> None:
        super().__init__()
        c, n, width = config.channels, config.hyper_channels, config.width
        self.config = config
        self.has_step = config.adaptive_step
        self.hyper_encoder = hyper_encoder(c, n)
        self.hyper_decoder = hyper_decoder(n, width)
        self.prior = conv1x1(config.prior_channels, width) if config.prior_channels else None
        self.fusion = _trunk(width)
        self.head = zero_init(conv1x1(width, 2 * c))
        self.step = zero_init(conv1x1(width, c)) if config.adaptive_step else None
        self.seen = conv1x1(c // 2, 2 * width)
        self.enter = conv1x1(width, width)
        self.spatial = _trunk(width)
        self.spatial_head = zero_init(conv1x1(2 * width, c))
        self.factorized = FactorizedPrior(n)

    @property
    def kept_channels(self) -> dict[str, int]:
        """See :class:`nvc_models.latent.LatentCoding`."""
        half = self.config.channels // 2
        return {"features": self.config.width, "1_raw": half, "1_base": half}

    def part_0(self, z: Tensor, *priors: Tensor) -> Part0:
        """See :class:`nvc_models.latent.LatentCoding`."""
        x = self.hyper_decoder(z)
        if self.prior is not None:
            x = x + self.prior(torch.cat(priors, 1) if len(priors) > 1 else priors[0])
        features = self.fusion(x)
        raw, raw_even, mean, mean_even = self.head(features).float().chunk(4, 1)
        even, odd = squares(raw)
        kept = features, raw + raw_even * odd, mean + mean_even * odd
        step = None if self.step is None else bound(self.step(features).float() + 1.0, MIN_STEP, 1e4)
        return Part0(kept, step, self.index(raw + raw_even * even), mean + mean_even * even)

    def part_1(self, part_0_hat: Tensor, *kept: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`nvc_models.latent.LatentCoding`."""
        features, raw, base = kept
        even, odd = squares(part_0_hat)
        on_even, on_odd = self.seen(part_0_hat).chunk(2, 1)
        x = self.spatial(self.enter(features) + on_even * even + on_odd * odd)
        raw_more, mean_more = self.spatial_head(torch.cat((x * even, x * odd), 1)).float().chunk(2, 1)
        return self.index(raw + raw_more), base + mean_more
