"""What torch-pruning has to see of a codec, whatever its family.

Its dependency graph follows one forward pass. A trace makes that pass: every network of both
models, joined where channels have to agree, and apart where a latent lies between them, whose
channels are fixed. What enters a concatenation from outside comes from a layer of its own, since
only layers have channels that the graph knows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from nvc_models.families import FAMILIES, Family
from nvc_models.latent import LatentCoding, LatentQuantizer
from nvc_models.lean_latent import LeanLatentModel
from nvc_models.swift import Swift
from nvc_models.tian2023 import Tian2023

Prunable: TypeAlias = Tian2023 | Swift
"""Codecs of the families whose dependencies are known."""

Replacement: TypeAlias = tuple[nn.Module, str, nn.Module]
"""A module, the name of one of its children, and what stands for it while tracing."""


def family_of(codec: Prunable) -> Family:
    """Return the family of a codec."""
    return next(f for f in FAMILIES.values() if isinstance(codec, f.model))  # type: ignore[arg-type]


class Trace(nn.Module):
    """One pass through every network of a codec.

    ``sources``: name -> channels of what comes from outside of a network.
    """

    def __init__(self, sources: Mapping[str, int]) -> None:
        super().__init__()
        self.sources = nn.ModuleDict({name: nn.Conv2d(n, n, 1) for name, n in sources.items()})

    @staticmethod
    def replacements(codec: Any) -> list[Replacement]:
        """Return what to replace in a codec before it is traced."""
        del codec
        return []

    @abstractmethod
    def fixed_layers(self) -> list[nn.Module]:
        """Return layers whose output channels have to stay: latents, hyperlatents, pictures."""

    def enter(self, name: str, side: int) -> Tensor:
        """Return a tensor (1, C, side, side) that comes from a layer of its own."""
        source = self.sources[name]
        assert isinstance(source, nn.Conv2d)
        y: Tensor = source(source.weight.new_zeros(1, source.in_channels, side, side))
        return y

    def entropy_model(
        self, name: str, latent: LatentCoding, side: int, priors: Sequence[Tensor]
    ) -> list[Tensor]:
        """Pass through the networks of a latent's entropy model, for a frame of ``side``.

        The source ``{name}_spatial`` stands for what the spatial prior sees, but for features.
        """
        n, small, like = latent.config.hyper_channels, side // 16, next(latent.parameters())
        z = like.new_zeros(1, n, side // 64, side // 64)
        y = like.new_zeros(1, latent.config.channels, small, small)
        known = self.enter(f"{name}_spatial", small)
        outputs = _lean if isinstance(latent, LeanLatentModel) else _paper
        return [latent.hyper_encoder(y), *outputs(latent, z, priors, known)]


def spatial_source(latent: LatentCoding) -> int:
    """Channels of the source ``{name}_spatial``, see :meth:`Trace.entropy_model`."""
    c = latent.config.channels
    return c // 2 if isinstance(latent, LeanLatentModel) else c + latent.kept_channels["fused"]


def _paper(latent: Any, z: Tensor, priors: Sequence[Tensor], known: Tensor) -> list[Tensor]:
    hyper = latent.hyper_decoder(z)
    fused = latent.fusion(torch.cat((hyper, *priors), 1) if priors else hyper)
    return [fused, latent.spatial(known)]


def _lean(latent: Any, z: Tensor, priors: Sequence[Tensor], known: Tensor) -> list[Tensor]:
    x = latent.hyper_decoder(z)
    features = latent.fusion(x if latent.prior is None else x + latent.prior(*priors))
    colour = known.new_zeros(1, 1, *known.shape[-2:])
    outputs = [*latent.scale(features, colour, colour), *latent.mean(features, colour, colour)]
    if latent.step is not None:
        outputs.append(latent.step(features))
    x = latent.spatial(latent.enter(features) + latent.seen(known, colour, colour))
    return [*outputs, latent.more_scale(x, x), latent.more_mean(x, x)]


def ends_of(latents: Iterable[LatentQuantizer]) -> list[nn.Module]:
    """Return the last layers of entropy models: hyperlatents, indices and means come from them."""
    ends = (layer for latent in latents for end in latent.ends() for layer in end.modules())
    return [layer for layer in ends if isinstance(layer, nn.Conv2d)]
