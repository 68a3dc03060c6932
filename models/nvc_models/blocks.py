"""Building blocks shared by the codec families.

Two styles: ``conv`` is the paper's (3x3 convolutions), ``separable`` replaces them by pointwise
and depthwise layers for machines without a GPU. All blocks keep a linear path from input to
output, so that a transform can be initialised analytically and refined by training.
Tensors are float (B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

BlockStyle = Literal["conv", "separable"]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size at stride 1 and halves it at stride 2."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)


def conv1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a pointwise convolution."""
    return nn.Conv2d(in_channels, out_channels, 1)


class Joined(nn.Module):
    """A convolution of several tensors as if they were one, without copying them into one.

    Each has a layer of its own and the results are added; ``stride`` is also the kernel size.
    """

    def __init__(self, channels: Sequence[int], out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(n, out_channels, stride, stride=stride, bias=not i)
            for i, n in enumerate(channels)
        )

    def forward(self, *tensors: Tensor) -> Tensor:
        """Map (B, C_i, H, W) to (B, out, H/stride, W/stride)."""
        first, *rest = (layer(x) for layer, x in zip(self.layers, tensors, strict=True))
        y: Tensor = first
        for x in rest:
            y = y + x
        return y


class FixedConv(nn.Conv2d):
    """A convolution by weights that are neither trained nor kept in checkpoints."""

    def __init__(self, weight: Tensor, stride: int = 1) -> None:
        """Take the weights (out, in, height, width)."""
        rows, columns, height, width = weight.shape
        super().__init__(columns, rows, (height, width), stride=stride, bias=False)
        del self.weight
        self.register_buffer("weight", weight.clone(), persistent=False)


class FixedPointwise(FixedConv):
    """A pointwise convolution by a matrix that is neither trained nor kept in checkpoints."""

    def __init__(self, matrix: Tensor) -> None:
        """Take the matrix (out, in)."""
        super().__init__(matrix[:, :, None, None])


def zero_init(conv: nn.Conv2d) -> nn.Conv2d:
    """Set a convolution to zero, so that the branch it ends starts silent."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class ResidualBlock(nn.Module):
    """conv, LeakyReLU, conv, LeakyReLU, plus the input (Tian et al., section 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(channels, channels),
            nn.LeakyReLU(0.01),
            zero_init(conv3x3(channels, channels)),
            nn.LeakyReLU(0.01),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        y: Tensor = x + self.body(x)
        return y


class SeparableBlock(nn.Module):
    """Pointwise, depthwise 3x3, pointwise; then, if ``expansion``, a pointwise pair; residual."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            conv1x1(channels, channels),
            nn.LeakyReLU(0.01),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            zero_init(conv1x1(channels, channels)),
        )
        self.mix: nn.Module = nn.Identity()
        self.expansion = expansion
        if expansion:
            self.mix = nn.Sequential(
                conv1x1(channels, channels * expansion),
                nn.LeakyReLU(0.1),
                zero_init(conv1x1(channels * expansion, channels)),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = x + self.spatial(x)
        return x + self.mix(x) if self.expansion else x


class GatedBlock(nn.Module):
    """Pointwise, depthwise 3x3, pointwise; then two pointwise layers that gate each other.

    The product of the two is the only non-linearity of the second part (Chen et al., "Simple
    Baselines for Image Restoration", ECCV'22): no exponential differs between platforms. The gate
    is bounded: products of products would otherwise grow without limit where the input is unusual.
    """

    MAX_GATE = 4.0

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            conv1x1(channels, channels),
            nn.LeakyReLU(0.01),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            zero_init(conv1x1(channels, channels)),
        )
        self.value, self.gate = conv1x1(channels, channels), conv1x1(channels, channels)
        self.shrink = zero_init(conv1x1(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = x + self.spatial(x)
        y: Tensor = x + self.shrink(
            self.value(x) * self.gate(x).clamp(-self.MAX_GATE, self.MAX_GATE)
        )
        return y


def residual_block(style: BlockStyle, channels: int) -> nn.Module:
    """Return one residual block of the given style."""
    return ResidualBlock(channels) if style == "conv" else SeparableBlock(channels)


class Down(nn.Module):
    """Halve the resolution: a linear shortcut plus a non-linear branch.

    ``conv``: the paper's block (stride-2 conv, LeakyReLU, conv, LeakyReLU 0.1) with a 1x1
    stride-2 shortcut. ``separable``: a 2x2 stride-2 convolution, which loses nothing, then a
    separable block unless ``block`` is false.
    """

    def __init__(
        self, in_channels: int, out_channels: int, style: BlockStyle, *, block: bool = True
    ) -> None:
        super().__init__()
        if style == "conv":
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=2)
            self.branch: nn.Module = nn.Sequential(
                conv3x3(in_channels, out_channels, stride=2),
                nn.LeakyReLU(0.01),
                conv3x3(out_channels, out_channels),
                nn.LeakyReLU(0.1),
            )
        else:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 2, stride=2)
            self.branch = SeparableBlock(out_channels) if block else nn.Identity()
        self.style = style

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H/2, W/2)."""
        y: Tensor = self.shortcut(x)
        z: Tensor = self.branch(x if self.style == "conv" else y)
        return y + z if self.style == "conv" else z


class Up(nn.Module):
    """Double the resolution by pixel shuffle: a linear shortcut plus a non-linear branch.

    ``separable``: the shuffle, then a separable block unless ``block`` is false.
    """

    def __init__(
        self, in_channels: int, out_channels: int, style: BlockStyle, *, block: bool = True
    ) -> None:
        super().__init__()
        self.shortcut = conv1x1(in_channels, out_channels * 4)
        self.shuffle = nn.PixelShuffle(2)
        if style == "conv":
            self.expand: nn.Module = conv1x1(in_channels, out_channels * 4)
            self.branch: nn.Module = nn.Sequential(
                nn.LeakyReLU(0.01), conv3x3(out_channels, out_channels), nn.LeakyReLU(0.1)
            )
        else:
            self.expand = nn.Identity()
            self.branch = SeparableBlock(out_channels) if block else nn.Identity()
        self.style = style

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, 2H, 2W)."""
        y: Tensor = self.shuffle(self.shortcut(x))
        is_conv = self.style == "conv"
        z: Tensor = self.branch(self.shuffle(self.expand(x)) if is_conv else y)
        return y + z if is_conv else z


class Fuse(nn.Module):
    """Add to ``x`` what a pointwise layer (``conv`` style: 3x3) makes of ``x`` and a context."""

    def __init__(self, channels: int, context_channels: int, style: BlockStyle) -> None:
        super().__init__()
        make = conv3x3 if style == "conv" else conv1x1
        self.layer = zero_init(make(channels + context_channels, channels))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map (B, C, H, W) and (B, K, H, W) to (B, C, H, W)."""
        y: Tensor = x + self.layer(torch.cat((x, context), 1))
        return y


class UNet(nn.Module):
    """Small U-Net (Tian et al.): widths w, 2w, 4w, two poolings, residual blocks at the bottom."""

    def __init__(self, in_channels: int, out_channels: int, width: int = 32) -> None:
        super().__init__()
        w1, w2, w3 = width, width * 2, width * 4
        self.enter = nn.Sequential(conv3x3(in_channels, w1), nn.LeakyReLU(0.01), ResidualBlock(w1))
        self.middle = nn.Sequential(conv3x3(w1, w2), nn.LeakyReLU(0.01), ResidualBlock(w2))
        self.bottom = nn.Sequential(
            conv3x3(w2, w3), nn.LeakyReLU(0.01), *(ResidualBlock(w3) for _ in range(4))
        )
        self.pool = nn.AvgPool2d(2)
        self.up_middle = nn.Sequential(conv1x1(w3, w2 * 4), nn.PixelShuffle(2))
        self.join_middle = nn.Sequential(conv3x3(w2 * 2, w2), nn.LeakyReLU(0.01), ResidualBlock(w2))
        self.up_exit = nn.Sequential(conv1x1(w2, w1 * 4), nn.PixelShuffle(2))
        self.join_exit = nn.Sequential(conv3x3(w1 * 2, w1), nn.LeakyReLU(0.01), ResidualBlock(w1))
        self.exit = zero_init(conv3x3(w1, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H, W); H and W are multiples of 4."""
        fine = self.enter(x)
        middle = self.middle(self.pool(fine))
        bottom = self.bottom(self.pool(middle))
        middle = self.join_middle(torch.cat((self.up_middle(bottom), middle), 1))
        y: Tensor = self.exit(self.join_exit(torch.cat((self.up_exit(middle), fine), 1)))
        return y
