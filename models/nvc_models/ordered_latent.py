"""Entropy model of a latent that is the transform of a difference: parts in a fixed order.

Symbols have mean 0, so all a network can foretell is their scale, and what tells most about it is
how large other symbols are. So the latent's channels are coded in parts, the most telling first,
and every part sees the magnitudes of those before it, and of the frame before. Magnitudes, not
values: a network needs many steps to learn that the sign does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from nvc_models.blocks import Joined, SeparableBlock, conv1x1, zero_init
from nvc_models.latent import (
    FactorizedPrior,
    LatentQuantizer,
    LatentSizes,
    Quantized,
    Rounding,
    hyper_decoder,
    hyper_encoder,
)
from nvc_models.symbol_shape import SymbolShape

CodePart = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
MAX_SEEN = 8.0
"""Magnitudes above this look alike to the networks."""


@dataclass(frozen=True)
class OrderedLatentConfig(LatentSizes):
    """Sizes of one latent's entropy model.

    ``parts``: channels of each part, in coding order; their sum is ``channels``.
    ``prior_channels``: channels of each prior at the latent's resolution. ``threshold``: see
    :class:`LatentQuantizer`. ``halvings``: from the latent's size to that of the hyperlatent.
    """

    parts: tuple[int, ...]
    prior_channels: tuple[int, ...]
    width: int
    threshold: float = 0.5
    halvings: int = 2

    def __post_init__(self) -> None:
        if sum(self.parts) != self.channels:
            raise ValueError(f"parts {self.parts} do not add up to {self.channels} channels")


def magnitudes(symbols: Tensor) -> Tensor:
    """How large symbols are, as far as the networks look."""
    return symbols.abs().clamp(max=MAX_SEEN)


def _update(width: int, blocks: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(blocks):
        layers += [SeparableBlock(width, expansion=0), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


class OrderedLatentModel(LatentQuantizer):
    """Everything that turns such a latent into symbols with distributions, and back."""

    config: OrderedLatentConfig

    def __init__(self, config: OrderedLatentConfig) -> None:
        super().__init__()
        n, width = config.hyper_channels, config.width
        self.config, self.threshold, self.shape = config, config.threshold, SymbolShape()
        self.hyper_encoder = hyper_encoder(config.channels, n, config.halvings)
        self.hyper_decoder = hyper_decoder(n, width, config.halvings)
        self.prior = Joined((*config.prior_channels, config.channels), width)
        self.fusion = _update(width, 2)
        self.heads = nn.ModuleList(zero_init(conv1x1(width, size)) for size in config.parts)
        self.seen = nn.ModuleList(conv1x1(size, width) for size in config.parts[:-1])
        self.updates = nn.ModuleList(_update(width, 1) for _ in config.parts[:-1])
        self.factorized = FactorizedPrior(n)

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """Hyperlatent (B, N, h, w) of a scaled latent (B, C, H, W), not yet rounded."""
        z: Tensor = self.hyper_encoder(magnitudes(y))
        return z

    def split(self, y: Tensor) -> tuple[Tensor, ...]:
        """Cut a latent (B, C, H, W) into its parts."""
        ends = list(accumulate(self.config.parts))
        starts = (0, *ends)
        return tuple(y[:, a:b] for a, b in zip(starts, ends, strict=False))

    def start(self, z: Tensor, before: Tensor, *priors: Tensor) -> Tensor:
        """Features (B, width, H, W) of the rounded hyperlatent (B, N, h, w) and the priors.

        ``before``: symbols of the frame before, (B, C, H, W).
        """
        told = self.prior(*priors, magnitudes(before))
        features: Tensor = self.fusion(self.hyper_decoder(z) + told)
        return features

    def scale_index(self, part: int, features: Tensor) -> Tensor:
        """Scale index of a part, (B, C_part, H, W), in [0, L - 1/2]."""
        return self.index(self.heads[part](features).float())

    def update(self, part: int, features: Tensor, symbols: Tensor) -> Tensor:
        """Features for the next part, from those of ``part`` and its symbols."""
        after: Tensor = self.updates[part](features + self.seen[part](magnitudes(symbols)))
        return after

    def forward(
        self,
        y: Tensor,
        before: Tensor,
        *priors: Tensor,
        rounding: Rounding,
        skip_level: int = -1,
    ) -> Quantized:
        """Quantise a scaled latent (B, C, H, W) as a codec would, with gradients.

        ``rounding`` and ``skip_level``: see :meth:`LatentCoding.forward`.
        """
        z_hat, z_rate = self.round_hyper(self.hyper_analysis(y), rounding)
        symbols: list[Tensor] = []

        def code(part: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            coded, bits = self.quantize(part, None, index, rounding, skip_level)
            symbols.append(coded)
            return coded, bits

        bits, index = self.code_parts(y, self.start(z_hat, before, *priors), code)
        return Quantized(
            y_hat=torch.cat(symbols, 1),
            bits=bits,
            hyper_bits=self.factorized.bits(z_rate).sum((1, 2, 3)),
            index=index,
        )

    def code_parts(self, y: Tensor, features: Tensor, code: CodePart) -> tuple[Tensor, Tensor]:
        """Code the parts of a latent in their order, from the features of the first.

        ``code`` maps a part and its index to symbols, which the next part sees, and bits (B,).
        Returns all bits (B,) and indices (B, C, H, W).
        """
        bits, parts = y.new_zeros(y.shape[0]), self.split(y)
        indices: list[Tensor] = []
        for number, part in enumerate(parts):
            indices.append(self.scale_index(number, features))
            symbols, part_bits = code(part, indices[-1])
            bits = bits + part_bits
            if number + 1 < len(parts):
                features = self.update(number, features, symbols)
        return bits, torch.cat(indices, 1)

    def ends(self) -> list[nn.Module]:
        """Layers that hyperlatents and indices come from: their channels stay."""
        return [self.hyper_encoder[-1], *self.heads]
