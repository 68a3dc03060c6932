"""Drift along a long GOP: how far every leg is from the encoder, frame by frame, without refresh.

    python tools/drift_curve.py -i CLIP --frames 301 -o docs/results/drift_curve-swift-s
    python tools/drift_curve.py -i CLIP --frames 301 --sync 32 -o docs/results/drift_curve_sync-NAME

Encodes one group of pictures on native ONNX Runtime (a clip that is shorter is played back and
forth), records a trace of the stream on every leg of the platform matrix, and compares every scale
index with the encoder's. Emulated legs get a small cut of the clip. Writes OUT.json, OUT.md and
OUT.svg. Exit code 0 if every leg found the encoder's symbols and kept to epsilon, 4 if not.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from machine import machine_facts
from platform_legs import REFERENCE, Cache, Leg, all_legs, choose_legs
from platform_legs.cache import DEFAULT_CACHE
from platform_trials.plan import MAIN, SMALL
from platform_trials.rounds import run_on_legs
from platform_trials.scene import MADE_UP, Scene, load_scene
from platform_trials.trial import intra_frames
from report_files import beside, refuse_problems, run_tool, write_report

from nvc_engines import Engine
from nvc_errors import VerificationError
from nvc_runtime import Bundle, Encoder, EncoderSettings, open_bundle
from nvc_runtime.drift import Comparison, Trace, compare_traces, record_trace
from nvc_runtime.video import Frame, open_reader

MILESTONES = (0, 1, 8, 32, 96, 192, 300)
EMULATED = "--"
"""Line style of legs that saw the small cut."""


@dataclass(frozen=True)
class Reference:
    """A stream, its settings in effect, and what the encoder's engine computes for it."""

    scene: str
    trace: Trace
    bits_per_pixel: float
    psnr_rgb_db: float
    sample_bits_per_frame: float
    intra_frames: list[int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)

    def work() -> int:
        legs = all_legs()
        if options.legs:
            legs = choose_legs(legs, options.legs.split(","))
        bundle = open_bundle(options.bundle)
        settings = EncoderSettings(
            quality=options.quality,
            epsilon=options.epsilon,
            keyint=0,
            sync=options.sync,
            scene_cuts=False,
            repeats=False,
        )
        scenes = [
            _scene(name, options.clip, tuple(size), options.frames)
            for name, size in ((MAIN, options.size), (SMALL, options.small_size))
        ]
        cache = Cache(options.cache.expanduser(), offline=options.offline)
        record = measure(bundle, legs, scenes, options.frames, settings, cache)
        write_report(options.output, record, markdown(record, f"{options.output.name}.svg"))
        plot(record, beside(options.output, ".svg"))
        refuse_problems(record["problems"])
        return 0

    return run_tool("drift_curve", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("-i", "--clip", type=Path, help="video file; without one, pictures are made up")
    add("-o", "--output", type=Path, default=Path("drift_curve"), help="without suffix")
    add("--bundle", help="name or path of the bundle (default: the shipped one)")
    add("--frames", type=int, default=97, help="of the one GOP (default: 97)")
    add("--size", type=int, nargs=2, default=[256, 128], help="cut from the middle")
    add("--small-size", type=int, nargs=2, default=[64, 64], help="for emulated legs")
    add("--quality", type=int, help="quality index (default: the bundle's)")
    add("--epsilon", type=float, help="bound of the drift (default: the bundle's)")
    add("--sync", type=int, default=0, help="frames between sync frames (default: 0, none)")
    add("--legs", help="names of the legs, separated by commas (default: all)")
    add("--cache", type=Path, default=Path(DEFAULT_CACHE), help="default: %(default)s")
    add("--offline", action="store_true", help="set nothing up; use what the cache holds")
    return parser


def _scene(name: str, clip: Path | None, size: tuple[int, int], frames: int) -> Scene:
    """Load as many frames as the clip has, but no more than ``frames``."""
    if clip is None:
        return load_scene(name, None, size, frames)
    with open_reader(str(clip), limit=frames) as reader:
        count = sum(1 for _ in reader)
    return load_scene(name, str(clip), size, count)


def back_and_forth(frames: Sequence[Frame], count: int) -> Iterator[Frame]:
    """Play a clip forwards and backwards until ``count`` frames are delivered."""
    period = max(1, 2 * (len(frames) - 1))
    for number in range(count):
        place = number % period
        yield frames[place if place < len(frames) else period - place]


def measure(
    bundle: Bundle,
    legs: Iterable[Leg],
    scenes: Sequence[Scene],
    frames: int,
    settings: EncoderSettings,
    cache: Cache,
) -> dict[str, Any]:
    """Encode on the reference, which comes first, and compare every leg with it."""
    references: dict[str, Reference] = {}

    def compare(leg: Leg, engine: Engine) -> dict[str, Any]:
        if not references:
            for scene in scenes:
                references[scene.name] = _reference(bundle, engine, scene, frames, settings)
        reference = references[SMALL if leg.is_emulated else MAIN]
        trace = record_trace(reference.trace.stream, engine, bundle=bundle, full_every=1)
        return {"scene": reference.scene} | _drift_json(compare_traces(reference.trace, trace))

    found, problems = run_on_legs(legs, cache, compare)
    epsilon = references[MAIN].trace.info.epsilon
    for leg in found:
        if leg["available"] and not leg["symbols_equal"]:
            problems.append(f"{leg['name']}: {leg['errors'][1] or 'other symbols'}")
        elif leg["available"] and leg["max_difference"] > epsilon:
            first = first_beyond(leg["max_by_frame"], epsilon)
            problems.append(
                f"{leg['name']}: drift {leg['max_difference']:.2e} exceeds epsilon {epsilon:.2e}, "
                f"first in frame {first}; its symbols are right by luck"
            )
    return {
        "machine": machine_facts(),
        "bundle": {"name": bundle.name, "digest": bundle.digest.hex()},
        "clip": scenes[0].source,
        "clip_frames": len(scenes[0].frames),
        "sizes": {scene.name: [scene.info.width, scene.info.height] for scene in scenes},
        "frames": frames,
        "quality": bundle.manifest.defaults.quality
        if settings.quality is None
        else settings.quality,
        "epsilon": epsilon,
        "pixel_epsilon": bundle.manifest.defaults.pixel_epsilon,
        "sync": settings.sync,
        "reference": REFERENCE,
        "streams": {
            name: {
                "bits_per_pixel": reference.bits_per_pixel,
                "psnr_rgb_db": reference.psnr_rgb_db,
                "sample_bits_per_frame": reference.sample_bits_per_frame,
                "intra_frames": reference.intra_frames,
            }
            for name, reference in references.items()
        },
        "passed": not problems,
        "problems": problems,
        "legs": found,
    }


def first_beyond(drifts: Sequence[float], epsilon: float) -> int:
    """Return the first frame whose drift is beyond epsilon, or the first with the largest.

    Drifts are rounded for the report: one that is just beyond epsilon may look smaller.
    """
    beyond = (number for number, drift in enumerate(drifts) if drift >= epsilon)
    return next(beyond, drifts.index(max(drifts)))


def _drift_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data, with a list over the frames for each figure."""
    data = comparison.to_json()
    frames = data.pop("per_frame")
    for name in ("engines", "frames", "margin"):
        del data[name]
    return data | {
        "max_by_frame": [float(f"{frame['max_difference']:.3g}") for frame in frames],
        "sample_max_by_frame": [float(f"{frame['sample_max']:.3g}") for frame in frames],
        "coded_flips_by_frame": [frame["coded_flips"] for frame in frames],
    }


def _reference(
    bundle: Bundle, engine: Engine, scene: Scene, frames: int, settings: EncoderSettings
) -> Reference:
    stream = io.BytesIO()
    info = replace(scene.info, frame_count=frames)
    encoder = Encoder(bundle, engine, settings)
    report = encoder.encode(back_and_forth(scene.frames, frames), info, stream)
    intra = intra_frames(stream.getvalue())
    if len(intra) != 1:
        raise VerificationError(f"{scene.name}: intra frames {intra}, expected one at the start")
    return Reference(
        scene=scene.name,
        trace=record_trace(stream.getvalue(), engine, bundle=bundle, full_every=1),
        bits_per_pixel=report.bits_per_pixel,
        psnr_rgb_db=report.psnr_rgb_db,
        sample_bits_per_frame=report.bits["pixels"] / report.frames,
        intra_frames=intra,
    )


def plot(record: dict[str, Any], path: Path) -> None:
    """Draw the largest differences of scale indices and of samples over the frame number."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "drift"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(9, 7), sharex=True, layout="constrained")
    bounds = (record["epsilon"], record["pixel_epsilon"])
    keys = ("max_by_frame", "sample_max_by_frame")
    for axis, key, bound in zip(axes, keys, bounds, strict=True):
        for leg in record["legs"]:
            if not leg["available"] or leg["name"] == record["reference"]:
                continue
            values = [value or float("nan") for value in leg[key]]
            style = EMULATED if leg["scene"] == SMALL else "-"
            axis.plot(values, style, label=leg["name"], lw=0.8)
        axis.axhline(bound, color="black", lw=1, ls=":", label="epsilon")
        axis.set_yscale("log")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("scale index, max |difference|")
    axes[1].set_ylabel("8-bit samples before rounding, max |difference|")
    axes[1].set_xlabel("inter frames since the intra frame")
    axes[0].legend(fontsize=7, ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.25))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def markdown(record: dict[str, Any], picture: str) -> str:
    """Tabulate the drift at some frame numbers."""
    last = record["frames"] - 1
    shown = sorted({number for number in (*MILESTONES, last) if number <= last})
    sizes = {name: f"{width}x{height}" for name, (width, height) in record["sizes"].items()}
    played = " back and forth" if record["frames"] > record["clip_frames"] else ""
    clip = "made-up pictures" if record["clip"] == MADE_UP else record["clip"]
    sync = f"every {record['sync']} frames" if record["sync"] else "none"
    lines = [
        f"# Drift along a GOP of {record['frames']}, {sizes[MAIN]}"
        + (", with sync frames" if record["sync"] else ""),
        "",
        f"Bundle `{record['bundle']['name']}`, {clip}{played}, {record['frames']} frames with one "
        f"intra frame and no refresh, quality {record['quality']}, sync frames: {sync}. Encoded "
        f"on `{record['reference']}`; largest difference of any scale index up to the frame shown. "
        f"Epsilon of the stream: {record['epsilon']:.3g}. "
        f"{'Every leg found the same symbols, within it.' if record['passed'] else '**Failed.**'}",
        "",
        f"| leg | size | {' | '.join(f'frame {n}' for n in shown)} | largest, in frame | mean "
        "| flips without calibration | samples before rounding | symbols |",
        "|---" * (len(shown) + 7) + "|",
    ]
    for leg in record["legs"]:
        if not leg["available"]:
            lines.append(f"| {leg['name']} | skipped: {leg['reason']} |" + " |" * (len(shown) + 5))
            continue
        drift = leg["max_by_frame"]
        worst = f"{max(drift):.1e}, {drift.index(max(drift))}" if drift else "-"
        cells = [f"{max(drift[: n + 1]):.1e}" if n < len(drift) else "-" for n in shown]
        lines.append(
            f"| {leg['name']} | {sizes[leg['scene']]} | {' | '.join(cells)} "
            f"| {worst} | {leg['mean_difference']:.1e} "
            f"| {leg['coded_flips']} | {max(leg['sample_max_by_frame'], default=0.0):.1e} "
            f"| {'equal' if leg['symbols_equal'] else '**differ**'} |"
        )
    stream = record["streams"][MAIN]
    lines += [
        "",
        f"The {sizes[MAIN]} stream has {stream['bits_per_pixel']:.4f} bit per pixel and "
        f"{stream['psnr_rgb_db']:.2f} dB; sync frames take "
        f"{stream['sample_bits_per_frame']:.0f} bits a frame.",
        "",
        f"![drift over the frame number]({picture})",
        "",
    ]
    return "\n".join([*lines, *(f"- {problem}" for problem in record["problems"])]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
