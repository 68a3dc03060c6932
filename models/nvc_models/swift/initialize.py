"""Analytic start of the swift transforms: principal components of real blocks.

Blocks start silent, so the linear path alone works: an intra model is a block transform with a
truncated orthonormal basis, an inter model codes the difference to its prediction with one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.blocks import zero_init
from nvc_models.linear_start import (
    principal_axes,
    principal_pair,
    set_identity,
    set_matrix,
    start_scales,
)
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
    width, analysis, synthesis = model.config.width, model.analysis, model.synthesis
    axes = principal_axes(blocks * weights[:, None, None], CHANNELS)
    forward, backward = axes * weights, (axes / weights).T
    used = width + model.config.bypass
    _set_rows(analysis.stem, forward)
    if analysis.fine is not None:
        _set_rows(analysis.fine, forward[width:])
    columns = list(range(width))
    columns += range(model.config.encoder_width, model.config.encoder_width + used - width)
    if isinstance(model, InterModel):
        _start_differences(model, forward, backward)
    else:
        set_matrix(model.head.last, torch.zeros(CHANNELS, used))
        model.head.last.weight.data[:, :CHANNELS, 0, 0] = backward[:, :used]
    features = F.conv2d(blocks, forward[:used, :, None, None])
    return principal_pair(features, analysis.down, synthesis.up[0], columns)


def _start_differences(model: InterModel, forward: Tensor, backward: Tensor) -> None:
    """Make both ends work on differences to the prediction."""
    analysis, head, width = model.analysis, model.head, model.config.width
    set_matrix(model.transform, forward)
    for join, factors in (
        (analysis.join, {0: 1.0, model.config.encoder_width + width: -1.0}),
        (model.synthesis.join, {0: 1.0}),
    ):
        set_identity(join, factors)
    if analysis.fine is not None:
        rows = torch.arange(analysis.fine.out_channels)
        analysis.fine.weight.data[rows, CHANNELS + width + rows] = -1.0
    zero_init(head.keep)
    assert head.keep.bias is not None
    nn.init.constant_(head.keep.bias, START_KEEP)
    used = width + model.config.bypass
    set_matrix(head.last, torch.cat((backward, backward[:, :used]), 1))


def _set_rows(conv: nn.Conv2d, matrix: Tensor) -> None:
    """Make a pointwise convolution the first rows of a matrix, and zeros where that has none."""
    rows = min(conv.out_channels, matrix.shape[0])
    set_matrix(conv, torch.zeros(conv.out_channels, conv.in_channels))
    conv.weight.data[:rows, : matrix.shape[1], 0, 0] = matrix[:rows]


def _weights(like: Tensor) -> Tensor:
    """Root of the error in RGB that a unit of error makes in each sample of a block, (96,)."""
    shares = torch.full((CHANNELS,), 3.0, device=like.device)
    for number, weight in enumerate((BLUE, RED)):
        to_colour = 2.0 * (1.0 - weight)
        squares = to_colour**2 * (1.0 + (weight / GREEN) ** 2)
        first = LUMA + number * (CHANNELS - LUMA) // 2
        shares[first : first + (CHANNELS - LUMA) // 2] = 4.0 * squares
    return shares.sqrt()
