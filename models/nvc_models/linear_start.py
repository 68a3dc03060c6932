"""Analytic starts of linear layers: principal axes, identities, scales from statistics."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc_models.latent import (
    INDEX_CENTRE,
    INDEX_GAIN,
    LatentCoding,
    LatentModel,
    LatentQuantizer,
)
from nvc_models.lean_latent import LeanLatentModel
from nvc_models.levels import LEVELS
from nvc_models.ordered_latent import OrderedLatentModel

QUIET_HYPERLATENT = 0.2
"""Hyperlatents start small: they cost little until training finds a use for them."""


def set_identity(conv: nn.Module, columns: dict[int, float]) -> None:
    """Make a pointwise convolution copy channel blocks: start column -> factor."""
    assert isinstance(conv, nn.Conv2d)
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    for start, factor in columns.items():
        for i in range(min(conv.out_channels, conv.in_channels - start)):
            conv.weight.data[i, start + i] = factor


def principal_pair(x: Tensor, down: nn.Module, up: nn.Module) -> Tensor:
    """Set a 2x2 stride-2 convolution to the principal axes of ``x``, ``up`` to their transpose.

    If the convolution takes more channels than ``x`` has, the further ones start unused.
    """
    assert isinstance(down, nn.Conv2d)
    assert isinstance(up, nn.Conv2d)
    channels = x.shape[1]
    axes = principal_axes(F.pixel_unshuffle(x, 2), down.out_channels)
    rows = axes.shape[0]
    nn.init.zeros_(down.weight)
    nn.init.zeros_(up.weight)
    for conv in (down, up):
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
    down.weight.data[:rows, :channels] = axes.reshape(rows, channels, 2, 2)
    up.weight.data[:, :rows, 0, 0] = axes.T
    return F.conv2d(x, down.weight[:, :channels], down.bias, stride=2)


def principal_axes(x: Tensor, count: int) -> Tensor:
    """First principal axes of the channels of ``x`` (N, C, h, w), as rows (count, C)."""
    flat = x.transpose(0, 1).flatten(1).double()
    _, vectors = torch.linalg.eigh(flat @ flat.T / flat.shape[1])
    axes: Tensor = vectors.flip(1).T[:count].float()
    return axes


def set_matrix(conv: nn.Module, matrix: Tensor) -> None:
    """Make a pointwise convolution a matrix (out, in); what it has beyond that becomes 0."""
    assert isinstance(conv, nn.Conv2d)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    nn.init.zeros_(conv.weight)
    rows, columns = matrix.shape
    conv.weight.data[:rows, :columns, 0, 0] = matrix[: conv.out_channels]


def start_scales(latent: LatentCoding, y: Tensor) -> None:
    """Set the bias of the scale index from the standard deviation of each channel of ``y``."""
    raw, c = _raw_scales(y), latent.config.channels
    if isinstance(latent, LeanLatentModel):
        low, high = raw.chunk(2)
        for layer, bias in ((latent.scale.base, high), (latent.scale.more, low - high)):
            assert layer.bias is not None
            layer.bias.data = bias
    else:
        assert isinstance(latent, LatentModel)
        last = latent.fusion[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.bias.data[c : 2 * c] = raw
    _quieten(latent)


def start_ordered_scales(latent: OrderedLatentModel, y: Tensor) -> None:
    """As :func:`start_scales`, for a latent in ordered parts."""
    for head, raw in zip(
        latent.heads, torch.split(_raw_scales(y), list(latent.config.parts)), strict=True
    ):
        assert isinstance(head, nn.Conv2d)
        assert head.bias is not None
        head.bias.data = raw.clone()
    _quieten(latent)


def _raw_scales(y: Tensor) -> Tensor:
    """Network outputs that mean the standard deviation of each channel of ``y``."""
    sigma = y.transpose(0, 1).flatten(1).std(1).clamp(LEVELS.sigma_min, LEVELS.sigma_max)
    index = (torch.log(sigma) - math.log(LEVELS.sigma_min)) / LEVELS.step
    return (index - INDEX_CENTRE) / INDEX_GAIN


def _quieten(latent: LatentQuantizer) -> None:
    quiet = latent.hyper_encoder[-1]
    assert isinstance(quiet, nn.Conv2d)
    quiet.weight.data *= QUIET_HYPERLATENT
