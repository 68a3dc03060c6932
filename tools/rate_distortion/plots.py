"""Plots of rate-distortion curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "nvc"

from matplotlib import pyplot as plt  # noqa: E402 - the backend has to be chosen before

from rate_distortion.curves import Curve  # noqa: E402

LABELS = {"psnr_rgb_db": "PSNR, RGB (dB)", "ms_ssim": "MS-SSIM, RGB (dB)"}


def draw_curves(path: Path, title: str, curves: Sequence[Curve], metric: str) -> None:
    """Draw bits per pixel against quality into an SVG file, the same bytes for the same curves."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for curve in curves:
        rates, qualities = curve.values(metric)
        reference = curve.codec.startswith("x26")
        axes.plot(
            rates,
            qualities,
            marker="o",
            markersize=4,
            linewidth=1.2 if reference else 2.2,
            linestyle="--" if "zero latency" in curve.codec else "-",
            label=curve.codec,
        )
    axes.set(title=title, xlabel="bits per pixel", ylabel=LABELS[metric])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
