"""Every shipped bundle in one plot: BD-rate against decoder cost and against decoding speed.

    python tools/bundle_overview.py -o docs/results/bundle_overview

Measures no video: takes the curves of `rd_curves.py` and the speeds of `benchmark.py` from the JSON
files in --results, and counts operations from the bundles themselves. BD-rates (PSNR, RGB) are
worked out anew from the curves, as means over the clips that all bundles have been measured on;
those of x264 and x265 are lines. Writes OUT.json, OUT.md and OUT.svg.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from machine import machine_facts
from rate_distortion import Curve, Marker, delta_rate, draw_overview
from rate_distortion.curves import point_from_json
from report_files import beside, percent, run_tool, write_report

from nvc_errors import UsageError
from nvc_export.bundle_complexity import complexity_from_bundle
from nvc_runtime.bundle import Bundle, known_bundles, open_bundle

ANCHOR = "x265 medium"
METRIC = "psnr_rgb_db"
MEAN = "mean"
PAPER = {"bd_rate_percent": -24.2, "decoder_kmac_per_pixel": round(76.3e6 / (1280 * 768), 2)}
"""The paper's calibrated codec against x265 medium, on UVG with GOP 12 (its Tables 2 and 3)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    plot: Path = beside(options.output, ".svg")

    def work() -> int:
        result = gather(options)
        write_report(options.output, result, markdown_from_result(result, plot.name))
        draw_overview(plot, _markers(result), result["lines"], ANCHOR, result["speed_height"])
        return 0

    return run_tool("bundle_overview", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, help="without suffix")
    add("--bundle", action="append", help="may be repeated; default: all that are shipped")
    results = Path(__file__).parent.parent / "docs" / "results"
    add("--results", type=Path, default=results, help="default: docs/results")
    add("--height", type=int, default=720, help="of the speeds in the plot; default: %(default)s")
    return parser


@dataclass(frozen=True)
class Measured:
    """A bundle's curves by clip with those of x264 and x265, and the digest they are of."""

    digest: str
    curves: Mapping[str, Mapping[str, Curve]]


def gather(options: argparse.Namespace) -> dict[str, Any]:
    """Put the figures of all bundles together; return the content of the JSON file."""
    names = options.bundle or sorted(path.name.removesuffix(".nvcb") for path in known_bundles())
    bundles = [open_bundle(name) for name in names]
    curve_files = _read(options.results, "rate_distortion*.json")
    speed_files = _read(options.results, "benchmark*.json")
    measured = {b.name: found for b in bundles if (found := _curves(b, curve_files)) is not None}
    missing = [b.name for b in bundles if b.name not in measured]
    if not measured:
        raise UsageError(
            f"{options.results}: no curves of {', '.join(missing)}; run tools/rd_curves.py first"
        )
    clips = sorted(set.intersection(*(set(found.curves) for found in measured.values())))
    if not clips:
        raise UsageError("the bundles were measured on different clips; measure them on the same")
    first = next(iter(measured.values()))
    references = [name for name in next(iter(first.curves.values())) if name not in measured]
    rows = {
        bundle.name: _row(bundle, measured[bundle.name], clips, speed_files)
        for bundle in bundles
        if bundle.name in measured
    }
    return {
        "format": "nvc-bundle-overview 1",
        "machine": machine_facts(),
        "anchor": ANCHOR,
        "clips": clips,
        "bundles": rows,
        "without_curves": missing,
        "speed_height": options.height,
        "lines": {name: mean_delta(first, name, clips) for name in references},
        "paper": PAPER,
    }


def _read(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob(pattern))]


def _curves(bundle: Bundle, files: Sequence[dict[str, Any]]) -> Measured | None:
    """Collect a bundle's curves; those of its digest if there are any, else of its name."""
    groups: dict[str, dict[str, dict[str, Curve]]] = {}
    for data in files:
        digests = {b["name"]: b["digest"] for b in data["bundles"]}
        if bundle.name not in digests:
            continue
        clips = groups.setdefault(digests[bundle.name], {})
        for clip, found in data["clips"].items():
            if clip != MEAN:
                clips[clip] = {
                    name: Curve(name, tuple(point_from_json(p) for p in points))
                    for name, points in found["curves"].items()
                    if name == bundle.name or name not in digests
                }
    if not groups:
        return None
    digest = bundle.digest.hex()
    chosen = digest if digest in groups else list(groups)[-1]
    return Measured(chosen, groups[chosen])


def mean_delta(measured: Measured, codec: str, clips: Sequence[str]) -> float | None:
    """Mean over clips of a codec's BD-rate against the anchor; None if a clip has none."""
    deltas = [
        delta_rate(measured.curves[clip][ANCHOR], measured.curves[clip][codec], METRIC)
        for clip in clips
    ]
    known = [delta for delta in deltas if delta is not None]
    return round(fmean(known), 2) if len(known) == len(deltas) else None


def _row(
    bundle: Bundle, measured: Measured, clips: Sequence[str], speeds: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return one bundle's figures."""
    intra, inter = complexity_from_bundle(bundle)
    digest = bundle.digest.hex()
    of_name = [data for data in speeds if data["bundle"]["name"] == bundle.name]
    return {
        "digest": digest,
        "curves_of_digest": measured.digest,
        "summary": bundle.manifest.card.get("summary"),
        "decoder_kmac_per_pixel": {
            "intra": round(intra.decoder_macs_per_pixel / 1000, 3),
            "inter": round(inter.decoder_macs_per_pixel / 1000, 3),
        },
        "bd_rate_percent": mean_delta(measured, bundle.name, clips),
        "decode_fps": {
            str(data["height"]): {
                "fps": data["decode"]["fps"]["median"],
                "width": data["width"],
                "engine": data["engine"]["name"],
                "threads": data["engine"]["threads"],
                "cpu": data["machine"]["cpu"],
                "of_digest": data["bundle"]["digest"],
            }
            for data in of_name
        },
    }


def _markers(result: dict[str, Any]) -> list[Marker]:
    """Return the points of the plot; what was not measured is left out of its panel."""
    height = str(result["speed_height"])
    markers = [
        Marker(
            name,
            row["bd_rate_percent"],
            row["decoder_kmac_per_pixel"]["inter"],
            row["decode_fps"].get(height, {}).get("fps"),
        )
        for name, row in result["bundles"].items()
        if row["bd_rate_percent"] is not None
    ]
    paper = result["paper"]
    title = "paper (its own figures)"
    return [
        *markers,
        Marker(title, paper["bd_rate_percent"], paper["decoder_kmac_per_pixel"], None),
    ]


def markdown_from_result(result: dict[str, Any], plot: str) -> str:
    """Return the plot and its figures."""
    lines = [
        "# Shipped bundles: bits, cost and speed",
        "",
        f"BD-rate (PSNR, RGB) against {result['anchor']}, mean over {len(result['clips'])} clips "
        f"that every bundle was measured on ({', '.join(result['clips'])}); positive means more "
        "bits for equal quality. Cost: multiply-accumulate operations of the decoder's graphs for "
        "an inter frame, by pixel. Speed: frames per second from file to frames, see the "
        "benchmarks. The paper's point is its own: UVG, GOP 12, x265 medium.",
        "",
        f"![bundles]({plot})",
        "",
        "| codec | BD-rate | decoder kMAC/pixel, inter (intra) | frames/s at decoding |",
        "|---|---|---|---|",
    ]
    stale = False
    for name, row in result["bundles"].items():
        earlier = row["curves_of_digest"] != row["digest"] or any(
            found["of_digest"] != row["digest"] for found in row["decode_fps"].values()
        )
        stale = stale or earlier
        cost = row["decoder_kmac_per_pixel"]
        speeds = "; ".join(
            f"{found['fps']:.1f} at {found['width']}x{height}"
            for height, found in sorted(row["decode_fps"].items(), key=lambda x: int(x[0]))
        )
        lines.append(
            f"| {name}{' *' if earlier else ''} | {percent(row['bd_rate_percent'])} "
            f"| {cost['inter']:.2f} ({cost['intra']:.2f}) | {speeds or '-'} |"
        )
    lines += [f"| {name} | {percent(delta)} | - | - |" for name, delta in result["lines"].items()]
    paper = result["paper"]
    lines.append(
        f"| paper (its own figures) | {percent(paper['bd_rate_percent'])} "
        f"| {paper['decoder_kmac_per_pixel']:.1f} | - |"
    )
    if stale:
        lines += ["", "\\* measured on an earlier digest of the bundle of that name."]
    if result["without_curves"]:
        lines += ["", f"Not measured yet: {', '.join(result['without_curves'])}."]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
