"""Building blocks: sizes, linear paths, silent branches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nvc_models.blocks import (
    BlockStyle,
    Down,
    Fuse,
    ResidualBlock,
    SeparableBlock,
    UNet,
    Up,
    residual_block,
)

STYLES: tuple[BlockStyle, ...] = ("conv", "separable")


def picture(channels: int, height: int = 8, width: int = 12) -> Tensor:
    return torch.randn(2, channels, height, width)


def disturb(module: nn.Module) -> None:
    """Give every weight a random value, so that no branch is silent."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3)


@pytest.mark.parametrize("style", STYLES)
def test_residual_block_starts_as_identity(style: BlockStyle) -> None:
    x = picture(6)
    assert torch.equal(residual_block(style, 6)(x), x)


@pytest.mark.parametrize("style", STYLES)
def test_residual_block_is_not_linear_once_trained(style: BlockStyle) -> None:
    block, x = residual_block(style, 6), picture(6)
    disturb(block)
    assert block(x).shape == x.shape
    assert not torch.allclose(block(2 * x) - block(0 * x), 2 * (block(x) - block(0 * x)), rtol=1e-2)


def test_residual_block_is_the_papers_formula() -> None:
    block, x = ResidualBlock(3), picture(3)
    disturb(block)
    first, _, second, _ = block.body
    leaky = nn.LeakyReLU(0.01)
    assert torch.equal(block(x), x + leaky(second(leaky(first(x)))))


def test_separable_block_without_expansion_has_no_second_branch() -> None:
    with_pair = sum(p.numel() for p in SeparableBlock(4).parameters())
    without = sum(p.numel() for p in SeparableBlock(4, expansion=0).parameters())
    assert with_pair - without == (4 * 8 + 8) + (8 * 4 + 4)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("block", [True, False])
def test_down_and_up_change_the_size_by_two(style: BlockStyle, block: bool) -> None:
    x = picture(3)
    small = Down(3, 5, style, block=block)(x)
    assert small.shape == (2, 5, 4, 6)
    assert Up(5, 3, style, block=block)(small).shape == x.shape


def test_separable_down_then_up_can_be_lossless() -> None:
    down, up, x = Down(3, 12, "separable"), Up(12, 3, "separable"), picture(3)
    with torch.no_grad():
        for layer in (down.shortcut, up.shortcut):
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            layer.bias.zero_()
        down.shortcut.weight.copy_(torch.eye(12).reshape(12, 3, 2, 2))
        up.shortcut.weight.copy_(torch.eye(12)[:, :, None, None])
        assert torch.equal(up(down(x)), x)


@pytest.mark.parametrize("style", STYLES)
def test_fuse_starts_as_its_first_input_and_then_uses_the_context(style: BlockStyle) -> None:
    fuse, x, context = Fuse(4, 3, style), picture(4), picture(3)
    assert torch.equal(fuse(x, context), x)
    disturb(fuse)
    assert not torch.allclose(fuse(x, context), fuse(x, context + 1))


def test_unet_keeps_the_size_and_starts_silent() -> None:
    unet, x = UNet(3, 5, 2), picture(3, 16, 24)
    assert torch.equal(unet(x), torch.zeros(2, 5, 16, 24))
    disturb(unet)
    assert unet(x).abs().max() > 0


def test_unet_sees_further_than_its_kernels() -> None:
    unet, x = UNet(1, 1, 2), torch.zeros(1, 1, 48, 48)
    disturb(unet)
    x[..., 24, 24] = 1.0
    with torch.no_grad():
        touched = (unet(x) - unet(torch.zeros_like(x))).abs()[0, 0].amax(0).nonzero()
    assert touched.max() - touched.min() > 20
