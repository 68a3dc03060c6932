"""Means over clips, and BD-rates between coded clips."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rate_distortion import Curve, Point, delta_rate

from model_coding.codec import CodedClip


def mean_points(clips: Sequence[Sequence[CodedClip]]) -> list[CodedClip]:
    """Mean over clips at each quality; every clip has the same qualities in the same order."""
    means = []
    for same in zip(*clips, strict=True):
        if len({point.quality for point in same}) != 1:
            raise ValueError("the clips were coded at different qualities")
        means.append(
            CodedClip(
                quality=same[0].quality,
                bits_per_pixel=fmean(p.bits_per_pixel for p in same),
                psnr_rgb_db=fmean(p.psnr_rgb_db for p in same),
                mse=fmean(p.mse for p in same),
            )
        )
    return means


def bd_rate(anchor: Sequence[CodedClip] | Curve, test: Sequence[CodedClip]) -> float | None:
    """Return the BD-rate (PSNR, RGB) of ``test`` against ``anchor`` in percent.

    None where :func:`rate_distortion.delta_rate` gives none.
    """
    known = anchor if isinstance(anchor, Curve) else curve_from_points("anchor", anchor)
    return delta_rate(known, curve_from_points("test", test), "psnr_rgb_db")


def curve_from_points(name: str, points: Sequence[CodedClip]) -> Curve:
    """Return coded clips as a curve of rate and quality. No file was written: its size is 0."""
    return Curve(
        name, tuple(Point(float(p.quality), 0, p.bits_per_pixel, p.psnr_rgb_db) for p in points)
    )
