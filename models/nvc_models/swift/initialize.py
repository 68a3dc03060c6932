"""Analytic start of the swift transforms: principal components of real blocks, and a DCT.

Blocks start silent, so the linear path alone works: an intra model is a block transform with a
truncated orthonormal basis, an inter model codes the difference to its prediction with one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.linear_start import (
    principal_axes,
    set_matrix,
    start_ordered_scales,
    start_scales,
)
from nvc_models.swift.codec import InterModel, IntraModel, part_sizes
from nvc_models.swift.dct import dct
from nvc_models.swift.planes import (
    BLOCK,
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


@torch.no_grad()
def initialize_intra(model: IntraModel, frames: Tensor) -> None:
    """Start an intra model from frames (N, 3, H, W) in [0, 1]."""
    y = _start_intra_transform(model, blocks_from_planes(*planes_from_rgb(frames)))
    start_scales(model.latent, y * model.encode_gain(y.new_tensor([MIDDLE_QUALITY])))


@torch.no_grad()
def initialize_inter(model: InterModel, frames: Tensor, references: Tensor) -> None:
    """Start an inter model from frames and their predecessors, (N, 3, H, W) in [0, 1]."""
    luma, chroma = planes_from_rgb(references)
    middle = luma.new_tensor([MIDDLE_QUALITY])
    motion = model.find_motion(frames, luma, model.search_step(middle))
    blocks = blocks_from_planes(*planes_from_rgb(frames))
    y = _start_inter_transform(model, blocks - model.move(luma, chroma, motion)[1])
    start_ordered_scales(model.latent, y * model.encode_gain(middle))
    arranged = model.motion.arrange(motion)
    start_ordered_scales(model.motion, arranged - F.avg_pool2d(arranged, 3, 1, 1))


def _start_intra_transform(model: IntraModel, blocks: Tensor) -> Tensor:
    """Make the linear path principal components of blocks (B, 96, H/8, W/8), then of four blocks.

    Axes are those of the error in RGB, which the loss measures. Returns the latent.
    """
    weights, parts = _weights(blocks), part_sizes(model.config.width)
    axes = principal_axes(blocks * weights[:, None, None], CHANNELS)
    forward, backward = axes * weights, (axes / weights).T
    set_matrix(model.analysis.stem, forward)
    _set_matrices(model.analysis.fine, torch.split(forward, parts)[1:])
    _set_matrices(model.synthesis.last.layers, torch.split(backward, parts, 1))
    coefficients = F.conv2d(blocks, forward[:, :, None, None])
    pairs = principal_axes(F.pixel_unshuffle(coefficients, 2), model.config.latent)
    return _start_strides(model, pairs, coefficients)


def _start_inter_transform(model: InterModel, blocks: Tensor) -> Tensor:
    """Make the transform a DCT of each plane of a block, coefficients of most energy first.

    What motion compensation leaves is sparse and local: principal components, which are spread out,
    take three times as many coefficients for it. Returns the latent.
    """
    weights = _weights(blocks)
    luma, chroma = dct(BLOCK), dct(BLOCK // 2)
    axes = blocks.new_zeros(CHANNELS, CHANNELS)
    for first, rows in ((0, luma), (LUMA, chroma), (LUMA + len(chroma), chroma)):
        axes[first : first + len(rows), first : first + len(rows)] = rows
    energy = F.conv2d(blocks, (axes * weights)[:, :, None, None]).square().mean((0, 2, 3))
    axes = axes[energy.argsort(descending=True)]
    forward, backward = axes * weights, (axes / weights).T
    set_matrix(model.context.transform, forward)
    there, back = model.analysis.transform.weight.data, model.synthesis.transform.weight.data
    there.zero_()
    back.zero_()
    for channel, (coefficient, row, column) in enumerate(model.config.channels()):
        there[channel, :, row, column] = forward[coefficient]
        back[2 * row + column :: 4, channel, 0, 0] = backward[:, coefficient]
    return F.conv2d(blocks, there, stride=2)


def _start_strides(model: IntraModel, rows: Tensor, coefficients: Tensor) -> Tensor:
    """Make the way to 1/16 and back a matrix and its transpose, for (B, 96, H/8, W/8).

    ``rows`` (K, 384) act on four positions each, as ``pixel_unshuffle`` puts them. Returns the
    latent.
    """
    analysis, synthesis = model.analysis, model.synthesis
    parts = part_sizes(model.config.width)
    kernels = rows.reshape(len(rows), CHANNELS, 2, 2)
    for down, kernel in zip(analysis.down.layers, torch.split(kernels, parts, 1), strict=True):
        assert isinstance(down, nn.Conv2d)
        down.weight.data.zero_()
        down.weight.data[: len(rows), : kernel.shape[1]] = kernel
        if down.bias is not None:
            nn.init.zeros_(down.bias)
    ups = [next(up.children()) for up in synthesis.up]
    _set_matrices(ups, torch.split(rows.T, [4 * part for part in parts]))
    return F.conv2d(coefficients, kernels, stride=2)


def _set_matrices(layers: Iterable[nn.Module], matrices: Sequence[Tensor]) -> None:
    """Make pointwise convolutions plain matrices, and zeros those that have none."""
    for i, layer in enumerate(layers):
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
