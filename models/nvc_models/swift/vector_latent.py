"""Entropy model of motion vectors: whole numbers, foretold by whole numbers.

A vector that is off by an eighth of a pixel blurs what it moves, so vectors are coded as the search
found them, in quarter pixels, and what is foretold of them is rounded. A rounding must be the same
on every platform: the networks, which are not, only tell scales, as everywhere. Vectors are
foretold from vectors by sums with weights in 64ths, which float32 holds without an error in any
order of summation.

Vectors are coded at 1/32, four positions of 1/16 in one, in parts: those of one position, of that
opposite to it, of the other two, which have neighbours known on all sides; then how the vectors of
8x8 blocks differ from those, horizontally and vertically; last, what :mod:`nvc_models.swift.bands`
keeps of what they move.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import FixedPointwise
from nvc_models.latent import Quantized, Rounding, round_through
from nvc_models.ordered_latent import OrderedLatentConfig, OrderedLatentModel, magnitudes
from nvc_models.swift.motion import VECTORS

VECTOR_STRIDE = 32
MOTION = VECTORS + 1
"""Of each position at 1/16: the coefficients of vectors, and the choice of bands."""
MOTION_CHANNELS = 4 * MOTION
"""Of all vectors and choices in a position at 1/32."""
COMPONENTS = 2
PARTS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((0, 0), (1, 0)),
    ((0, 3), (1, 3)),
    ((0, 1), (1, 1), (0, 2), (1, 2)),
    tuple((c, place) for c in (2, 4, 6) for place in range(4)),
    tuple((c, place) for c in (3, 5, 7) for place in range(4)),
    tuple((VECTORS, place) for place in range(4)),
)
"""Coefficient of :class:`nvc_models.swift.motion.VectorTransform` and place of every channel.

The choice of bands comes after the coefficients.
"""
SIZES = tuple(len(part) for part in PARTS)
BETWEEN = (1, 2)
"""Parts that lie between positions of the parts before."""
WHOLE = 64.0
"""Weights are multiples of one in so many."""
MAX_EXPECTED = 4096.0
"""In quarter pixels. No search gets there; a hostile stream could, and on to beyond float32."""


@dataclass
class CodedVectors(Quantized):
    """Result of coding vectors: ``y_hat`` are the vectors; both (B, 36, H/32, W/32)."""

    symbols: Tensor


class WholeNumbers(nn.Conv2d):
    """A 3x3 convolution of whole and half numbers, rounded to whole ones, without an error.

    Sums are multiples of 1/128. Halves go up, and 1/256 keeps all sums away from where that
    changes, so that what a fast convolution's transforms lose does no harm.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.weight)

    def start_as(self, channels: Iterable[int]) -> None:
        """Give each output the value of an input channel."""
        for out, channel in enumerate(channels):
            self.weight.data[out, channel, 1, 1] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W), multiples of 1/2, to whole numbers (B, out, H, W)."""
        weight = round_through(self.weight * WHOLE) / WHOLE
        exact = F.conv2d(x, weight, padding=1)
        return exact + (torch.floor(exact + (0.5 + 0.25 / WHOLE)) - exact).detach()


class VectorLatentModel(OrderedLatentModel):
    """Turns vectors into symbols with scales, and back."""

    def __init__(self, hyper_channels: int, width: int) -> None:
        super().__init__(
            OrderedLatentConfig(
                MOTION_CHANNELS, hyper_channels, SIZES, (MOTION_CHANNELS,), width, halvings=1
            )
        )
        order = torch.tensor([4 * c + place for part in PARTS for c, place in part])
        there = torch.eye(MOTION_CHANNELS)[order]
        self.there, self.back = FixedPointwise(there), FixedPointwise(there.T)
        self.predictors = nn.ModuleList()
        known = MOTION_CHANNELS
        for number, size in enumerate(SIZES):
            guesses = 2 * size if number in BETWEEN else 0
            predictor = WholeNumbers(known + guesses, size)
            self.predictors.append(predictor)
            if number == 0:
                predictor.start_as(range(size))
            elif guesses:
                predictor.start_as(range(known, known + size))
            known += size

    def arrange(self, coefficients: Tensor) -> Tensor:
        """Put coefficients and choices (B, 9, H/16, W/16) in coding order, (B, 36, H/32, W/32)."""
        y: Tensor = self.there(F.pixel_unshuffle(coefficients, 2))
        return y

    def rearrange(self, vectors: Tensor) -> Tensor:
        """Inverse of :meth:`arrange`."""
        return F.pixel_shuffle(self.back(vectors), 2)

    def hyper_difference(self, vectors: Tensor, before: Tensor) -> Tensor:
        """Hyperlatent (B, N, H/64, W/64) of arranged vectors and those before, not yet rounded."""
        return self.hyper_analysis(vectors - before)

    def start_vectors(self, z: Tensor, before: Tensor, symbols_before: Tensor) -> Tensor:
        """Features (B, width, H/32, W/32) of the rounded hyperlatent and of the frame before.

        ``before``: its arranged vectors; ``symbols_before``: their symbols.
        """
        smooth = F.avg_pool2d(before, 3, 1, 1, count_include_pad=False)
        return self.start(z, symbols_before, magnitudes(before - smooth))

    def expected(self, number: int, before: Tensor, known: Sequence[Tensor]) -> Tensor:
        """Whole numbers (B, C_part, H/32, W/32) that part ``number`` is foretold by.

        ``before``: the arranged vectors before; ``known``: the parts of this frame's before it.
        """
        inputs = [before, *known]
        if number in BETWEEN:
            last = [before[:, :COMPONENTS], before[:, COMPONENTS : 2 * COMPONENTS]]
            inputs += [_between(known), _between(last[:number])]
        with torch.autocast(before.device.type, enabled=False):
            foretold: Tensor = self.predictors[number](torch.cat(inputs, 1))
        return foretold.clamp(-MAX_EXPECTED, MAX_EXPECTED)

    def forward(
        self,
        y: Tensor,
        before: Tensor,
        *priors: Tensor,
        rounding: Rounding,
        skip_level: int = -1,
    ) -> CodedVectors:
        """Code arranged vectors ``y`` (B, 36, H/32, W/32) as a codec would, with gradients.

        ``before``: symbols of the frame before; one prior: its arranged vectors. ``rounding`` and
        ``skip_level``: see :meth:`nvc_models.latent.LatentCoding.forward`.
        """
        (vectors_before,) = priors
        z = self.hyper_difference(y, vectors_before)
        z_hat, z_rate = self.round_hyper(z, rounding)
        known: list[Tensor] = []
        coded: list[Tensor] = []

        def code(part: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            foretold = self.expected(len(known), vectors_before, known)
            symbols, bits = self.quantize(part - foretold, None, index, rounding, skip_level)
            known.append((symbols + foretold).detach())
            coded.append(symbols.detach())
            return coded[-1], bits

        features = self.start_vectors(z_hat, vectors_before, before)
        bits, index = self.code_parts(y, features, code)
        return CodedVectors(
            y_hat=torch.cat(known, 1),
            bits=bits,
            hyper_bits=self.factorized.bits(z_rate).sum((1, 2, 3)),
            index=index,
            symbols=torch.cat(coded, 1),
        )


def _between(known: Sequence[Tensor]) -> Tensor:
    """Median-like guess at what lies between: the middle two of four neighbours, averaged.

    Of one part that opposite to it, of two parts the other places.
    """
    first = known[0]
    if len(known) == 1:
        right = _shift(first, 0, 1)
        return _middle(first, right, _shift(first, 1, 0), _shift(right, 1, 0))
    second = known[1]
    beside = _middle(first, _shift(first, 0, 1), _shift(second, -1, 0), second)
    below = _middle(first, _shift(first, 1, 0), _shift(second, 0, -1), second)
    return torch.cat((beside, below), 1)


def _middle(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Half the sum of four without the largest and the smallest."""
    high = torch.maximum(torch.minimum(a, b), torch.minimum(c, d))
    low = torch.minimum(torch.maximum(a, b), torch.maximum(c, d))
    return (high + low) * 0.5


def _shift(x: Tensor, down: int, right: int) -> Tensor:
    """Return (B, C, H, W) such that each position has what lies a step away; edges repeat."""
    if down:
        line = x[:, :, -1:] if down > 0 else x[:, :, :1]
        x = torch.cat((x[:, :, 1:], line) if down > 0 else (line, x[:, :, :-1]), 2)
    if right:
        line = x[..., -1:] if right > 0 else x[..., :1]
        x = torch.cat((x[..., 1:], line) if right > 0 else (line, x[..., :-1]), 3)
    return x
