"""Analytic start of the ``separable`` transforms: principal components of real blocks.

Every block keeps a linear path (see :mod:`nvc_models.blocks`) and starts with silent branches, so
a codec initialised here already is a block transform with a truncated orthonormal basis; an inter
model codes the difference to the motion-compensated reference with such a transform. Training
starts from there instead of from noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nvc_models.blocks import Down, Up
from nvc_models.linear_start import (
    principal_axes,
    principal_pair,
    set_identity,
    set_matrix,
    start_scales,
)
from nvc_models.tian2023.codec import Tian2023
from nvc_models.tian2023.inter import InterModel
from nvc_models.tian2023.intra import IntraModel
from nvc_models.tian2023.motion import MotionCodec
from nvc_models.tian2023.transform import Analysis, Synthesis

MIDDLE_QUALITY = 32.0
"""Scales start where the symbols of this quality are."""


def _start_transforms(analysis: Analysis, synthesis: Synthesis, x: Tensor) -> Tensor:
    """Set both transforms to the principal axes of their input ``x``; return its latent."""
    set_identity(analysis.stem, {0: 1.0})
    set_identity(synthesis.last, {0: 1.0})
    x = analysis.stem(x)
    for stage, mirror in zip(analysis.stages, reversed(synthesis.stages), strict=True):
        x = principal_pair(x, _shortcut(stage, 0), _shortcut(mirror, -1))
    return principal_pair(x, analysis.last, _shortcut(synthesis.first, -1))


def _shortcut(stage: nn.Module, position: int) -> nn.Module:
    """Return the linear path of the block that changes a stage's resolution."""
    assert isinstance(stage, nn.Sequential)
    block = stage[position]
    assert isinstance(block, Down | Up)
    return block.shortcut


@torch.no_grad()
def initialize_intra(model: IntraModel, frames: Tensor) -> None:
    """Start an intra model from frames (N, 3, H, W) in [0, 1]."""
    x = _start_transforms(model.analysis, model.synthesis, model.unshuffle(frames) - 0.5)
    start_scales(model.latent, x * model.encode_gain(x.new_tensor([MIDDLE_QUALITY])))


@torch.no_grad()
def initialize_inter(model: InterModel, frames: Tensor, references: Tensor) -> None:
    """Start an inter model from frames and their predecessors, (N, 3, H, W) in [0, 1].

    Features hold the principal components of the frame's pixel blocks, as many as they have
    channels; the latent holds those of the difference to the motion-compensated reference.
    """
    encoder, decoder, context = model.encoder, model.decoder, model.context
    pixels = 3 * model.config.stem_stride**2
    set_identity(encoder.stem, {0: 1.0, pixels: -1.0})
    set_identity(encoder.tail[-1], {0: 1.0})
    set_identity(decoder.head[0], {0: 1.0})
    axes = principal_axes(encoder.unshuffle(references), model.config.widths[0])
    set_matrix(model.adapt[1], axes)
    set_matrix(decoder.last, axes.T)
    flow = model.estimate_flow(frames, references)
    difference = encoder.unshuffle(frames - context.predict(references, flow))
    x = principal_pair(difference, encoder.down_2.shortcut, wide := _reverse_layer(encoder.down_2))
    expanded = wide.weight.data[:, :, 0, 0].reshape(pixels, 4, -1)
    narrow = torch.einsum("kp,pql->kql", axes, expanded)
    set_matrix(decoder.up_2.shortcut, narrow.reshape(-1, narrow.shape[-1]))
    x = principal_pair(x, encoder.down_3.shortcut, decoder.up_3.shortcut)
    start_scales(model.latent, x * model.encode_gain(x.new_tensor([MIDDLE_QUALITY])))
    feature = model.adapt(references)
    feature = principal_pair(feature, context.down_2.shortcut, context.up_2.shortcut)
    principal_pair(feature, context.down_3.shortcut, context.up_3.shortcut)


def _reverse_layer(down: Down) -> nn.Conv2d:
    """Return the pointwise layer that would undo a 2x2 stride-2 convolution, to be filled in."""
    shortcut = down.shortcut
    assert isinstance(shortcut, nn.Conv2d)
    device = shortcut.weight.device
    return nn.Conv2d(shortcut.out_channels, shortcut.in_channels * 4, 1, device=device)


@torch.no_grad()
def initialize_motion(model: MotionCodec, flow: Tensor) -> None:
    """Start a motion codec from estimated flow fields (N, 2, h, w) at 1/motion_stride."""
    x = _start_transforms(model.analysis, model.synthesis, flow)
    start_scales(model.latent, x * model.encode_gain(x.new_tensor([MIDDLE_QUALITY])))


def supports_analytic_start(model: Tian2023) -> bool:
    """Whether the linear path exists: ``separable`` style with features at 1/4."""
    return (
        model.config.intra.style == "separable"
        and model.config.inter.style == "separable"
        and model.config.intra.stem_stride == 4
        and model.config.inter.stem_stride == 4
    )
