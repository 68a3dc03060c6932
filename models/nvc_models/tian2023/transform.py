"""Analysis and synthesis transforms between a picture and its latent at 1/16."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from nvc_models.blocks import BlockStyle, Down, Up, conv1x1, conv3x3, residual_block


class Analysis(nn.Module):
    """Stride-2 stages with residual blocks (Tian et al., "autoencoder").

    ``widths``: channels after each stage but the last; the input is unshuffled by ``stem_stride``
    first. With stem_stride 1 and four stages the input is (B, in, H, W), the latent at 1/16.
    """

    def __init__(
        self, in_channels: int, widths: tuple[int, ...], latent: int, style: BlockStyle, blocks: int
    ) -> None:
        super().__init__()
        first = conv1x1 if style == "separable" else conv3x3
        self.stem = first(in_channels, widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(Down(a, b, style), *(residual_block(style, b) for _ in range(blocks)))
            for a, b in pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], latent, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, latent, H / 2**n, W / 2**n), n = len(widths)."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        latent: Tensor = self.last(x)
        return latent


class Synthesis(nn.Module):
    """Mirror of :class:`Analysis`: pixel-shuffle ups with residual blocks."""

    def __init__(
        self,
        out_channels: int,
        widths: tuple[int, ...],
        latent: int,
        style: BlockStyle,
        blocks: int,
    ) -> None:
        super().__init__()
        reverse = tuple(reversed(widths))
        self.first = nn.Sequential(
            *(residual_block(style, latent) for _ in range(blocks)), Up(latent, reverse[0], style)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(residual_block(style, a) for _ in range(blocks)), Up(a, b, style))
            for a, b in pairwise(reverse)
        )
        self.tail = nn.Sequential(*(residual_block(style, widths[0]) for _ in range(blocks)))
        last = conv1x1 if style == "separable" else conv3x3
        self.last = last(widths[0], out_channels)

    def forward(self, y: Tensor) -> Tensor:
        """Map (B, latent, h, w) to (B, out, h * 2**n, w * 2**n), n = len(widths)."""
        y = self.first(y)
        for stage in self.stages:
            y = stage(y)
        picture: Tensor = self.last(self.tail(y))
        return picture
