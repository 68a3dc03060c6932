"""Plots of rate-distortion curves, and of BD-rate by cost, speed and hours of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Marker:
    """One codec; what is None is left out of its panel."""

    name: str
    bd_rate_percent: float
    decoder_kmac_per_pixel: float | None
    decode_fps: float | None


def draw_overview(
    path: Path,
    markers: Sequence[Marker],
    lines: Mapping[str, float | None],
    anchor: str,
    height: int,
) -> None:
    """Draw two panels into an SVG file, the same bytes for the same figures."""
    figure, (cost, speed) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", sharey=True)
    for number, marker in enumerate(markers):
        color = f"C{number}"
        for axes, value in ((cost, marker.decoder_kmac_per_pixel), (speed, marker.decode_fps)):
            if value is not None:
                axes.plot(value, marker.bd_rate_percent, "o", markersize=8, color=color)
                axes.annotate(
                    marker.name,
                    (value, marker.bd_rate_percent),
                    textcoords="offset points",
                    xytext=(0, 8),
                    horizontalalignment="center",
                    color=color,
                )
    for axes in (cost, speed):
        for name, delta in lines.items():
            if delta is not None:
                axes.axhline(delta, linestyle="--", linewidth=1, color="0.4")
                latency = "zero latency" in name
                axes.text(
                    0.99 if latency else 0.01,
                    delta,
                    name,
                    transform=axes.get_yaxis_transform(),
                    horizontalalignment="right" if latency else "left",
                    verticalalignment="bottom",
                    fontsize=8,
                    color="0.3",
                )
        axes.set_xscale("log")
        axes.grid(alpha=0.3, which="both")
        axes.margins(x=0.4, y=0.12)
        axes.xaxis.set_major_formatter("{x:g}")
    speed.xaxis.set_minor_formatter("{x:g}")
    cost.set(xlabel="decoder kMAC per pixel, inter frame", ylabel=f"BD-rate against {anchor} (%)")
    speed.set(xlabel=f"frames/s at decoding, height {height}")
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def draw_progress(
    path: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], anchor: str
) -> None:
    """Draw hours of training against BD-rate, by codec, into an SVG file."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for name, (hours, deltas) in curves.items():
        axes.plot(hours, deltas, marker="o", markersize=4, label=name)
    axes.axhline(0, linestyle="--", linewidth=1, color="0.4", label=anchor)
    axes.set(xlabel="hours of training", ylabel=f"BD-rate against {anchor} (%)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
