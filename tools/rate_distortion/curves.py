"""Points of rate and quality, curves of them, and Bjontegaard deltas between curves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import bjontegaard
import numpy as np

from rate_distortion.metrics import ms_ssim_db

METRICS = ("psnr_rgb_db", "ms_ssim")
MIN_OVERLAP = 0.5
"""Least share of the shorter of both curves' quality ranges that a delta may rest on."""


@dataclass(frozen=True)
class Point:
    """One clip at one setting of one codec. ``size_bytes``: the file on disk."""

    setting: float
    size_bytes: int
    bits_per_pixel: float
    psnr_rgb_db: float
    ms_ssim: float | None = None

    def quality(self, metric: str) -> float | None:
        """Quality in decibels by a metric of ``METRICS``; None if it was not measured."""
        if metric == "psnr_rgb_db":
            return self.psnr_rgb_db
        return None if self.ms_ssim is None else ms_ssim_db(self.ms_ssim)

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``point_from_json`` reads it."""
        return asdict(self)


def point_from_json(data: dict[str, Any]) -> Point:
    """Read what ``Point.to_json`` gave."""
    return Point(**data)


@dataclass(frozen=True)
class Curve:
    """A codec's points on one clip."""

    codec: str
    points: tuple[Point, ...]

    def values(self, metric: str) -> tuple[list[float], list[float]]:
        """Bits per pixel and quality in decibels, by rate; empty if it was not measured."""
        pairs = [(p.bits_per_pixel, p.quality(metric)) for p in self.points]
        known = sorted((rate, quality) for rate, quality in pairs if quality is not None)
        return [rate for rate, _ in known], [quality for _, quality in known]


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Mean over clips of the points with equal settings. Decibels of PSNR are averaged."""
    points = []
    for same in zip(*(sorted(c.points, key=lambda p: p.setting) for c in curves), strict=True):
        if len({p.setting for p in same}) != 1:
            raise ValueError("curves of one codec have different settings")
        similar = [p.ms_ssim for p in same if p.ms_ssim is not None]
        points.append(
            Point(
                setting=same[0].setting,
                size_bytes=sum(p.size_bytes for p in same),
                bits_per_pixel=float(np.mean([p.bits_per_pixel for p in same])),
                psnr_rgb_db=float(np.mean([p.psnr_rgb_db for p in same])),
                ms_ssim=float(np.mean(similar)) if len(similar) == len(same) else None,
            )
        )
    return Curve(curves[0].codec, tuple(points))


def delta_rate(anchor: Curve, test: Curve, metric: str) -> float | None:
    """Bjontegaard delta rate in percent: how many more bits `test` needs for equal quality.

    Piecewise cubic interpolation (PCHIP). None if a curve has fewer than four points, does not
    rise strictly, or if they overlap in less than half of the shorter quality range.
    """
    rates_a, qualities_a = anchor.values(metric)
    rates_t, qualities_t = test.values(metric)
    for qualities in (qualities_a, qualities_t):
        if len(qualities) < 4 or any(np.diff(qualities) <= 0):
            return None
    common = min(qualities_a[-1], qualities_t[-1]) - max(qualities_a[0], qualities_t[0])
    span = min(qualities_a[-1] - qualities_a[0], qualities_t[-1] - qualities_t[0])
    if common < MIN_OVERLAP * span:
        return None
    with warnings.catch_warnings():
        # Its warnings are about the overlap, which has been judged.
        warnings.simplefilter("ignore")
        return float(
            bjontegaard.bd_rate(
                rates_a,
                qualities_a,
                rates_t,
                qualities_t,
                method="pchip",
                require_matching_points=False,
                min_overlap=0,
            )
        )
