"""Which channels of a Tian-2023 codec depend on each other, found by torch-pruning.

Its dependency graph follows one forward pass. :class:`_Trace` makes that pass: every network of
both models, joined where channels have to agree, and apart where a latent lies between them, whose
channels are fixed. Two things are put differently for the trace and put back after pruning: a
convolution and the pixel shuffle after it are one layer, and what enters a concatenation from
outside comes from a layer of its own, since only layers have channels that the graph knows.
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

from nvc_models.blocks import Up
from nvc_models.latent import LatentModel
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


class _Entries(nn.Module):
    """Stands for a pixel unshuffle whose results are concatenated: a layer for each use."""

    def __init__(self, unshuffle: nn.PixelUnshuffle, uses: int) -> None:
        super().__init__()
        channels = 3 * unshuffle.downscale_factor**2
        self.unshuffle, self.calls = unshuffle, 0
        self.layers = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(uses))

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layers[self.calls % len(self.layers)]
        self.calls += 1
        y: Tensor = layer(self.unshuffle(x))
        return y


class _Trace(nn.Module):
    """One pass through every network of a codec; see the module's description."""

    def __init__(self, codec: Tian2023) -> None:
        super().__init__()
        self.codec = codec
        inter = codec.inter.config
        latent, motion = inter.latent, inter.motion_latent
        channels = {
            "intra": codec.intra.config.latent,
            "context": latent,
            "context_prior": latent,
            "motion": motion,
            "motion_prior": motion,
            "extra": 3 * inter.stem_stride**2,
            "intra_spatial": 4 * codec.intra.config.latent,
            "context_spatial": 4 * latent,
            "motion_spatial": 4 * motion,
        }
        self.sources = nn.ModuleDict({k: nn.Conv2d(n, n, 1) for k, n in channels.items()})
        self.encoder_entries = next(
            m for m in codec.inter.encoder.children() if isinstance(m, _Entries)
        )

    def fixed_layers(self) -> list[nn.Module]:
        """Layers whose output channels have to stay: latents, hyperlatents, pictures, flows."""
        intra, inter = self.codec.intra, self.codec.inter
        layers = list(self.sources.values())
        layers += list(self.encoder_entries.layers)
        layers += [intra.analysis.last, intra.synthesis.last]
        layers += [inter.motion.analysis.last, inter.motion.synthesis.last]
        layers += [inter.encoder.tail[-1], inter.decoder.last]
        layers += [level[-1] for level in inter.flow.levels]  # type: ignore[index]
        if intra.refine is not None:
            layers.append(intra.refine.exit)
        for latent in (intra.latent, inter.latent, inter.motion.latent):
            layers += [net[-1] for net in (latent.hyper_encoder, latent.fusion, latent.spatial)]
        return list(layers)

    def _enter(self, name: str, side: int) -> Tensor:
        """Return a tensor (1, C, side, side) that comes from a layer of its own."""
        source = self.sources[name]
        assert isinstance(source, nn.Conv2d)
        y: Tensor = source(torch.zeros(1, source.in_channels, side, side))
        return y

    def forward(self, frame: Tensor) -> list[Tensor]:
        intra, inter = self.codec.intra, self.codec.inter
        side = frame.shape[-1]
        y = self._enter("intra", side // 16)
        outputs = [intra.analysis(intra.unshuffle(frame)), intra.synthesis(y)]
        if intra.refine is not None:
            outputs.append(intra.refine(frame))
        outputs += self._latent("intra", intra.latent, side, [])
        outputs += [net(frame.new_zeros(1, 8, side, side)) for net in inter.flow.levels]
        outputs += self._motion(frame)
        outputs += self._context(frame)
        return outputs

    def _latent(
        self, name: str, latent: LatentModel, side: int, priors: list[Tensor]
    ) -> list[Tensor]:
        c, n, like = latent.config.channels, latent.config.hyper_channels, next(latent.parameters())
        small = side // 16
        hyper = latent.hyper_decoder(like.new_zeros(1, n, side // 64, side // 64))
        fused = latent.fusion(torch.cat((hyper, *priors), 1) if priors else hyper)
        spatial = latent.spatial(self._enter(f"{name}_spatial", small))
        return [latent.hyper_encoder(like.new_zeros(1, c, small, small)), fused, spatial]

    def _motion(self, frame: Tensor) -> list[Tensor]:
        inter, side = self.codec.inter, frame.shape[-1]
        small = side // inter.config.motion_stride
        coded = inter.motion.analysis(frame.new_zeros(1, 2, small, small))
        prior = self._enter("motion_prior", side // 16)
        return [
            coded,
            inter.motion.synthesis(self._enter("motion", side // 16)),
            *self._latent("motion", inter.motion.latent, side, [prior]),
        ]

    def _context(self, frame: Tensor) -> list[Tensor]:
        inter, side = self.codec.inter, frame.shape[-1]
        config = inter.config
        small = side // config.stem_stride
        flow_side = side // config.motion_stride
        flow = frame.new_zeros(1, 2, flow_side, flow_side)
        extra = None
        if config.warp_frame:
            extra = self._enter("extra", small)
        feature = inter.adapt(frame)
        c1, c2, c3 = inter.context.contexts(feature, flow, extra)
        prediction = frame if config.warp_frame else None
        decoded, carried = inter.decoder(self._enter("context", side // 16), prediction, c1, c2, c3)
        priors = [inter.temporal_prior(c3), self._enter("context_prior", side // 16)]
        return [
            inter.encoder(frame, prediction, c1, c2, c3),
            decoded,
            # The next frame takes the one for the other.
            feature + carried,
            *self._latent("context", inter.latent, side, priors),
        ]


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
def dependency_groups(codec: Tian2023) -> Iterator[list[ChannelGroup]]:
    """Give a codec's groups; while the context lasts, ``handle`` is torch-pruning's group.

    The codec can be pruned then, and is itself again afterwards. It cannot be run.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []

    def replace(parent: nn.Module, name: str, new: nn.Module) -> None:
        replaced.append((parent, name, parent.get_submodule(name)))
        setattr(parent, name, new)

    names = {id(m): name for name, m in codec.named_modules()}
    encoder = codec.inter.encoder
    replace(encoder, "unshuffle", _Entries(encoder.unshuffle, 2 if encoder.warp_frame else 1))
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
        trace = _Trace(codec)
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
