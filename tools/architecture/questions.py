"""The questions of the search, and the trials that answer them.

Every question compares variants with one trial; what is not named is as there. Where widths
change, others change with them so that an inter frame's decoder costs about the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from architecture.trial import Leg, Trial
from nvc_models.swift import preset
from nvc_models.training.stage import Stage

BASE, BASE_AGAIN = "base", "another seed"
BASE_PRESET = "swift-s"
Sizes = dict[str, Any]
EMA = 0.98
"""Runs of a few hundred steps average over fewer of them than long ones."""


@dataclass(frozen=True)
class Question:
    """What is asked, which trial the variants are compared with, and the variants."""

    text: str
    against: str
    variants: tuple[str, ...]


QUESTIONS = (
    Question("How much do two seeds differ?", BASE, (BASE_AGAIN,)),
    Question(
        "Does the analytic start of the transforms pay?", BASE, ("random start", "random inter")
    ),
    Question("How many latent channels?", BASE, ("fewer latents", "more latents")),
    Question("Wide and shallow, or narrow and deep?", BASE, ("wide", "narrow")),
    Question("Does a wide intra encoder pay?", BASE, ("narrow encoder",)),
    Question(
        "How fast should layers learn that write pictures?", BASE, ("pictures 1.0", "pictures 0.3")
    ),
    Question("How many coefficients of an inter frame come first?", BASE, ("4 first", "16 first")),
    Question("How many frames to a sequence?", BASE, ("2 frames", "6 frames")),
    Question("Should later frames weigh more?", "6 frames", ("6 frames, later 0.1",)),
    Question("How large a crop?", BASE, ("crop 64", "crop 256")),
    Question("How many photographs among the sequences?", BASE, ("no photos", "half photos")),
    Question("Noise or hard rounding?", BASE, ("hard rounding",)),
    Question("Does joint training pay?", BASE, ("joint, intra 0.1",)),
    Question("How much should the intra frame weigh?", "joint, intra 0.1", ("joint, intra 0.5",)),
)


def trials_by_name(seconds: Sequence[float]) -> dict[str, Trial]:
    """Return all trials; ``seconds``: processor time of the intra and of the inter stage."""
    intra_s, inter_s = seconds
    intra = Leg(_stage("intra", batch=16, frames=1, photo_share=0.5), intra_s)
    inter = Leg(_stage("inter", batch=8, frames=3), inter_s)
    base = Trial(BASE, "swift-s and its first stages", preset(BASE_PRESET), (intra, inter))

    def width(name: str, words: str, intra_sizes: Sizes, inter_sizes: Sizes) -> Trial:
        config = replace(
            base.config,
            intra=replace(base.config.intra, **intra_sizes),
            inter=replace(base.config.inter, **inter_sizes),
        )
        return replace(base, name=name, words=words, config=config)

    def stage(name: str, words: str, **changes: Any) -> Trial:
        changed = replace(inter, stage=replace(inter.stage, **changes))
        return replace(base, name=name, words=words, legs=(intra, changed))

    def crop(side: int, intra_batch: int, inter_batch: int) -> Trial:
        legs = tuple(
            replace(leg, stage=replace(leg.stage, crop=side, batch=batch))
            for leg, batch in ((intra, intra_batch), (inter, inter_batch))
        )
        words = f"as many pixels a step in crops of {side}"
        return replace(base, name=f"crop {side}", words=words, legs=legs)

    def joint(weight: float) -> Trial:
        shorter = replace(inter, seconds=inter_s * 2 / 3)
        last = Leg(
            _stage("joint", batch=8, frames=3, intra_weight=weight, learning_rate=3e-4),
            inter_s / 3,
        )
        words = f"the last third jointly, intra frames weighing {weight}"
        return replace(
            base, name=f"joint, intra {weight}", words=words, legs=(intra, shorter, last)
        )

    found = (
        base,
        replace(base, name=BASE_AGAIN, words="as base", seed=2),
        replace(
            base,
            name="random start",
            words="no analytic start",
            legs=tuple(replace(leg, analytic=False) for leg in base.legs),
        ),
        replace(
            base,
            name="random inter",
            words="no analytic start of the inter model, which is a copy and a coded difference",
            legs=(intra, replace(inter, analytic=False)),
        ),
        width(
            "fewer latents", "160 of them, wider entropy networks",
            {"latent": 160, "entropy_width": 160}, {"groups": (8, 32), "entropy_width": 128},
        ),
        width(
            "more latents", "320 of them, 384 in inter frames, narrower entropy networks",
            {"latent": 320, "entropy_width": 96}, {"groups": (8, 88), "entropy_width": 80},
        ),
        width(
            "wide", "intra width 96, fewer blocks", {"width": 96, "decoder_blocks": 3}, {}
        ),
        width(
            "narrow", "intra width 64, more blocks", {"width": 64, "decoder_blocks": 6}, {}
        ),
        width(
            "narrow encoder", "the intra encoder as wide as its decoder", {"encoder_width": 80}, {}
        ),
        stage("pictures 1.0", "at the rate of the entropy models", picture_rate=1.0),
        stage("pictures 0.3", "at 0.3 of the rate of the entropy models", picture_rate=0.3),
        width("4 first", "the 4 first coefficients before the rest", {}, {"groups": (4, 76)}),
        width("16 first", "the 16 first before the rest", {}, {"groups": (16, 64)}),
        stage("2 frames", "12 sequences of 2 frames a step", frames=2, batch=12),
        stage("6 frames", "4 sequences of 6 frames a step", frames=6, batch=4),
        stage(
            "6 frames, later 0.1", "weights from 0.8 to 1.2",
            frames=6, batch=4, later_weight=0.1,
        ),
        crop(64, 64, 32),
        crop(256, 4, 2),
        stage("no photos", "share 0 of the sequences", photo_share=0.0),
        stage("half photos", "share 0.5 of the sequences", photo_share=0.5),
        stage("hard rounding", "in the inter stage", rounding="hard"),
        joint(0.1),
        joint(0.5),
    )  # fmt: skip
    return {trial.name: trial for trial in found}


def _stage(task: str, **changes: Any) -> Stage:
    usual: dict[str, Any] = {
        "name": task, "steps": 1, "crop": 128, "learning_rate": 1e-3,
        "final_learning_rate": 1e-4, "warmup_steps": 30, "ema": EMA,
    }  # fmt: skip
    return Stage(task=task, **(usual | changes))
