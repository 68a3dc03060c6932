"""Prove that streams made on one float platform decode to the same symbols on every other.

    python tools/platform_matrix.py --clip CLIP.mp4 -o docs/results/platform-matrix-swift-s
    python tools/platform_matrix.py --short -o out/matrix

Writes OUTPUT.json, OUTPUT.md and OUTPUT.png. Exit code 0 if every calibrated frame decodes on
every leg, 4 if not, 2 for wrong options. ``docs/platforms.md`` describes the legs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from platform_legs import Cache, Leg, all_legs, choose_legs
from platform_legs.cache import DEFAULT_CACHE
from platform_legs.local import leg_from_engine
from platform_trials import MatrixPlan, draw_matrix, markdown_from_result, run_matrix
from platform_trials.plan import ALL_CODERS, EVERY_LEG
from report_files import beside, refuse_problems, write_report

from nvc_calib import PositionCoder
from nvc_errors import NvcError, OutputError, UsageError
from nvc_runtime import EncoderSettings, open_bundle
from nvc_runtime.stream import ExactMode

SHORT_LEGS = ("ort", "ort-basic", "openvino", "torch", "torch-plain", "openvino-avx", "torch-sse41")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except NvcError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _run(options: argparse.Namespace) -> None:
    legs = _legs(options)
    if options.list:
        for leg in legs:
            print(f"{leg.name:16} x{leg.cost:<6g} {leg.title}")
        return
    plan = _plan(options)
    unknown = set(plan.decoders or ()) - {leg.name for leg in legs} - {EVERY_LEG}
    if unknown:
        raise UsageError(f"--decoders: no leg {', '.join(sorted(unknown))} among those chosen")
    base = Path(options.output)
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"folder {base.parent} cannot be made: {error.strerror}") from error
    bundle = open_bundle(options.bundle)
    cache = Cache(Path(options.cache).expanduser(), offline=options.offline)
    started = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - started:6.0f} s] {text}", file=sys.stderr, flush=True)

    result = run_matrix(plan, legs, bundle.path, cache, say)
    write_report(base, result.to_json(), markdown_from_result(result))
    if not options.no_picture:
        draw_matrix(result, beside(base, ".png"))
    say(f"wrote {base}.json and its companions")
    refuse_problems(result.problems)
    say(f"passed: {result.distinct} bit-distinct platforms, no calibrated frame failed")


def _legs(options: argparse.Namespace) -> list[Leg]:
    legs = all_legs()
    folder = None if options.engines_dir is None else Path(options.engines_dir)
    legs += [leg_from_engine(spec, spec, f"engine {spec}", 1.0, folder) for spec in options.engine]
    if options.legs:
        return choose_legs(legs, [*options.legs.split(","), *options.engine])
    if options.short:
        return choose_legs(legs, [*SHORT_LEGS, *options.engine])
    return legs


def _plan(options: argparse.Namespace) -> MatrixPlan:
    short = options.short
    size = options.size or ((128, 64) if short else (256, 128))
    return MatrixPlan(
        clip=options.clip,
        size=size,
        frames=options.frames or (24 if short else 96),
        small_size=options.small_size,
        small_frames=options.small_frames,
        gops=options.gop or ((12,) if short else (12, 96)),
        coders=options.calibration or ALL_CODERS,
        settings=EncoderSettings(
            quality=options.quality,
            epsilon=options.epsilon,
            pixel_epsilon=options.pixel_epsilon,
            exact=ExactMode(options.exact),
            sync=options.sync,
        ),
        decoders=None if options.decoders is None else tuple(options.decoders.split(",")),
        jobs=options.jobs,
        min_distinct=options.min_distinct,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="platform_matrix.py", description="Encode on one float platform, decode on another."
    )
    add = parser.add_argument
    add("-o", "--output", default="platform-matrix", help="outputs without suffix")
    add("--clip", help="video file; without one, pictures are made up")
    add("--bundle", help="name or path of the bundle (default: the shipped one)")
    add("--cache", default=DEFAULT_CACHE, help=f"where legs are set up (default: {DEFAULT_CACHE})")
    add("--offline", action="store_true", help="set nothing up; use what the cache holds")
    add("--short", action="store_true", help="cheap legs, small frames: a few minutes")
    add("--list", action="store_true", help="list the legs and stop")
    add("--legs", help="names of the legs, separated by commas (default: all)")
    add("--decoders", help=f"legs that decode every stream, or '{EVERY_LEG}' (default: the cheap)")
    add("--engine", action="append", default=[], metavar="SPEC", help="add any engine as a leg")
    add("--engines-dir", help="compiled plans for --engine")
    add("--size", type=_size, help="WIDTHxHEIGHT cut from the middle (default: 256x128)")
    add("--frames", type=_count, help="frames (default: 96)")
    add("--small-size", type=_size, default=(64, 64), help="for emulated legs (default: 64x64)")
    add("--small-frames", type=_count, default=48, help="for emulated legs (default: 48)")
    add("--gop", type=_counts, help="lengths, separated by commas (default: 12,96)")
    add("--calibration", type=_coders, help="none,rpc,retrieval (default: all)")
    add("--quality", type=int, help="quality index (default: the bundle's)")
    add("--epsilon", type=float, help="bound of the drift (default: the bundle's)")
    add("--pixel-epsilon", type=float, help="bound for samples (default: the bundle's)")
    add("--exact", choices=[mode.value for mode in ExactMode], default=ExactMode.SYMBOLS.value)
    add("--sync", type=int, default=0, help="frames between sync frames (default: 0, none)")
    add("--jobs", type=_count, default=2, help="legs at work at the same time (default: 2)")
    add("--min-distinct", type=_count, default=7, help="bit-distinct platforms (default: 7)")
    add("--no-picture", action="store_true", help="do not draw the picture")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return _count(width), _count(height)


def _coders(text: str) -> tuple[PositionCoder, ...]:
    return tuple(PositionCoder(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
