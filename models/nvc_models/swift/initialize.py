"""Analytic start of the swift transforms: principal components of real blocks.

Blocks start silent, so the linear path alone works: an intra model is a block transform with a
truncated orthonormal basis, an inter model codes the difference to its prediction with one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import Joined, zero_init
from nvc_models.linear_start import principal_axes, set_matrix, start_scales
from nvc_models.swift.codec import InterModel, IntraModel
from nvc_models.swift.motion import predict
from nvc_models.swift.planes import (
    BLUE,
    CHANNELS,
    GREEN,
    LUMA,
    RED,
    blocks_from_planes,
    planes_from_rgb,
)

MIDDLE_QUALITY = 32.0
"""Scales start where the symbols of this quality are."""
START_KEEP = 0.95
"""Share of the prediction that stays at first: inside its bounds, so that it has a gradient."""


@torch.no_grad()
def initialize_intra(model: IntraModel, frames: Tensor) -> None:
    """Start an intra model from frames (N, 3, H, W) in [0, 1]."""
    y = _start_transform(model, blocks_from_planes(*planes_from_rgb(frames)))
    start_scales(model.latent, y * model.encode_gain(y.new_tensor([MIDDLE_QUALITY])))


@torch.no_grad()
def initialize_inter(model: InterModel, frames: Tensor, references: Tensor) -> None:
    """Start an inter model from frames and their predecessors, (N, 3, H, W) in [0, 1]."""
    luma, chroma = planes_from_rgb(references)
    middle = luma.new_tensor([MIDDLE_QUALITY])
    vectors = model.search(frames, luma, model.bit_cost(middle))
    blocks, prediction = blocks_from_planes(*planes_from_rgb(frames)), predict(luma, chroma, vectors)
    y = _start_transform(model, blocks - prediction)
    start_scales(model.latent, y * model.encode_gain(middle))
    start_scales(model.motion, model.vectors(vectors) * model.motion_encode_gain(middle))


def _start_transform(model: IntraModel | InterModel, blocks: Tensor) -> Tensor:
    """Make the linear path a transform of blocks (B, 96, H/8, W/8); returns their latent.

    Axes are those of the error in RGB, which the loss measures.
    """
    weights = _weights(blocks)
    analysis, synthesis, coarse = model.analysis, model.synthesis, model.config.width
    axes = principal_axes(blocks * weights[:, None, None], CHANNELS)
    forward, backward = axes * weights, (axes / weights).T
    set_matrix(analysis.stem, forward)
    for layer in analysis.fine:
        _set_layers(layer, [forward[coarse:]])
    if isinstance(model, InterModel):
        _start_differences(model, forward, backward)
    else:
        _set_layers(model.head.last, backward.split(coarse, 1))
    coefficients = F.conv2d(blocks, forward[:, :, None, None])
    pairs = principal_axes(F.pixel_unshuffle(coefficients, 2), model.config.latent)
    kernels = pairs.reshape(len(pairs), CHANNELS, 2, 2)
    for down, kernel in zip(analysis.down.layers, kernels.split(coarse, 1), strict=True):
        down.weight.data.zero_()
        down.weight.data[: len(pairs), : kernel.shape[1]] = kernel
    nn.init.zeros_(analysis.down.layers[0].bias)
    ups = [synthesis.up, *synthesis.up_fine]
    for up, rows in zip(ups, pairs.T.split(4 * coarse), strict=True):
        set_matrix(up[0], rows)
    return F.conv2d(coefficients, kernels, stride=2)


def _start_differences(model: InterModel, forward: Tensor, backward: Tensor) -> None:
    """Make both ends work on differences to the prediction."""
    analysis, head, config = model.analysis, model.head, model.config
    coarse, width = config.width, config.encoder_width
    for part, rows in zip(model.prediction.parts, forward.split(coarse), strict=True):
        set_matrix(part, rows)
    context = torch.zeros(width, width)
    minus = -torch.eye(width, CHANNELS)
    assert analysis.join is not None
    assert model.synthesis.join is not None
    _set_layers(analysis.join, [torch.eye(width), context[:, :coarse], *minus.split(coarse, 1)])
    _set_layers(model.synthesis.join, [torch.eye(coarse)])
    for layer in analysis.fine:
        fine = layer.layers[0].out_channels
        _set_layers(layer, [forward[coarse:], torch.zeros(fine, coarse), -torch.eye(fine)])
    for keep in head.keep:
        zero_init(keep)
        nn.init.constant_(keep.bias, START_KEEP)
    _set_layers(head.last, backward.split(coarse, 1) * 2)


def _set_layers(joined: Joined, matrices: Sequence[Tensor]) -> None:
    """Make the layers of a pointwise convolution plain matrices, and zeros those without one."""
    for i, layer in enumerate(joined.layers):
        set_matrix(layer, matrices[i] if i < len(matrices) else torch.zeros(1, 1))


def _weights(like: Tensor) -> Tensor:
    """Root of the error in RGB that a unit of error makes in each sample of a block, (96,)."""
    shares = torch.full((CHANNELS,), 3.0, device=like.device)
    for number, weight in enumerate((BLUE, RED)):
        to_colour = 2.0 * (1.0 - weight)
        squares = to_colour**2 * (1.0 + (weight / GREEN) ** 2)
        first = LUMA + number * (CHANNELS - LUMA) // 2
        shares[first : first + (CHANNELS - LUMA) // 2] = 4.0 * squares
    return shares.sqrt()
