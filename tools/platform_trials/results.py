"""What a run of the matrix found, and whether that is good."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from machine import machine_facts
from platform_legs import REFERENCE, Leg

from nvc_calib import PositionCoder, recommend_epsilon
from nvc_engines import EngineInfo
from nvc_errors import CalibrationError
from nvc_runtime.stream import ExactMode
from platform_trials.plan import MatrixPlan
from platform_trials.trial import Decoding, Stream

FORMAT = "nvc-platform-matrix"
FORMAT_VERSION = 1


@dataclass
class LegRecord:
    """A leg, and what its engine says; ``reason``: why it could not be opened."""

    leg: Leg
    info: EngineInfo | None = None
    reason: str = ""
    digest: str = ""
    repeats: bool = True
    set_up_s: float = 0.0
    frame_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        data: dict[str, Any] = {
            "name": self.leg.name,
            "title": self.leg.title,
            "available": self.info is not None,
        }
        if self.info is None:
            return data | {"reason": self.reason}
        return data | {
            "engine": str(self.info.spec),
            "version": self.info.backend_version,
            "device": self.info.device_name,
            "flags": dict(self.info.flags),
            "threads": self.info.threads,
            "probe_sha256": self.digest,
            "repeats": self.repeats,
            "set_up_s": round(self.set_up_s, 2),
            "frame_s": round(self.frame_s, 4),
        }


@dataclass(frozen=True)
class Pair:
    """One stream decoded by one leg."""

    stream: Stream
    decoder: str
    decoding: Decoding

    @property
    def encoder(self) -> str:
        """Name of the leg that encoded."""
        return self.stream.encoder

    @property
    def failure_rate(self) -> float:
        """Failed frames over all frames, 0..1."""
        return len(self.decoding.failed) / self.stream.frames

    @property
    def needed_epsilon(self) -> float | None:
        """Epsilon that covers the drift with a margin; None if there is none below 0.25."""
        try:
            return recommend_epsilon(self.decoding.total_drift)
        except CalibrationError:
            return None

    def to_json(self) -> dict[str, Any]:
        """Plain data; drift and samples only where they were compared."""
        decoding = self.decoding
        data: dict[str, Any] = {
            "encoder": self.encoder,
            "decoder": self.decoder,
            "scene": self.stream.scene,
            "gop": self.stream.gop,
            "calibration": self.stream.coder.value,
            "frames": self.stream.frames,
            "failed": len(decoding.failed),
        }
        if decoding.first_error:
            data["first_error"] = decoding.first_error
        if not self.stream.trace:
            return data
        total = decoding.total_drift
        return data | {
            "drift": {
                "max": total.max_difference,
                "mean": total.mean_difference,
                "elements": total.elements,
                "flips": total.flips,
                "coded_flips": total.coded_flips,
                "epsilon_with_margin": self.needed_epsilon,
                "by_latent": {
                    name: {"max": part.max_difference, "mean": part.mean_difference}
                    for name, part in sorted(decoding.drift.items())
                },
                "max_by_frame": [
                    float(f"{decoding.drift_by_frame[number]:.3g}")
                    for number in sorted(decoding.drift_by_frame)
                ],
            },
            "samples": {
                "compared": decoding.samples,
                "differing": decoding.differing,
                "largest": decoding.largest,
            },
        }


@dataclass
class MatrixResult:
    """Everything that a run found. ``problems`` is empty if it is as it must be."""

    plan: MatrixPlan
    bundle_name: str
    bundle_digest: str
    epsilon: float = 0.0
    source: str = ""
    legs: list[LegRecord] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    estimate_s: float = 0.0
    elapsed_s: float = 0.0
    machine: dict[str, object] = field(default_factory=machine_facts)

    @property
    def distinct(self) -> int:
        """Number of bit-distinct platforms."""
        return len({record.digest for record in self.legs if record.info})

    def chosen(self, gop: int, coder: PositionCoder) -> list[Pair]:
        """Return the pairs of one GOP and calibration."""
        return [p for p in self.pairs if p.stream.gop == gop and p.stream.coder is coder]

    def failures(self, gop: int, coder: PositionCoder, *, others_only: bool) -> tuple[int, int]:
        """Return (failed frames, frames); ``others_only`` leaves out legs decoding themselves."""
        pairs = [p for p in self.chosen(gop, coder) if not (others_only and p.encoder == p.decoder)]
        return sum(len(p.decoding.failed) for p in pairs), sum(p.stream.frames for p in pairs)

    def worst_drift(self) -> Pair | None:
        """Return the pair with the largest drift."""
        measured = [pair for pair in self.pairs if pair.decoding.drift]
        return max(measured, key=lambda p: p.decoding.total_drift.max_difference, default=None)

    def judge(self) -> None:
        """Add everything that must not be to ``problems``."""
        there = sum(record.info is not None for record in self.legs)
        wanted = min(self.plan.min_distinct, there)
        if self.distinct < wanted:
            twins = Counter(record.digest for record in self.legs if record.info)
            same = [r.leg.name for r in self.legs if r.info and twins[r.digest] > 1]
            self.problems.append(
                f"{self.distinct} bit-distinct platforms, expected at least {wanted}: "
                f"{', '.join(same)} are not all different"
            )
        exact_pixels = self.plan.settings.exact is ExactMode.PIXELS
        for pair in self.pairs:
            where = (
                f"{pair.encoder} to {pair.decoder}, GOP {pair.stream.gop}, "
                f"{pair.stream.coder.value}"
            )
            if pair.stream.coder is PositionCoder.NONE:
                continue
            drift = pair.decoding.total_drift.max_difference
            if pair.decoding.failed:
                self.problems.append(
                    f"{where}: {len(pair.decoding.failed)} of {pair.stream.frames} frames failed: "
                    f"{pair.decoding.first_error}"
                )
            if drift > self.epsilon:
                self.problems.append(
                    f"{where}: drift {drift:.3g} exceeds epsilon {self.epsilon:.3g}"
                )
            if exact_pixels and pair.decoding.differing:
                self.problems.append(f"{where}: {pair.decoding.differing} samples differ")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        worst = self.worst_drift()
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": self.machine,
            "bundle": {"name": self.bundle_name, "digest": self.bundle_digest},
            "clip": self.source,
            "plan": self.plan.to_json(),
            "epsilon": self.epsilon,
            "exact": self.plan.settings.exact.value,
            "reference": REFERENCE,
            "passed": not self.problems,
            "problems": self.problems,
            "distinct_platforms": self.distinct,
            "worst_drift": None if worst is None else worst.to_json()["drift"]["max"],
            "legs": [record.to_json() for record in self.legs],
            "streams": [stream.to_json() for stream in self.streams],
            "pairs": [pair.to_json() for pair in self.pairs],
            "elapsed_s": round(self.elapsed_s, 1),
            "estimate_s": round(self.estimate_s, 1),
        }
