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
    prediction = predict(luma, chroma, vectors)
    y = _start_transform(model, blocks_from_planes(*planes_from_rgb(frames)) - prediction)
    width, encoder_width = model.config.width, model.config.encoder_width
    stem, last = model.analysis.stem, model.head.last
    set_matrix(model.adapt, stem.weight[:width, :, 0, 0])
    last.weight.data[:, width:, 0, 0] = torch.eye(CHANNELS)
    for join, start, sign in (
        (model.analysis.join, encoder_width, -1.0),
        (model.synthesis.join, width, 0.0),
    ):
        assert isinstance(join, nn.Conv2d)
        set_identity(join, {0: 1.0, start: sign})
    zero_init(model.head.keep)
    assert model.head.keep.bias is not None
    nn.init.constant_(model.head.keep.bias, START_KEEP)
    start_scales(model.latent, y * model.encode_gain(middle))
    start_scales(model.motion, model.vectors(vectors) * model.motion_encode_gain(middle))


def _start_transform(model: IntraModel | InterModel, blocks: Tensor) -> Tensor:
    """Make the linear path a transform of blocks (B, 96, H/8, W/8); returns their latent.

    Axes are those of the error in RGB, which the loss measures.
    """
    weights = _weights(blocks)
    config, head, analysis = model.config, model.head, model.analysis
    axes = principal_axes(blocks * weights[:, None, None], config.encoder_width)
    set_matrix(analysis.stem, torch.zeros(config.encoder_width, CHANNELS))
    analysis.stem.weight.data[: len(axes), :, 0, 0] = axes * weights
    used = axes[: config.width]
    nn.init.zeros_(head.last.weight)
    assert head.last.bias is not None
    nn.init.zeros_(head.last.bias)
    head.last.weight.data[:, : len(used), 0, 0] = (used / weights).T
    features = F.conv2d(blocks, (used * weights)[:, :, None, None])
    return principal_pair(features, analysis.down, model.synthesis.up[0])


def _weights(like: Tensor) -> Tensor:
    """Root of the error in RGB that a unit of error makes in each sample of a block, (96,)."""
    shares = torch.full((CHANNELS,), 3.0, device=like.device)
    for number, weight in enumerate((BLUE, RED)):
        to_colour = 2.0 * (1.0 - weight)
        squares = to_colour**2 * (1.0 + (weight / GREEN) ** 2)
        first = LUMA + number * (CHANNELS - LUMA) // 2
        shares[first : first + (CHANNELS - LUMA) // 2] = 4.0 * squares
    return shares.sqrt()
