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
from nvc_models.swift.motion import PREDICTED, planes_from_rgb, predict, rgb_matrix

MIDDLE_QUALITY = 32.0
"""Scales start where the symbols of this quality are."""
START_KEEP = 0.95
"""Share of the prediction that stays at first: inside its bounds, so that it has a gradient."""


@torch.no_grad()
def initialize_intra(model: IntraModel, frames: Tensor) -> None:
    """Start an intra model from frames (N, 3, H, W) in [0, 1]."""
    pixels = model.analysis.unshuffle(frames) - 0.5
    axes = principal_axes(pixels, model.config.width)
    set_matrix(model.analysis.stem, axes)
    set_matrix(model.head.last, axes.T)
    y = principal_pair(model.analysis.stem(pixels), model.analysis.down, model.synthesis.up[0])
    start_scales(model.latent, y * model.encode_gain(y.new_tensor([MIDDLE_QUALITY])))


@torch.no_grad()
def initialize_inter(model: InterModel, frames: Tensor, references: Tensor) -> None:
    """Start an inter model from frames and their predecessors, (N, 3, H, W) in [0, 1]."""
    analysis, synthesis, width = model.analysis, model.synthesis, model.config.width
    y_plane, c_plane = planes_from_rgb(references)
    vectors = model.search(frames, y_plane)
    prediction = predict(y_plane, c_plane, vectors)
    rgb = rgb_matrix()
    difference = analysis.unshuffle(frames) - 0.5 - F.conv2d(prediction, rgb[:, :, None, None])
    axes = principal_axes(difference, width)
    set_matrix(analysis.stem, axes)
    set_matrix(model.adapt, axes @ rgb)
    set_matrix(
        model.head.last, torch.cat((torch.linalg.pinv(rgb) @ axes.T, torch.eye(PREDICTED)), 1)
    )
    for join, sign in ((analysis.join, -1.0), (synthesis.join, 0.0)):
        assert isinstance(join, nn.Conv2d)
        set_identity(join, {0: 1.0, width: sign})
    zero_init(model.head.keep)
    assert model.head.keep.bias is not None
    nn.init.constant_(model.head.keep.bias, START_KEEP)
    coded = F.conv2d(difference, axes[:, :, None, None])
    y = principal_pair(coded, analysis.down, synthesis.up[0])
    middle = y.new_tensor([MIDDLE_QUALITY])
    start_scales(model.latent, y * model.encode_gain(middle))
    start_scales(model.motion, vectors * model.motion_encode_gain(middle))
