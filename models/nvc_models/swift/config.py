"""Widths of the swift family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

from nvc_errors import UsageError

ALIGNMENT = 64
SHIFTS = ((2, 6), (6, 2))
"""Where the loop filter's blocks start within those of 8x8 pixels: row, column."""


@dataclass(frozen=True)
class IntraConfig:
    """Intra model: ``width`` channels at 1/8, ``latent`` at 1/16.

    Blocks lie at 1/8. The encoder may be wider: 96 channels at 1/8 hold every
    sample of a block.
    """

    width: int
    latent: int
    hyper: int
    entropy_width: int
    encoder_width: int
    encoder_blocks: int
    decoder_blocks: int


@dataclass(frozen=True)
class InterConfig:
    """Inter model: coefficients of every block of 8x8 pixels are coded in groups of these sizes.

    ``motion_hyper`` and ``motion_width``: hyperlatent and entropy network of the motion vectors.
    ``overlap``: see :class:`nvc_models.swift.motion.Compensation`. ``shifts``: of the
    loop filter, see :class:`nvc_models.swift.shrink.Shrinkage`.
    """

    groups: tuple[int, ...]
    hyper: int
    entropy_width: int
    motion_hyper: int = 8
    motion_width: int = 48
    overlap: bool = False
    shifts: tuple[tuple[int, int], ...] = SHIFTS

    @property
    def coefficients(self) -> int:
        """Coefficients of each block that are coded."""
        return sum(self.groups)

    @property
    def latent(self) -> int:
        """Channels of the latent at 1/16: four blocks lie at each of its positions."""
        return 4 * self.coefficients

    @property
    def parts(self) -> tuple[int, ...]:
        """Channels of the latent's parts: a group of two blocks, of the others, the next group.

        The two blocks touch at a corner: those coded after them have them at two or more sides.
        """
        return tuple(2 * size for size in self.groups for _ in range(2))

    def channels(self) -> list[tuple[int, int, int]]:
        """Coefficient, row and column of the block of every channel of the latent."""
        corners = (((0, 0), (1, 1)), ((0, 1), (1, 0)))
        ends = list(accumulate(self.groups, initial=0))
        return [
            (coefficient, *place)
            for first, last in pairwise(ends)
            for pair in corners
            for coefficient in range(first, last)
            for place in pair
        ]


@dataclass(frozen=True)
class SwiftConfig:
    """A whole codec: one intra and one inter model.

    ``channels`` holds the layers that pruning left with other channels than these widths give, see
    :mod:`nvc_models.widths`.
    """

    name: str
    intra: IntraConfig
    inter: InterConfig
    channels: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a checkpoint or a manifest; ``channels`` only if there are some."""
        data = asdict(self)
        if not self.channels:
            del data["channels"]
        return data

    @staticmethod
    def from_json(data: dict[str, Any]) -> SwiftConfig:
        """Inverse of :meth:`to_json`."""
        return SwiftConfig(
            data["name"],
            IntraConfig(**data["intra"]),
            _inter_from_json(data["inter"]),
            {k: (int(a), int(b)) for k, (a, b) in data.get("channels", {}).items()},
        )


def _inter_from_json(data: dict[str, Any]) -> InterConfig:
    shifts = tuple((int(down), int(right)) for down, right in data["shifts"])
    return InterConfig(**data | {"groups": tuple(data["groups"]), "shifts": shifts})


SWIFT_S = SwiftConfig(
    name="swift-s",
    intra=IntraConfig(
        width=80,
        latent=256,
        hyper=32,
        entropy_width=128,
        encoder_width=96,
        encoder_blocks=2,
        decoder_blocks=4,
    ),
    inter=InterConfig(groups=(8, 72), hyper=32, entropy_width=96),
)

SWIFT_M = SwiftConfig(
    name="swift-m",
    intra=SWIFT_S.intra,
    inter=replace(SWIFT_S.inter, overlap=True),
)

PRESETS = {c.name: c for c in (SWIFT_S, SWIFT_M)}


def preset(name: str) -> SwiftConfig:
    """Return a preset by name; raise :class:`UsageError` listing the known ones."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; known: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
