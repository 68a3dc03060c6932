"""The graphs and coding steps of a latent in ordered parts, see :mod:`nvc_models.ordered_latent`.

A latent called ``p`` is coded as the hyperlatent ``p_z``, then ``p_0``, ``p_1`` and so on. Its
symbols are carried to the next frame as ``ref_p_0`` and so on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nvc_models.graph import CodecGraph, TensorShape
from nvc_models.latent_graphs import HYPER_STRIDE, LATENT_STRIDE, factorized_step, scale_step
from nvc_models.ordered_latent import OrderedLatentModel


class SymbolsGraph(nn.Module):
    """Scaled latent -> symbols of every part, and the hyperlatent, rounded."""

    def __init__(self, latent: OrderedLatentModel) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, y: Tensor) -> tuple[Tensor, ...]:
        """Map (B, C, H, W) to the parts, (B, C_part, H, W), and (B, N, H/4, W/4)."""
        z = torch.round(self.latent.hyper_analysis(y))
        return (*self.latent.split(self.latent.round(y)), z)


class StartGraph(nn.Module):
    """Hyperlatent, priors and the symbols before -> features and index of the first part."""

    def __init__(self, latent: OrderedLatentModel) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, z: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        """Map z, the priors and the parts before to (B, width, H, W) and (B, C_0, H, W)."""
        count = len(self.latent.config.prior_channels)
        before = torch.cat(others[count:], 1)
        features = self.latent.start(z, before, *others[:count])
        return features, self.latent.scale_index(0, features)


class NextGraph(nn.Module):
    """Features and symbols of one part -> index of the next, and features if another follows."""

    def __init__(self, latent: OrderedLatentModel, part: int) -> None:
        super().__init__()
        self.latent, self.part = latent, part
        self.last = part + 2 == len(latent.config.parts)

    def forward(self, features: Tensor, symbols: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map (B, width, H, W) and (B, C_part, H, W) to (B, C_next, H, W) and features."""
        features = self.latent.update(self.part, features, symbols)
        index = self.latent.scale_index(self.part + 1, features)
        return index if self.last else (index, features)


def part_names(prefix: str, latent: OrderedLatentModel) -> list[str]:
    """Names of the parts' symbols."""
    return [f"{prefix}_{number}" for number in range(len(latent.config.parts))]


def carried_names(prefix: str, latent: OrderedLatentModel) -> dict[str, str]:
    """Map what the next frame calls the parts' symbols to their names."""
    return {f"ref_{name}": name for name in part_names(prefix, latent)}


def start_graph(prefix: str, latent: OrderedLatentModel, priors: list[str]) -> CodecGraph:
    """Graph before the first part."""
    return CodecGraph(
        f"{prefix}_prior",
        StartGraph(latent),
        [f"{prefix}_z", *priors, *carried_names(prefix, latent)],
        [f"{prefix}_features_0", f"{prefix}_0_index"],
    )


def next_graphs(prefix: str, latent: OrderedLatentModel) -> list[CodecGraph]:
    """Graphs between the parts."""
    last = len(latent.config.parts) - 1
    return [
        CodecGraph(
            f"{prefix}_next_{part}",
            NextGraph(latent, part - 1),
            [f"{prefix}_features_{part - 1}", f"{prefix}_{part - 1}"],
            [f"{prefix}_{part}_index", *([f"{prefix}_features_{part}"] if part < last else [])],
        )
        for part in range(1, last + 1)
    ]


def ordered_shapes(prefix: str, latent: OrderedLatentModel) -> dict[str, TensorShape]:
    """Shapes of every tensor that coding and carrying one latent uses."""
    config = latent.config
    shapes = {f"{prefix}_z": TensorShape(config.hyper_channels, HYPER_STRIDE)}
    for number, channels in enumerate(config.parts):
        for name in (f"{prefix}_{number}", f"ref_{prefix}_{number}", f"{prefix}_{number}_index"):
            shapes[name] = TensorShape(channels, LATENT_STRIDE)
    for number, head in enumerate(latent.heads[:-1]):
        assert isinstance(head, nn.Conv2d)
        shapes[f"{prefix}_features_{number}"] = TensorShape(head.in_channels, LATENT_STRIDE)
    return shapes


def ordered_steps(
    prefix: str, latent: OrderedLatentModel, hyper: str, section: str
) -> list[dict[str, str]]:
    """Coding steps of one latent: hyperlatent, then part by part, with tables of its name."""
    steps = [factorized_step(prefix, hyper)]
    for number, name in enumerate(part_names(prefix, latent)):
        steps.append({"run": f"{prefix}_next_{number}" if number else f"{prefix}_prior"})
        steps.append(scale_step(name, section, prefix))
    return steps
