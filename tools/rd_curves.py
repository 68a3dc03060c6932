"""Rate-distortion curves of this codec, x264 and x265 on the same frames.

    python tools/rd_curves.py -i CLIP -i CLIP --frames 32 -o docs/results/rate_distortion

Every codec gets the same frames and an intra frame every --keyint frames, and nowhere else;
--bundle may be repeated.
Bits are those of the file on disk: for bundles with header, checks, calibration and index, for x264
and x265 (preset medium, with its default structure and with tune=zerolatency) the elementary
stream. Quality is measured on 8-bit RGB and averaged over frames. Writes OUT.json, OUT.md, and
OUT-CLIP.svg and OUT-mean.svg. --cache keeps the points of x264 and x265; --known takes points of
bundles from earlier reports, where bundle, clip, frames and intra frames are the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import machine_facts
from rate_distortion import (
    REFERENCE_CODECS,
    Curve,
    Point,
    ReferenceCodec,
    cached_point,
    delta_rate,
    draw_curves,
    mean_curve,
    neural_point,
)
from rate_distortion.curves import METRICS, point_from_json
from report_files import add_numbers, beside, clips_parser, percent, run_tool, write_report

from nvc_engines import Engine, open_engine
from nvc_errors import UsageError
from nvc_runtime.bundle import Bundle, open_bundle
from nvc_runtime.codec import EncoderSettings

MEAN = "mean"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)

    def work() -> int:
        result, curves = measure(options)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        plots = _draw(options.output, curves, result["metrics"])
        write_report(options.output, result, markdown_from_result(result, plots))
        return 0

    return run_tool("rd_curves", work)


def _parser() -> argparse.ArgumentParser:
    parser = clips_parser(__doc__)
    add = parser.add_argument
    add("--bundle", action="append", help="name or path, may be repeated; default: the shipped one")
    add("--engine", default="ort:cpu", help="default: %(default)s")
    add("--frames", type=int, default=32, help="of every clip; default: %(default)s")
    add("--keyint", type=int, default=32, help="default: %(default)s")
    add_numbers(parser, "--qualities", [0, 16, 32, 48, 63])
    add_numbers(parser, "--crf", list(range(15, 44, 4)))
    add("--ms-ssim", action="store_true", help="measure MS-SSIM, too (slow)")
    add("--cache", type=Path, help="folder that keeps the points of x264 and x265")
    add("--known", type=Path, action="append", default=[], help="earlier report, may be repeated")
    return parser


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, list[Curve]]]:
    """Measure every clip; return the content of the JSON file, and the curves by clip."""
    names = [clip.stem for clip in options.clip]
    if len(set(names)) != len(names) or MEAN in names:
        raise UsageError(f"clips must have different names other than {MEAN!r}; found {names}")
    if options.frames < 1:
        raise UsageError(f"--frames is {options.frames}, expected at least 1")
    bundles = [open_bundle(name) for name in options.bundle or [None]]
    if len({bundle.name for bundle in bundles}) != len(bundles):
        raise UsageError(f"bundles must have different names; found {[b.name for b in bundles]}")
    metrics = METRICS if options.ms_ssim else METRICS[:1]
    curves: dict[str, list[Curve]] = {}
    known = _known_points(options)
    with open_engine(options.engine) as engine:
        for clip in options.clip:
            curves[clip.stem] = [
                *(_neural_curve(bundle, engine, clip, options, known) for bundle in bundles),
                *(_reference_curve(codec, clip, options) for codec in REFERENCE_CODECS),
            ]
    if len(names) > 1:
        curves[MEAN] = [mean_curve(same) for same in zip(*curves.values(), strict=True)]
    ours = len(bundles)
    clips = {
        name: {
            "curves": {curve.codec: [p.to_json() for p in curve.points] for curve in found},
            "bd_rate_percent": {
                bundle.name: _deltas(name, number, ours, metrics, curves)
                for number, bundle in enumerate(bundles)
            },
        }
        for name, found in curves.items()
    }
    result = {
        "format": "nvc-rate-distortion 1",
        "machine": machine_facts(),
        "bundles": [{"name": b.name, "digest": b.digest.hex()} for b in bundles],
        "engine": str(engine.info.spec),
        "frames": options.frames,
        "keyint": options.keyint,
        "scene_cuts": False,
        "repeats": True,
        "metrics": list(metrics),
        "options": {c.name: c.options(0, options.keyint) | {"crf": "*"} for c in REFERENCE_CODECS},
        "clips": clips,
    }
    return result, curves


Known = dict[tuple[str, str, float], Point]
"""Points by digest of the bundle, clip and quality."""


def _known_points(options: argparse.Namespace) -> Known:
    """Points of the reports that were measured on as many frames, and with MS-SSIM if asked for."""
    known: Known = {}
    for path in options.known:
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            if (report["frames"], report["keyint"]) != (options.frames, options.keyint):
                continue
            # Older reports have intra frames at cuts, too, and no repeats.
            if report.get("scene_cuts", True) or not report.get("repeats", False):
                continue
            for bundle in report["bundles"]:
                for clip, found in report["clips"].items():
                    for data in found["curves"][bundle["name"]]:
                        point = point_from_json(data)
                        if point.ms_ssim is not None or not options.ms_ssim:
                            known[bundle["digest"], clip, point.setting] = point
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: no report of rd_curves.py: {error!r}") from error
    return known


def _neural_curve(
    bundle: Bundle, engine: Engine, clip: Path, options: argparse.Namespace, known: Known
) -> Curve:
    points = []
    for quality in options.qualities:
        if point := known.get((bundle.digest.hex(), clip.stem, quality)):
            points.append(point)
            continue
        settings = EncoderSettings(quality=quality, keyint=options.keyint, scene_cuts=False)
        point = neural_point(
            bundle,
            engine,
            clip,
            settings,
            frames=options.frames,
            with_ms_ssim=options.ms_ssim,
        )
        _say(clip, bundle.name, point)
        points.append(point)
    return Curve(bundle.name, tuple(points))


def _reference_curve(codec: ReferenceCodec, clip: Path, options: argparse.Namespace) -> Curve:
    points = []
    for crf in options.crf:
        point = cached_point(
            codec,
            clip,
            crf,
            options.cache,
            keyint=options.keyint,
            frames=options.frames,
            with_ms_ssim=options.ms_ssim,
        )
        _say(clip, codec.name, point)
        points.append(point)
    return Curve(codec.name, tuple(points))


def _say(clip: Path, codec: str, point: Point) -> None:
    print(
        f"{clip.stem} {codec} {point.setting:g}: {point.bits_per_pixel:.4f} bit/pixel, "
        f"{point.psnr_rgb_db:.2f} dB",
        file=sys.stderr,
    )


def _deltas(
    clip: str, test: int, first_anchor: int, metrics: Sequence[str], curves: dict[str, list[Curve]]
) -> dict[str, dict[str, float | None]]:
    """Deltas of the curve at place ``test`` against the anchors, which come after all of ours.

    Those of the mean are the mean of the clips' deltas, if every clip has one.
    """
    names = [name for name in curves if name != MEAN] if clip == MEAN else [clip]
    deltas: dict[str, dict[str, float | None]] = {}
    for number, anchor in enumerate(curves[clip][first_anchor:], start=first_anchor):
        deltas[anchor.codec] = {}
        for metric in metrics:
            each = [delta_rate(curves[n][number], curves[n][test], metric) for n in names]
            known = [value for value in each if value is not None]
            deltas[anchor.codec][metric] = (
                round(sum(known) / len(known), 3) if len(known) == len(each) else None
            )
    return deltas


def _draw(
    output: Path, curves: dict[str, list[Curve]], metrics: Sequence[str]
) -> dict[tuple[str, str], Path]:
    plots = {}
    for name, found in curves.items():
        for metric in metrics:
            suffix = "" if metric == METRICS[0] else f"-{metric.replace('_', '-')}"
            path = beside(output, f"-{name}{suffix}.svg")
            draw_curves(path, name, found, metric)
            plots[name, metric] = path
    return plots


def markdown_from_result(result: dict[str, Any], plots: dict[tuple[str, str], Path]) -> str:
    """Bjontegaard deltas, plots and points for people."""
    bundles = [bundle["name"] for bundle in result["bundles"]]
    anchors = list(next(iter(result["clips"].values()))["bd_rate_percent"][bundles[0]])
    lines = [
        "# Rate and distortion",
        "",
        f"{result['frames']} frames of every clip, an intra frame every {result['keyint']}. "
        "BD-rate of a bundle against each encoder: positive means that it needs more bits for "
        "equal quality. A dash: the curves do not overlap enough, or one does not rise.",
    ]
    titles = {"psnr_rgb_db": "PSNR (RGB)", "ms_ssim": "MS-SSIM (RGB)"}
    for metric in result["metrics"]:
        lines += ["", f"## BD-rate, {titles[metric]}", ""]
        lines.append("| clip | bundle | " + " | ".join(anchors) + " |")
        lines.append("|---" * (len(anchors) + 2) + "|")
        for name, clip in result["clips"].items():
            for bundle in bundles:
                found = [clip["bd_rate_percent"][bundle][anchor][metric] for anchor in anchors]
                cells = [percent(value) for value in found]
                lines.append(f"| {name} | {bundle} | " + " | ".join(cells) + " |")
        chosen = MEAN if MEAN in result["clips"] else next(iter(result["clips"]))
        lines += ["", f"![{chosen}]({plots[chosen, metric].name})"]
    lines += ["", "## Points", "", "| clip | codec | setting | bit/pixel | PSNR (dB) | MS-SSIM |"]
    lines.append("|---" * 6 + "|")
    for name, clip in result["clips"].items():
        for codec, points in clip["curves"].items():
            lines += [
                f"| {name} | {codec} | {p['setting']:g} | {p['bits_per_pixel']:.4f} | "
                f"{p['psnr_rgb_db']:.2f} | "
                + ("-" if p["ms_ssim"] is None else f"{p['ms_ssim']:.4f}")
                + " |"
                for p in points
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
