"""Decode the golden streams on every leg of the platform matrix.

    python tools/golden_legs.py -o docs/results/golden-legs-swift-s

The streams of a bundle in ``tests/golden`` (``--vectors``) were made once, on native ONNX Runtime;
on every leg they must give the symbols that are written down, and the samples where these are
exact, and damaged ones must fail as written down. Writes OUTPUT.json and OUTPUT.md. Exit code 0 if
all is as it must be, 4 if not, 2 for wrong options. ``docs/platforms.md`` describes the legs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from machine import machine_facts
from platform_legs import REFERENCE, Cache, Leg, all_legs, choose_legs
from platform_legs.cache import DEFAULT_CACHE
from platform_trials.golden import (
    GoldenDecode,
    Vectors,
    decode_failing,
    decode_golden,
    differing_samples,
    largest_drift,
    load_vectors,
)
from platform_trials.rounds import run_on_legs
from report_files import refuse_problems, run_tool, write_report

from nvc_engines import Engine
from nvc_runtime.bundle import DEFAULT_BUNDLE

VECTORS = Path(__file__).parents[1] / "tests" / "golden" / "vectors" / DEFAULT_BUNDLE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("golden-legs"), help="outputs without suffix")
    add("--vectors", type=Path, default=VECTORS, help="folder of the golden streams")
    add("--legs", help="names of the legs, separated by commas (default: all)")
    add("--cache", type=Path, default=Path(DEFAULT_CACHE), help="default: %(default)s")
    add("--offline", action="store_true", help="set nothing up; use what the cache holds")
    add("--min-distinct", type=int, default=7, help="bit-distinct legs (default: 7)")
    options = parser.parse_args(arguments)

    def work() -> int:
        legs = all_legs()
        if options.legs:
            legs = choose_legs(legs, options.legs.split(","))
        cache = Cache(options.cache.expanduser(), offline=options.offline)
        record = measure(load_vectors(options.vectors), legs, cache, options.min_distinct)
        write_report(options.output, record, markdown(record))
        refuse_problems(record["problems"])
        return 0

    return run_tool("golden_legs", work)


def measure(
    vectors: Vectors, legs: Iterable[Leg], cache: Cache, min_distinct: int
) -> dict[str, Any]:
    """Decode every stream on every leg; the reference comes first."""
    reference: dict[str, GoldenDecode] = {}

    def decode_all(leg: Leg, engine: Engine) -> dict[str, Any]:
        del leg
        decodes = {name: decode_golden(vectors, name, engine) for name in vectors.streams}
        if not reference:
            reference.update(decodes)
        return {
            "streams": [_stream_json(vectors, reference[n], d) for n, d in decodes.items()],
            "failing": {name: decode_failing(vectors, name, engine) for name in vectors.failing},
        }

    found, problems = run_on_legs(legs, cache, decode_all)
    available = [leg for leg in found if leg["available"]]
    for leg in available:
        problems += [
            f"{leg['name']}, {s['name']}: {s['problem']}" for s in leg["streams"] if s["problem"]
        ]
        problems += [f"{leg['name']}, {name}: {why}" for name, why in leg["failing"].items() if why]
    distinct = len({tuple(s["index_sha256"] for s in leg["streams"]) for leg in available})
    if distinct < min(min_distinct, len(available)):
        problems.append(f"{distinct} legs differ in their floats, expected {min_distinct}")
    return {
        "machine": machine_facts(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "bundle": {"name": vectors.bundle.name, "digest": vectors.bundle.digest.hex()},
        "streams_made_on": dict(vectors.made_on),
        "reference": REFERENCE,
        "passed": not problems,
        "problems": problems,
        "distinct_platforms": distinct,
        "legs": found,
    }


def _stream_json(vectors: Vectors, reference: GoldenDecode, decode: GoldenDecode) -> dict[str, Any]:
    levels = vectors.bundle.manifest.scale_levels.count
    drift = largest_drift(reference.trace, decode.trace, levels)
    differing, largest = differing_samples(reference.frames, decode.frames)
    problem = decode.problem
    if not problem and drift > decode.epsilon:
        problem = f"drift {drift:.3g} exceeds epsilon {decode.epsilon:.3g}"
    return {
        "name": decode.name,
        "problem": problem,
        "frames": len(decode.frames),
        "samples_are_exact": vectors.streams[decode.name]["frame_md5"] is not None,
        "samples_sha256": decode.samples_sha256,
        "index_sha256": decode.index_sha256,
        "max_index_difference": drift,
        "epsilon": decode.epsilon,
        "samples": sum(frame.size for frame in decode.frames),
        "differing_samples": differing,
        "largest_sample_difference": largest,
        "elapsed_s": round(decode.elapsed_s, 3),
    }


def markdown(record: dict[str, Any]) -> str:
    """Tabulate the legs, and list the problems."""
    available = [leg for leg in record["legs"] if leg["available"]]
    streams = available[0]["streams"]
    made = record["streams_made_on"]
    lines = [
        "# Golden streams on every leg",
        "",
        f"{'Passed.' if record['passed'] else '**Failed.**'} {len(streams)} golden streams, made "
        f"once on {made['engine']} ({made['version']}), and {len(available[0]['failing'])} damaged "
        f"ones, decoded on {len(available)} legs, of which {record['distinct_platforms']} differ "
        f"in their floats. Bundle `{record['bundle']['name']}`, digest "
        f"`{record['bundle']['digest'][:16]}`. Drift and samples are compared with the leg "
        f"`{record['reference']}` of this machine.",
        "",
        "| leg | version | scale indices | symbols | damaged streams noticed | largest drift "
        "| samples that differ, not exact | exact |",
        "|---" * 8 + "|",
    ]
    for leg in record["legs"]:
        if not leg["available"]:
            lines.append(f"| {leg['name']} | skipped: {leg['reason']} |" + " |" * 6)
            continue
        good = sum(not stream["problem"] for stream in leg["streams"])
        noticed = sum(not why for why in leg["failing"].values())
        drift = max(stream["max_index_difference"] for stream in leg["streams"])
        lines.append(
            f"| {leg['name']} | {leg['version']} | `{leg['streams'][0]['index_sha256'][:10]}` "
            f"| {good} of {len(leg['streams'])} | {noticed} of {len(leg['failing'])} "
            f"| {drift:.1e} | {_differing(leg, exact=False)} | {_differing(leg, exact=True)} |"
        )
    return "\n".join([*lines, "", *(f"- {problem}" for problem in record["problems"])]) + "\n"


def _differing(leg: dict[str, Any], *, exact: bool) -> str:
    chosen = [stream for stream in leg["streams"] if stream["samples_are_exact"] is exact]
    differing = sum(stream["differing_samples"] for stream in chosen)
    return f"{differing} of {sum(stream['samples'] for stream in chosen)}"


if __name__ == "__main__":
    sys.exit(main())
