"""What exact pixels cost, and how far decoded samples are apart between legs without them.

    python tools/exact_pixels.py -i CLIP -o docs/results/exact_pixels-swift-s

Encodes a clip at three qualities without and with ``--exact pixels`` on native ONNX Runtime, and
decodes both streams on every leg of the platform matrix; emulated legs get a small cut of it.
Writes OUT.json and OUT.md. Exit code 0 if exact pixels are the same on every leg, 4 if not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from machine import machine_facts
from platform_legs import REFERENCE, Cache, Leg, all_legs, choose_legs
from platform_legs.cache import DEFAULT_CACHE
from platform_trials.pixels import PixelStreams, compare_on, encode_pixels
from platform_trials.plan import MAIN, SMALL
from platform_trials.rounds import run_on_legs
from platform_trials.scene import Scene, load_scene
from report_files import refuse_problems, run_tool, write_report

from nvc_engines import Engine
from nvc_runtime import Bundle, EncoderSettings, open_bundle


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)

    def work() -> int:
        legs = all_legs()
        if options.legs:
            legs = choose_legs(legs, options.legs.split(","))
        bundle = open_bundle(options.bundle)
        clip = None if options.clip is None else str(options.clip)
        scenes = [
            load_scene(MAIN, clip, tuple(options.size), options.frames),
            load_scene(SMALL, clip, tuple(options.small_size), options.small_frames),
        ]
        settings = [
            EncoderSettings(
                quality=quality,
                keyint=0,
                pixel_epsilon=options.pixel_epsilon,
                sync=options.sync,
                scene_cuts=False,
            )
            for quality in options.quality
        ]
        cache = Cache(options.cache.expanduser(), offline=options.offline)
        record = measure(bundle, legs, scenes, settings, cache)
        write_report(options.output, record, markdown(record))
        refuse_problems(record["problems"])
        return 0

    return run_tool("exact_pixels", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("-i", "--clip", type=Path, help="video file; without one, pictures are made up")
    add("-o", "--output", type=Path, default=Path("exact_pixels"), help="without suffix")
    add("--bundle", help="name or path of the bundle (default: the shipped one)")
    add("--quality", type=int, nargs="+", default=[12, 32, 52])
    add("--size", type=int, nargs=2, default=[416, 240], help="cut from the middle")
    add("--frames", type=int, default=16)
    add("--small-size", type=int, nargs=2, default=[64, 64], help="for emulated legs")
    add("--small-frames", type=int, default=16, help="for emulated legs")
    add("--pixel-epsilon", type=float, help="bound for samples (default: the bundle's)")
    add("--sync", type=int, default=0, help="frames between sync frames, with exact pixels only")
    add("--legs", help="names of the legs, separated by commas (default: all)")
    add("--cache", type=Path, default=Path(DEFAULT_CACHE), help="default: %(default)s")
    add("--offline", action="store_true", help="set nothing up; use what the cache holds")
    return parser


def measure(
    bundle: Bundle,
    legs: Iterable[Leg],
    scenes: Sequence[Scene],
    settings: Sequence[EncoderSettings],
    cache: Cache,
) -> dict[str, Any]:
    """Encode on the reference, which comes first, and compare on every leg."""
    streams: list[PixelStreams] = []

    def compare(leg: Leg, engine: Engine) -> dict[str, Any]:
        if not streams:
            for scene in scenes:
                streams.extend(encode_pixels(bundle, engine, scene, settings))
        wanted = SMALL if leg.is_emulated else MAIN
        chosen = [stream for stream in streams if stream.scene.name == wanted]
        return {"results": [compare_on(bundle, engine, stream) for stream in chosen]}

    epsilon = settings[0].pixel_epsilon or bundle.manifest.defaults.pixel_epsilon
    found, problems = run_on_legs(legs, cache, compare)
    for leg in found:
        for result in leg.get("results", []):
            where = f"{leg['name']}, {result['scene']}, quality {result['quality']}"
            if result["error"]:
                problems.append(f"{where}: {result['error']}")
            elif not result["exact_is_equal"]:
                problems.append(f"{where}: {result['exact']['differing']} exact samples differ")
            elif (drift := result["exact"]["before_rounding"]) > epsilon:
                problems.append(f"{where}: drift {drift:.3g} exceeds the pixel epsilon")
    return {
        "machine": machine_facts(),
        "bundle": {"name": bundle.name, "digest": bundle.digest.hex()},
        "reference": REFERENCE,
        "pixel_epsilon": epsilon,
        "sync": settings[0].sync,
        "passed": not problems,
        "problems": problems,
        "cost": [stream.cost_json() for stream in streams],
        "legs": found,
    }


def markdown(record: dict[str, Any]) -> str:
    """Tabulate the cost, and the differences without exact pixels."""
    available = [leg for leg in record["legs"] if leg["available"]]
    sync = f"every {record['sync']} frames" if record["sync"] else "none"
    verdict = "the same on every leg" if record["passed"] else "**not what it must be**"
    lines = [
        "# Exact pixels",
        "",
        f"{'Passed.' if record['passed'] else '**Failed.**'} Bundle "
        f"`{record['bundle']['name']}`, streams made on "
        f"`{record['reference']}`, one group of pictures each, decoded on {len(available)} legs. "
        f"With `--exact pixels` (pixel epsilon {record['pixel_epsilon']:g} of an 8-bit step, sync "
        f"frames: {sync}) the SHA-256 of all decoded RGB samples is {verdict}.",
        "",
        "## Cost",
        "",
        "| scene | quality | bit per pixel | PSNR | bits a frame | PSNR when exact "
        "| more bits a frame | share | of them for samples |",
        "|---" * 9 + "|",
    ]
    lines += [
        f"| {cost['clip']}, {cost['width']}x{cost['height']}, {cost['frames']} frames "
        f"| {cost['quality']} | {cost['bits_per_pixel']:.4f} | {cost['psnr_rgb_db']:.2f} dB "
        f"| {cost['bits_per_frame']:.0f} | {cost['exact_psnr_rgb_db']:.2f} dB "
        f"| {cost['extra_bits_per_frame']:.0f} | {100 * cost['extra_share']:.1f} % "
        f"| {cost['pixel_bits_per_frame']:.0f} |"
        for cost in record["cost"]
    ]
    lines += [
        "",
        "## Decoded samples, against those of the encoder's engine",
        "",
        "Without exact pixels: samples that differ, of 100,000; the largest difference; the PSNR "
        "between the two decodes; the largest difference before rounding, in 8-bit steps. With "
        "them: samples that differ, and the difference before rounding, which the pixel epsilon "
        "has to cover.",
        "",
        "| leg | size | quality | differ of 100,000 | by at most | PSNR between them "
        "| lowest frame | before rounding | exact: differ | before rounding | RGB hash |",
        "|---" * 11 + "|",
    ]
    sizes = {cost["scene"]: f"{cost['width']}x{cost['height']}" for cost in record["cost"]}
    for leg in record["legs"]:
        if not leg["available"]:
            lines.append(f"| {leg['name']} | skipped: {leg['reason']} |" + " |" * 9)
            continue
        for result in leg["results"]:
            plain, exact = result["plain"], result["exact"]
            share = 1e5 * plain["differing"] / max(1, plain["samples"])
            lines.append(
                f"| {leg['name']} | {sizes[result['scene']]} | {result['quality']} | {share:.2f} "
                f"| {plain['largest']} | {_db(plain['psnr_db'])} | {_db(plain['lowest_psnr_db'])} "
                f"| {plain['before_rounding']:.1e} | {exact['differing']} of {exact['samples']} "
                f"| {exact['before_rounding']:.1e} | `{result['exact_sha256'][:10]}` |"
            )
    return "\n".join([*lines, "", *(f"- {problem}" for problem in record["problems"])]) + "\n"


def _db(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f} dB"


if __name__ == "__main__":
    sys.exit(main())
