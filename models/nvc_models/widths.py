"""Channel counts that differ from what a configuration's widths give, as pruning leaves them.

A record maps the name of a convolution in the codec to its (in, out) channels, and names only
layers that differ. A configuration with its record is all it takes to build a pruned codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from torch import nn

Channels: TypeAlias = Mapping[str, tuple[int, int]]
"""Name of a convolution -> its input and output channels."""


def channels_of(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return the channels of every convolution of a model."""
    return {
        name: (layer.in_channels, layer.out_channels)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
    }


def difference(found: Channels, usual: Channels) -> dict[str, tuple[int, int]]:
    """Return the entries of ``found`` that are not those of ``usual``."""
    return {name: pair for name, pair in found.items() if usual[name] != pair}


def resize_layers(model: nn.Module, channels: Channels) -> None:
    """Give the named convolutions of a model new channels; their weights are drawn anew.

    A depthwise layer stays one. Raises ``KeyError`` for a name that is no convolution of the model,
    ``RuntimeError`` for channels that a layer cannot have.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    for name, (ins, outs) in channels.items():
        layer = layers[name]
        depthwise = layer.groups > 1
        if min(ins, outs) < 1 or (depthwise and ins != outs):
            raise RuntimeError(f"layer {name} cannot have {ins} input and {outs} output channels")
        layer.in_channels, layer.out_channels = ins, outs
        layer.groups = ins if depthwise else 1
        height, width = layer.kernel_size
        like = layer.weight
        layer.weight = nn.Parameter(like.new_empty(outs, ins // layer.groups, height, width))
        if layer.bias is not None:
            layer.bias = nn.Parameter(like.new_empty(outs))
        layer.reset_parameters()
