"""Analytic start of the swift transforms: principal components of real blocks.

Blocks start silent, so the linear path alone works: an intra model is a block transform with a
truncated orthonormal basis, an inter model codes the difference to the frame before with one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nvc_models.linear_start import (
    principal_axes,
    principal_pair,
    set_identity,
    set_matrix,
    start_scales,
)
from nvc_models.swift.codec import Analysis, InterModel, IntraModel, Synthesis

MIDDLE_QUALITY = 32.0
"""Scales start where the symbols of this quality are."""


def _start_pixels(analysis: Analysis, synthesis: Synthesis, axes: Tensor) -> None:
    set_matrix(analysis.stem, axes)
    set_matrix(synthesis.last, axes.T)


@torch.no_grad()
def initialize_intra(model: IntraModel, frames: Tensor) -> None:
    """Start an intra model from frames (N, 3, H, W) in [0, 1]."""
    pixels = model.analysis.unshuffle(frames) - 0.5
    _start_pixels(model.analysis, model.synthesis, principal_axes(pixels, model.config.width))
    y = principal_pair(model.analysis.stem(pixels), model.analysis.down, model.synthesis.up[0])
    start_scales(model.latent, y * model.encode_gain(y.new_tensor([MIDDLE_QUALITY])))


@torch.no_grad()
def initialize_inter(model: InterModel, frames: Tensor, references: Tensor) -> None:
    """Start an inter model from frames and their predecessors, (N, 3, H, W) in [0, 1]."""
    analysis, synthesis, width = model.analysis, model.synthesis, model.config.width
    axes = principal_axes(analysis.unshuffle(references) - 0.5, width)
    _start_pixels(analysis, synthesis, axes)
    set_matrix(model.adapt[1], axes)
    for join, sign in ((analysis.join, -1.0), (synthesis.join, 1.0)):
        assert isinstance(join, nn.Conv2d)
        set_identity(join, {0: 1.0, width: sign})
    difference = analysis.stem(analysis.unshuffle(frames - references))
    y = principal_pair(difference, analysis.down, synthesis.up[0])
    start_scales(model.latent, y * model.encode_gain(y.new_tensor([MIDDLE_QUALITY])))
