"""Analytic start of the ``separable`` transforms: principal components of real blocks.

Every block keeps a linear path (see :mod:`nvc_models.blocks`) and starts with silent branches, so
a codec initialised here already is a block transform with a truncated orthonormal basis; an inter
model codes the difference to the motion-compensated reference with such a transform. Training
starts from there instead of from noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.latent import INDEX_CENTRE, INDEX_GAIN, LEVELS, LatentModel
from nvc_models.tian2023.codec import Tian2023
from nvc_models.tian2023.inter import InterModel
from nvc_models.tian2023.intra import IntraModel
from nvc_models.tian2023.motion import MotionCodec


def _identity(conv: nn.Module, columns: dict[int, float]) -> None:
    """Make a pointwise convolution copy channel blocks: start column -> factor."""
    assert isinstance(conv, nn.Conv2d)
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    for start, factor in columns.items():
        for i in range(min(conv.out_channels, conv.in_channels - start)):
            conv.weight.data[i, start + i] = factor


def _principal_pair(x: Tensor, down: nn.Module, up: nn.Module) -> Tensor:
    """Set a 2x2 stride-2 convolution to the principal axes of ``x``, ``up`` to their transpose."""
    assert isinstance(down, nn.Conv2d)
    assert isinstance(up, nn.Conv2d)
    blocks = F.pixel_unshuffle(x, 2)
    flat = blocks.transpose(0, 1).flatten(1).double()
    covariance = flat @ flat.T / flat.shape[1]
    _, vectors = torch.linalg.eigh(covariance)
    axes = vectors.flip(1).T[: down.out_channels].float()
    rows = axes.shape[0]
    nn.init.zeros_(down.weight)
    nn.init.zeros_(up.weight)
    for conv in (down, up):
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
    down.weight.data[:rows] = axes.reshape(rows, down.in_channels, 2, 2)
    up.weight.data[:, :rows, 0, 0] = axes.T
    return F.conv2d(x, down.weight, down.bias, stride=2)


def _start_scales(latent: LatentModel, y: Tensor) -> None:
    """Set the bias of the scale index from the standard deviation of each channel of ``y``."""
    sigma = y.transpose(0, 1).flatten(1).std(1).clamp(LEVELS.sigma_min, LEVELS.sigma_max)
    index = (torch.log(sigma) - math.log(LEVELS.sigma_min)) / LEVELS.step
    last = latent.fusion[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    c = latent.config.channels
    last.bias.data[c : 2 * c] = (index - INDEX_CENTRE) / INDEX_GAIN


@torch.no_grad()
def initialize_intra(model: IntraModel, frames: Tensor) -> None:
    """Start an intra model from frames (N, 3, H, W) in [0, 1]."""
    analysis, synthesis = model.analysis, model.synthesis
    _identity(analysis.stem, {0: 1.0})
    _identity(synthesis.last, {0: 1.0})
    x = analysis.stem(model.unshuffle(frames) - 0.5)
    ups = [stage[-1] for stage in reversed(synthesis.stages)]
    for stage, up in zip(analysis.stages, ups, strict=True):
        x = _principal_pair(x, stage[0].shortcut, up.shortcut)
    x = _principal_pair(x, analysis.last, synthesis.first[-1].shortcut)
    _start_scales(model.latent, x * model.encode_gain(torch.tensor([32.0])))


@torch.no_grad()
def initialize_inter(model: InterModel, frames: Tensor, references: Tensor) -> None:
    """Start an inter model from frames and their predecessors, (N, 3, H, W) in [0, 1]."""
    encoder, decoder = model.encoder, model.decoder
    pixels = 3 * model.config.stem_stride**2
    _identity(encoder.stem, {0: 1.0, pixels: -1.0})
    _identity(encoder.tail[-1], {0: 1.0})
    _identity(decoder.head[0], {0: 1.0})
    _identity(decoder.last, {0: 1.0})
    _identity(model.adapt[1], {0: 1.0})
    flow = model.estimate_flow(frames, references)
    difference = frames - model.context.predict(references, flow)
    x = _principal_pair(
        encoder.unshuffle(difference), encoder.down_2.shortcut, decoder.up_2.shortcut
    )
    x = _principal_pair(x, encoder.down_3.shortcut, decoder.up_3.shortcut)
    _start_scales(model.latent, x * model.encode_gain(torch.tensor([32.0])))
    context = model.context
    feature = model.adapt(references)
    feature = _principal_pair(feature, context.down_2.shortcut, context.up_2.shortcut)
    _principal_pair(feature, context.down_3.shortcut, context.up_3.shortcut)


@torch.no_grad()
def initialize_motion(model: MotionCodec, flow: Tensor) -> None:
    """Start a motion codec from estimated flow fields (N, 2, h, w) at 1/motion_stride."""
    analysis, synthesis = model.analysis, model.synthesis
    _identity(analysis.stem, {0: 1.0})
    _identity(synthesis.last, {0: 1.0})
    x = analysis.stem(flow)
    ups = [stage[-1] for stage in reversed(synthesis.stages)]
    for stage, up in zip(analysis.stages, ups, strict=True):
        x = _principal_pair(x, stage[0].shortcut, up.shortcut)
    x = _principal_pair(x, analysis.last, synthesis.first[-1].shortcut)
    _start_scales(model.latent, x * model.encode_gain(torch.tensor([32.0])))


def supports_analytic_start(model: Tian2023) -> bool:
    """Whether the linear path exists: ``separable`` style with features at 1/4."""
    return (
        model.config.intra.style == "separable"
        and model.config.inter.style == "separable"
        and model.config.intra.stem_stride == 4
        and model.config.inter.stem_stride == 4
    )
