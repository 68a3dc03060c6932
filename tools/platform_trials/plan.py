"""What a run of the matrix is to do: scenes, groups of pictures, coders, and who decodes whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from platform_legs import REFERENCE, Leg

from nvc_calib import PositionCoder
from nvc_runtime.codec import EncoderSettings

MAIN, SMALL = "main", "small"
EVERY_LEG = "all"
ALL_CODERS = (PositionCoder.NONE, PositionCoder.RPC, PositionCoder.RETRIEVAL)
_DRIFT_CODERS = (PositionCoder.RETRIEVAL, PositionCoder.RPC, PositionCoder.NONE)
_DECODE_SHARE = 0.65
"""Time of decoding a frame over that of encoding it, entropy coding included."""
_CODING_S_PER_MEGAPIXEL = 1.5
"""Time for calibration and entropy coding of one frame in the three modes together."""


@dataclass(frozen=True)
class MatrixPlan:
    """Choices of a run.

    Attributes:
        clip: video file; None for made-up pictures.
        size, frames: of the main scene, (width, height).
        small_size, small_frames: of the scene for emulated legs.
        gops: frames from one intra frame to the next.
        coders: ways of calibration.
        settings: everything else an encoder can be told.
        decoders: legs that decode the streams of every leg, or ``EVERY_LEG``; None for the cheap.
        jobs: legs at work at the same time.
        min_distinct: fewer bit-distinct platforms than this, if so many are there, is a failure.

    """

    clip: str | None
    size: tuple[int, int]
    frames: int
    small_size: tuple[int, int]
    small_frames: int
    gops: tuple[int, ...] = (12, 96)
    coders: tuple[PositionCoder, ...] = ALL_CODERS
    settings: EncoderSettings = field(default_factory=EncoderSettings)
    decoders: tuple[str, ...] | None = None
    jobs: int = 1
    min_distinct: int = 7

    @property
    def drift_coder(self) -> PositionCoder:
        """The kind of stream on which drift is measured: one whose symbols come out right."""
        return next(coder for coder in _DRIFT_CODERS if coder in self.coders)

    def decodes_everything(self, leg: Leg) -> bool:
        """Whether a leg decodes every stream; others decode the reference's."""
        if self.decoders is None:
            return leg.is_cheap
        return leg.name in self.decoders or EVERY_LEG in self.decoders

    def scene_of_encoder(self, leg: Leg) -> str:
        """Name of the scene that a leg's streams show to the other legs."""
        return SMALL if leg.is_emulated else MAIN

    def scene_of_pair(self, encoder: Leg, decoder: Leg) -> str | None:
        """Return the scene that ``decoder`` gets from ``encoder``; None if the pair is left out."""
        if not self.decodes_everything(decoder) and encoder.name not in (REFERENCE, decoder.name):
            return None
        return SMALL if encoder.is_emulated or decoder.is_emulated else MAIN

    def scenes_of_encoder(self, leg: Leg, legs: Sequence[Leg]) -> list[str]:
        """Return the scenes that a leg has to encode."""
        wanted = {self.scene_of_pair(leg, decoder) for decoder in legs}
        return [scene for scene in (MAIN, SMALL) if scene in wanted]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "size": list(self.size),
            "frames": self.frames,
            "small_size": list(self.small_size),
            "small_frames": self.small_frames,
            "gops": list(self.gops),
            "calibration": [coder.value for coder in self.coders],
            "drift_measured_on": self.drift_coder.value,
            "min_distinct": self.min_distinct,
            "jobs": self.jobs,
        }


def estimate_s(plan: MatrixPlan, legs: Sequence[Leg], seconds_per_frame: dict[str, float]) -> float:
    """Estimate a run's seconds from the legs' measured times to encode a frame of their scene."""
    pixels = {MAIN: plan.size[0] * plan.size[1], SMALL: plan.small_size[0] * plan.small_size[1]}
    count = {MAIN: plan.frames * len(plan.gops), SMALL: plan.small_frames * len(plan.gops)}
    total = longest = 0.0
    for leg in legs:
        own = plan.scene_of_encoder(leg)
        busy = 0.0
        for other in legs:
            scene = plan.scene_of_pair(other, leg)
            if scene is not None:
                share = pixels[scene] / pixels[own]
                busy += count[scene] * (
                    _DECODE_SHARE * share * seconds_per_frame[leg.name]
                    + 0.3 * _CODING_S_PER_MEGAPIXEL * pixels[scene] / 1e6
                )
        for scene in plan.scenes_of_encoder(leg, legs):
            share = pixels[scene] / pixels[own]
            busy += count[scene] * (
                share * seconds_per_frame[leg.name] + _CODING_S_PER_MEGAPIXEL * pixels[scene] / 1e6
            )
        total += busy
        longest = max(longest, busy)
    return max(total / plan.jobs, longest)
