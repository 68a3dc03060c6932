"""Which channels of a codec depend on each other, found by torch-pruning.

Its dependency graph follows one forward pass, see :mod:`nvc_export.pruning.trace`. One thing is put
differently for the trace and put back after pruning: a convolution and the pixel shuffle after it
are one layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from nvc_export.pruning.trace import Prunable, Trace
from nvc_export.pruning.trace_swift import SwiftTrace
from nvc_export.pruning.trace_tian2023 import Tian2023Trace
from nvc_models.blocks import Up
from nvc_models.tian2023 import Tian2023

TRACE_SIDE = 64
"""Side of the frame that is traced, in pixels."""


class Subpixel(nn.Module):
    """A convolution and the pixel shuffle (by 2) of its output, as one layer."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv, self.shuffle = conv, nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out / 4, 2H, 2W)."""
        y: Tensor = self.shuffle(self.conv(x))
        return y


class _SubpixelPruner(tp.BasePruningFunc):  # type: ignore[misc]
    """Tells torch-pruning that four channels of the convolution become one."""

    def prune_out_channels(self, layer: Subpixel, idxs: list[int]) -> Subpixel:
        tp.prune_conv_out_channels(layer.conv, [4 * i + k for i in idxs for k in range(4)])
        return layer

    def prune_in_channels(self, layer: Subpixel, idxs: list[int]) -> Subpixel:
        tp.prune_conv_in_channels(layer.conv, idxs)
        return layer

    def get_out_channels(self, layer: Subpixel) -> int:
        return layer.conv.out_channels // 4

    def get_in_channels(self, layer: Subpixel) -> int:
        return layer.conv.in_channels


@dataclass(frozen=True)
class Member:
    """A convolution that a group's channels enter or leave; ``count`` of its channels are theirs.

    A depthwise layer is a member once, by its output.
    """

    name: str
    output: bool
    count: int


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be removed together. ``size`` of them lead to ``members``."""

    name: str
    size: int
    members: tuple[Member, ...]
    handle: Any


@contextmanager
def dependency_groups(codec: Prunable) -> Iterator[list[ChannelGroup]]:
    """Give a codec's groups; while the context lasts, ``handle`` is torch-pruning's group.

    The codec can be pruned then, and is itself again afterwards. It cannot be run.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []

    def replace(parent: nn.Module, name: str, new: nn.Module) -> None:
        replaced.append((parent, name, parent.get_submodule(name)))
        setattr(parent, name, new)

    names = {id(m): name for name, m in codec.named_modules()}
    trace_class: Any = Tian2023Trace if isinstance(codec, Tian2023) else SwiftTrace
    for parent, name, new in trace_class.replacements(codec):
        replace(parent, name, new)
    for module in list(codec.modules()):
        if isinstance(module, Up):
            replace(module, "shuffle", nn.Identity())
            for name in ("shortcut", "expand"):
                conv = getattr(module, name)
                if isinstance(conv, nn.Conv2d):
                    replace(module, name, Subpixel(conv))
        elif isinstance(module, nn.Sequential):
            children = list(module.named_children())
            for (first, conv), (second, shuffle) in pairwise(children):
                if isinstance(conv, nn.Conv2d) and isinstance(shuffle, nn.PixelShuffle):
                    replace(module, first, Subpixel(conv))
                    replace(module, second, nn.Identity())
    frozen = [p for p in codec.parameters() if not p.requires_grad]
    training = codec.training
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        trace: Trace = trace_class(codec)
        frame = torch.zeros(1, 3, TRACE_SIDE, TRACE_SIDE)
        with torch.enable_grad():
            graph = tp.DependencyGraph().build_dependency(
                trace, (frame,), customized_pruners={Subpixel: _SubpixelPruner()}, verbose=False
            )
        found = graph.get_all_groups(
            ignored_layers=trace.fixed_layers(), root_module_types=(nn.Conv2d, Subpixel)
        )
        yield [_channel_group(group, graph, names) for group in found]
    finally:
        for parent, name, original in reversed(replaced):
            setattr(parent, name, original)
        for parameter in frozen:
            parameter.requires_grad_(False)
        codec.train(training)


def _channel_group(group: Any, graph: Any, names: dict[int, str]) -> ChannelGroup:
    members: dict[tuple[str, bool], Member] = {}
    for dependency, indices in group:
        layer, factor = dependency.target.module, 1
        output = graph.is_out_channel_pruning_fn(dependency.handler)
        if isinstance(layer, Subpixel):
            layer, factor = layer.conv, 4 if output else 1
        if not isinstance(layer, nn.Conv2d):
            continue
        depthwise = layer.groups > 1
        key = names[id(layer)], output or depthwise
        members[key] = Member(*key, len(set(indices)) * factor)
    root = group[0].dep.target.module
    root = root.conv if isinstance(root, Subpixel) else root
    return ChannelGroup(names[id(root)], len(group[0].idxs), tuple(members.values()), group)
