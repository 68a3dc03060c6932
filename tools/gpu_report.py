"""Decode prepared streams on a GPU: truth, drift and speed, in one short run.

    python tools/gpu_report.py prepare STREAMS -i CLIP --bundle NAME --name NAME-720p
    python tools/gpu_report.py run STREAMS --engines torch:cuda,torch:cuda+tf32 \
        --vectors tests/golden/vectors/NAME --budget-s 240 -o docs/results/gpu-report

``prepare`` needs the clip and no GPU; ``run`` needs the GPU and neither clip nor video library.
``run`` decodes the golden streams, compares all scale indices with those of a CPU engine, counts
frames that come out wrong with and without calibration, times decoding by activity and graph,
and decodes the streams of --groups with --jobs groups of pictures side by side.
OUTPUT.json and OUTPUT.md are written anew after every measurement. An item that fails or hangs is
reported and costs no other; what does not fit the budget is listed as skipped.

Engines are named as everywhere, and further: ``torch:cuda+tf32`` has TF32 on;
``tensorrt-rtx:a100@FOLDER`` runs the plans in PLANS/FOLDER/BUNDLE on whatever GPU there is.
Exit code 0 if every item was measured and is as it must be, else 4.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_reports import (
    WORKER_FLAG,
    Plan,
    load_prepared,
    markdown_from_record,
    prepare_stream,
    run_items,
    serve,
)
from gpu_reports.engines import TF32
from gpu_reports.worker import Work
from machine import machine_facts
from platform_trials.golden import load_vectors
from report_files import add_numbers, beside, run_tool, write_whole

from nvc_engines import open_engine
from nvc_errors import UsageError
from nvc_runtime.bundle import open_bundle
from nvc_runtime.codec import EncoderSettings
from nvc_runtime.groups import check_jobs
from nvc_runtime.verify import split_engine_names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == [WORKER_FLAG]:
        serve(given[1])
        return 0
    options = _parser().parse_args(given)
    return run_tool("gpu_report", lambda: int(options.work(options)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    prepare = parts.add_parser("prepare", help="encode a clip into a folder of streams")
    prepare.set_defaults(work=_prepare)
    prepare.add_argument("streams", type=Path, help="folder; it may hold others")
    prepare.add_argument("-i", "--input", type=Path, required=True, help="clip")
    prepare.add_argument("--name", required=True, help="of the stream in the folder")
    prepare.add_argument("--bundle", help="name or path; default: the shipped one")
    prepare.add_argument("--engine", default="ort:cpu", help="default: %(default)s")
    prepare.add_argument("--frames", type=int, default=16, help="default: %(default)s")
    prepare.add_argument("--keyint", type=int, default=8, help="default: %(default)s")
    prepare.add_argument("--quality", type=int, help="default: the bundle's")
    prepare.add_argument(
        "--no-scene-cuts", action="store_true", help="intra frames only every --keyint frames"
    )
    prepare.add_argument("--size", help="WIDTHxHEIGHT to scale the pictures to")
    prepare.add_argument(
        "--times", type=int, default=1, help="repeat the stream so often; default: %(default)s"
    )
    prepare.add_argument(
        "--calibrated-only", action="store_true", help="no stream without calibration beside it"
    )
    run = parts.add_parser("run", help="measure")
    run.set_defaults(work=_run)
    run.add_argument("streams", type=Path, help="folder of prepared streams")
    run.add_argument("--engines", required=True, help="names separated by commas")
    run.add_argument("--vectors", type=Path, action="append", default=[], help="golden streams")
    run.add_argument("--plans", type=Path, help="folder of engines directories")
    run.add_argument("--drift", default="*", help="streams for drift, by commas; default: all")
    run.add_argument("--speed", default="*", help="streams for speed, by commas; default: all")
    run.add_argument("--groups", default="", help="streams for --jobs, by commas; default: none")
    add_numbers(run, "--jobs", [1, 2, 4])
    run.add_argument("--speed-engines", help="default: all of --engines but those with TF32")
    run.add_argument("--reference", default="ort:cpu", help="default: %(default)s")
    run.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    run.add_argument("--budget-s", type=float, default=240, help="default: %(default)s")
    run.add_argument("--item-s", type=float, default=45, help="for one item; default: %(default)s")
    run.add_argument("-o", "--output", type=Path, required=True, help="outputs without suffix")
    return parser


def _prepare(options: argparse.Namespace) -> int:
    if options.times < 1:
        raise UsageError(f"--times is {options.times}, expected at least 1")
    size = None
    if options.size:
        width, _, height = options.size.partition("x")
        if not (width.isdigit() and height.isdigit()):
            raise UsageError(f"size {options.size!r} is not of the form WIDTHxHEIGHT")
        size = int(width), int(height)
    with open_engine(options.engine) as engine:
        prepared = prepare_stream(
            options.streams,
            options.name,
            open_bundle(options.bundle),
            engine,
            options.input,
            frames=options.frames,
            settings=EncoderSettings(
                quality=options.quality,
                keyint=options.keyint,
                scene_cuts=not options.no_scene_cuts,
                repeats=False,
            ),
            size=size,
            uncalibrated=not options.calibrated_only,
            times=options.times,
        )
    print(prepared)
    return 0


def _run(options: argparse.Namespace) -> int:
    prepared = load_prepared(options.streams)
    engines = split_engine_names(options.engines)
    work = Work(str(options.streams), str(options.plans or ""), options.reference, options.repeats)
    plan = Plan(_items(options, engines), work, options.budget_s, options.item_s)
    record: dict[str, Any] = {
        "format": "nvc-gpu-report 1",
        "machine": machine_facts(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "device": {},
        "reference": options.reference,
        "budget_s": options.budget_s,
        "bundles": {p.bundle: p.bundle_digest for p in prepared},
        "streams": [vars(p) for p in prepared],
        "plans": _plan_facts(options.plans),
        "items": [],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        write_whole(beside(options.output, ".json"), json.dumps(record, indent=1) + "\n")
        write_whole(beside(options.output, ".md"), markdown_from_record(record))

    start = time.monotonic()
    save()
    run_items(
        Path(__file__), plan, record, save, lambda line: print(line, file=sys.stderr, flush=True)
    )
    record["elapsed_s"] = round(time.monotonic() - start, 1)
    save()
    good = all(item["state"] == "done" and item.get("good", True) for item in record["items"])
    return 0 if good else 4


def _items(options: argparse.Namespace, engines: list[str]) -> list[dict[str, str]]:
    """Return golden streams first, then drift, then speed and groups, stream by stream."""
    known = [p.name for p in load_prepared(options.streams)]
    drift = known if options.drift == "*" else [n for n in options.drift.split(",") if n]
    speed = known if options.speed == "*" else [n for n in options.speed.split(",") if n]
    groups = [n for n in options.groups.split(",") if n]
    for name in {*drift, *speed, *groups} - set(known):
        raise UsageError(f"{options.streams} holds no stream {name!r}; it holds {known}")
    timed = [engine for engine in engines if not engine.endswith(TF32)]
    if options.speed_engines:
        timed = split_engine_names(options.speed_engines)
    special = [engine for engine in timed if "@" in engine or engine.endswith(TF32)]
    if groups and special:
        raise UsageError(f"processes of their own cannot open {', '.join(special)} for --groups")
    for jobs in options.jobs:
        check_jobs(jobs)
    for folder in options.vectors:
        load_vectors(folder)
    what = {"golden": [str(folder) for folder in options.vectors], "drift": drift, "speed": speed}
    items = []
    for kind in ("golden", "drift"):
        items += [
            {"kind": kind, "engine": engine, "what": name}
            for engine in engines
            for name in what[kind]
        ]
    items += [
        {"kind": "speed", "engine": engine, "what": name} for name in speed for engine in timed
    ]
    return items + [
        {"kind": "groups", "engine": engine, "what": name, "jobs": str(jobs)}
        for name in groups
        for engine in timed
        for jobs in options.jobs
    ]


def _plan_facts(plans: Path | None) -> dict[str, Any]:
    """Return sizes of the plans by folder and bundle."""
    if plans is None:
        return {}
    found: dict[str, Any] = {}
    for path in sorted(plans.rglob("*.plan")):
        folder = str(path.parent.relative_to(plans))
        found.setdefault(folder, {})[path.stem] = path.stat().st_size
    return found


if __name__ == "__main__":
    sys.exit(main())
