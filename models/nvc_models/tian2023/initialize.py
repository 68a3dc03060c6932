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

from nvc_models.blocks import Down, Up
from nvc_models.latent import INDEX_CENTRE, INDEX_GAIN, LEVELS, LatentModel
from nvc_models.tian2023.codec import Tian2023
from nvc_models.tian2023.inter import InterModel
from nvc_models.tian2023.intra import IntraModel
from nvc_models.tian2023.motion import MotionCodec
from nvc_models.tian2023.transform import Analysis, Synthesis

MIDDLE_QUALITY = 32.0
"""Scales start where the symbols of this quality are."""

QUIET_HYPERLATENT = 0.2
"""Hyperlatents start small: they cost little until training finds a use for them."""


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
    quiet = latent.hyper_encoder[-1]
    assert isinstance(quiet, nn.Conv2d)
    quiet.weight.data *= QUIET_HYPERLATENT


def _start_transforms(analysis: Analysis, synthesis: Synthesis, x: Tensor) -> Tensor:
    """Set both transforms to the principal axes of their input ``x``; return its latent."""
    _identity(analysis.stem, {0: 1.0})
    _identity(synthesis.last, {0: 1.0})
    x = analysis.stem(x)
    for stage, mirror in zip(analysis.stages, reversed(synthesis.stages), strict=True):
        x = _principal_pair(x, _shortcut(stage, 0), _shortcut(mirror, -1))
    return _principal_pair(x, analysis.last, _shortcut(synthesis.first, -1))


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
    _start_scales(model.latent, x * model.encode_gain(x.new_tensor([MIDDLE_QUALITY])))


def _principal_axes(x: Tensor, count: int) -> Tensor:
    """First principal axes of the channels of ``x`` (N, C, h, w), as rows (count, C)."""
    flat = x.transpose(0, 1).flatten(1).double()
    _, vectors = torch.linalg.eigh(flat @ flat.T / flat.shape[1])
    axes: Tensor = vectors.flip(1).T[:count].float()
    return axes


def _set_matrix(conv: nn.Module, matrix: Tensor) -> None:
    """Make a pointwise convolution a plain matrix (out, in)."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    conv.weight.data[:, :, 0, 0] = matrix


@torch.no_grad()
def initialize_inter(model: InterModel, frames: Tensor, references: Tensor) -> None:
    """Start an inter model from frames and their predecessors, (N, 3, H, W) in [0, 1].

    Features hold the principal components of the frame's pixel blocks, as many as they have
    channels; the latent holds those of the difference to the motion-compensated reference.
    """
    encoder, decoder, context = model.encoder, model.decoder, model.context
    pixels = 3 * model.config.stem_stride**2
    _identity(encoder.stem, {0: 1.0, pixels: -1.0})
    _identity(encoder.tail[-1], {0: 1.0})
    _identity(decoder.head[0], {0: 1.0})
    axes = _principal_axes(encoder.unshuffle(references), model.config.widths[0])
    _set_matrix(model.adapt[1], axes)
    _set_matrix(decoder.last, axes.T)
    flow = model.estimate_flow(frames, references)
    difference = encoder.unshuffle(frames - context.predict(references, flow))
    x = _principal_pair(difference, encoder.down_2.shortcut, wide := _reverse_layer(encoder.down_2))
    expanded = wide.weight.data[:, :, 0, 0].reshape(pixels, 4, -1)
    narrow = torch.einsum("kp,pql->kql", axes, expanded)
    _set_matrix(decoder.up_2.shortcut, narrow.reshape(-1, narrow.shape[-1]))
    x = _principal_pair(x, encoder.down_3.shortcut, decoder.up_3.shortcut)
    _start_scales(model.latent, x * model.encode_gain(x.new_tensor([MIDDLE_QUALITY])))
    feature = model.adapt(references)
    feature = _principal_pair(feature, context.down_2.shortcut, context.up_2.shortcut)
    _principal_pair(feature, context.down_3.shortcut, context.up_3.shortcut)


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
    _start_scales(model.latent, x * model.encode_gain(x.new_tensor([MIDDLE_QUALITY])))


def supports_analytic_start(model: Tian2023) -> bool:
    """Whether the linear path exists: ``separable`` style with features at 1/4."""
    return (
        model.config.intra.style == "separable"
        and model.config.inter.style == "separable"
        and model.config.intra.stem_stride == 4
        and model.config.inter.stem_stride == 4
    )
