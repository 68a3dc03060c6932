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
from nvc_models.latent import LatentModel
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
        self, name: str, latent: LatentModel, side: int, priors: Sequence[Tensor]
    ) -> list[Tensor]:
        """Pass through the networks of a latent's entropy model, for a frame of ``side``.

        The source ``{name}_spatial`` stands for what the spatial prior sees, but for features.
        """
        c, n, like = latent.config.channels, latent.config.hyper_channels, next(latent.parameters())
        small = side // 16
        hyper = latent.hyper_decoder(like.new_zeros(1, n, side // 64, side // 64))
        features = latent.fusion[:-1](torch.cat((hyper, *priors), 1) if priors else hyper)
        fused = latent.fusion[-1](features)
        known = self.enter(f"{name}_spatial", small)
        if latent.config.spatial_input == "features":
            known = torch.cat((known, features), 1)
        spatial = latent.spatial(known)
        return [latent.hyper_encoder(like.new_zeros(1, c, small, small)), fused, spatial]


def ends_of(latents: Iterable[LatentModel]) -> list[nn.Module]:
    """Return the last layers of entropy models: hyperlatents, indices and means come from them."""
    return [
        net[-1]
        for latent in latents
        for net in (latent.hyper_encoder, latent.fusion, latent.spatial)
    ]
