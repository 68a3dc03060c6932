"""Widths of the Tian-2023 family.

``full`` is the unpruned framework, ``paper`` has the cost of the paper's pruned models by width,
``lite`` a variant for machines without a GPU: its features live at 1/4 to 1/16 of the frame
size, motion is coded at 1/4, and the decoded frame itself is warped at full size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nvc_errors import UsageError
from nvc_models.blocks import BlockStyle

LATENT_STRIDE = 16
ALIGNMENT = 64


@dataclass(frozen=True)
class IntraConfig:
    """Intra model. ``widths`` are the channels at stem_stride, 2 stem_stride, ... up to 1/8.

    ``synthesis_widths``: those of the synthesis, if they are others.
    """

    style: BlockStyle
    stem_stride: int
    widths: tuple[int, ...]
    latent: int
    hyper: int
    entropy_width: int
    blocks: int
    refine_width: int
    synthesis_widths: tuple[int, ...] | None = None


@dataclass(frozen=True)
class InterConfig:
    """Inter model. ``widths`` are the channels of the three contexts c1, c2, c3."""

    style: BlockStyle
    stem_stride: int
    widths: tuple[int, int, int]
    encoder_width: int
    latent: int
    hyper: int
    entropy_width: int
    motion_stride: int
    motion_width: int
    motion_latent: int
    motion_hyper: int
    motion_entropy_width: int
    flow_stride: int
    flow_widths: tuple[int, ...]
    flow_kernel: int
    flow_analytic_steps: int
    warp_frame: bool
    warp_pyramid: bool
    blocks: int
    refine_width: int


@dataclass(frozen=True)
class Tian2023Config:
    """A whole codec: one intra and one inter model.

    ``channels`` holds the layers that pruning left with other channels than these widths give, see
    :mod:`nvc_models.widths`.
    """

    name: str
    intra: IntraConfig
    inter: InterConfig
    channels: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a checkpoint or a manifest; what is only for some codecs, only there."""
        data = asdict(self)
        if not self.channels:
            del data["channels"]
        if self.intra.synthesis_widths is None:
            del data["intra"]["synthesis_widths"]
        return data

    @staticmethod
    def from_json(data: dict[str, Any]) -> Tian2023Config:
        """Inverse of :meth:`to_json`; lists become tuples."""

        def tuples(section: dict[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in section.items()}

        return Tian2023Config(
            name=data["name"],
            intra=IntraConfig(**tuples(data["intra"])),
            inter=InterConfig(**tuples(data["inter"])),
            channels={k: (int(a), int(b)) for k, (a, b) in data.get("channels", {}).items()},
        )


LITE = Tian2023Config(
    name="lite",
    intra=IntraConfig(
        style="separable",
        stem_stride=4,
        widths=(48, 96),
        latent=128,
        hyper=64,
        entropy_width=192,
        blocks=1,
        refine_width=0,
    ),
    inter=InterConfig(
        style="separable",
        stem_stride=4,
        widths=(32, 80, 128),
        encoder_width=48,
        latent=128,
        hyper=64,
        entropy_width=192,
        motion_stride=4,
        motion_width=32,
        motion_latent=32,
        motion_hyper=32,
        motion_entropy_width=96,
        flow_stride=4,
        flow_widths=(24, 48, 24),
        flow_kernel=5,
        flow_analytic_steps=2,
        warp_frame=True,
        warp_pyramid=False,
        blocks=2,
        refine_width=0,
    ),
)

FULL = Tian2023Config(
    name="full",
    intra=IntraConfig(
        style="conv",
        stem_stride=1,
        widths=(16, 192, 192, 192),
        latent=192,
        hyper=192,
        entropy_width=576,
        blocks=1,
        refine_width=32,
    ),
    inter=InterConfig(
        style="conv",
        stem_stride=1,
        widths=(64, 64, 64),
        encoder_width=64,
        latent=96,
        hyper=96,
        entropy_width=384,
        motion_stride=1,
        motion_width=64,
        motion_latent=64,
        motion_hyper=64,
        motion_entropy_width=192,
        flow_stride=2,
        flow_widths=(32, 64, 32, 16),
        flow_kernel=7,
        flow_analytic_steps=0,
        warp_frame=False,
        warp_pyramid=True,
        blocks=1,
        refine_width=32,
    ),
)

PAPER = Tian2023Config(
    name="paper",
    intra=IntraConfig(
        style="conv",
        stem_stride=1,
        widths=(16, 80, 120, 160),
        latent=192,
        hyper=192,
        entropy_width=576,
        blocks=1,
        refine_width=12,
        synthesis_widths=(12, 48, 96, 224),
    ),
    inter=InterConfig(
        style="conv",
        stem_stride=1,
        widths=(8, 16, 64),
        encoder_width=40,
        latent=96,
        hyper=96,
        entropy_width=352,
        motion_stride=1,
        motion_width=8,
        motion_latent=64,
        motion_hyper=64,
        motion_entropy_width=160,
        flow_stride=2,
        flow_widths=(28, 56, 28, 16),
        flow_kernel=7,
        flow_analytic_steps=0,
        warp_frame=False,
        warp_pyramid=True,
        blocks=1,
        refine_width=4,
    ),
)

PRESETS = {c.name: c for c in (LITE, PAPER, FULL)}


def preset(name: str) -> Tian2023Config:
    """Return a preset by name; raise :class:`UsageError` listing the known ones."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; known: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
