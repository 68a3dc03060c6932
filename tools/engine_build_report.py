"""Compile a bundle for GPUs and report seconds and bytes of every graph and target.

    python tools/engine_build_report.py --bundle B --gpu rtx2080 --gpu a100 -o docs/results/engines

Writes OUT.json and OUT.md: wall-clock and processor seconds of each compilation, bytes of each
plan, and their ratio to the graph's weights in FP32. Plans go to a temporary folder. With
--cache-dir, a report that was interrupted goes on where it stopped: the cache keeps the times.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import machine_facts
from report_files import show_report

from nvc_engines import gpu_for_backend
from nvc_engines.gpus import TENSORRT_RTX
from nvc_engines.plans import target_name
from nvc_export.engine_builder import BuildOptions, BuildReport, build_engines, graphs_to_build
from nvc_export.frame_sizes import frame_sizes_from_options
from nvc_export.operators import content_from_graph
from nvc_export.plan_cache import PlanCache
from nvc_export.plan_compiler import BACKENDS
from nvc_runtime import Bundle, open_bundle

FORMAT = "nvc-engine-build-report 1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    return show_report("engine_build_report", options, measure, markdown_from_result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--gpu", action="append", required=True, help="may be repeated")
    parser.add_argument("--backend", choices=BACKENDS, default=TENSORRT_RTX)
    parser.add_argument("--bundle", help="name or path; default: the shipped one")
    parser.add_argument("--size", help="optimal and largest frame; default: that of build-engine")
    parser.add_argument("--decoder-only", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--cache-dir", type=Path, help="keep plans and times here")
    parser.add_argument(
        "-o", "--output", type=Path, help="OUT.json and OUT.md; else JSON on stdout"
    )
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Compile everything; return the content of the JSON file."""
    bundle = open_bundle(options.bundle)
    graphs = graphs_to_build(bundle, decoder_only=options.decoder_only)
    weights = {name: content_from_graph(bundle.graph(name)).parameter_bytes for name in graphs}
    wanted = BuildOptions(
        sizes=frame_sizes_from_options(bundle.manifest.alignment, size=options.size),
        backend=options.backend,
        decoder_only=options.decoder_only,
        jobs=options.jobs,
        cache=None if options.cache_dir is None else PlanCache(options.cache_dir),
    )
    with tempfile.TemporaryDirectory() as folder:
        report = build_engines(bundle, options.gpu, Path(folder), wanted)
    names: dict[str, str] = {}
    for name in options.gpu:
        gpu = gpu_for_backend(name, options.backend)
        names.setdefault(target_name(options.backend, gpu), gpu.name)
    return result_from_report(bundle, report, weights, names, options.jobs)


def result_from_report(
    bundle: Bundle,
    report: BuildReport,
    weights: dict[str, int],
    gpus: dict[str, str],
    jobs: int,
) -> dict[str, Any]:
    """Return the content of the JSON file.

    ``weights``: graph -> bytes of its weights in FP32; ``gpus``: target -> a GPU it was built for.
    """
    targets = {}
    total_weights = sum(weights.values())
    for target, gpu in gpus.items():
        plans = [plan for plan in report.plans if plan.target == target]
        size_bytes = sum(plan.size_bytes for plan in plans)
        targets[target] = {
            "gpu": gpu,
            "plan_bytes": size_bytes,
            "ratio": _ratio(size_bytes, total_weights),
            "elapsed_s": round(sum(plan.elapsed_s for plan in plans), 2),
            "cpu_s": round(sum(plan.cpu_s for plan in plans), 2),
            "graphs": {
                plan.graph: {
                    "plan_bytes": plan.size_bytes,
                    "ratio": _ratio(plan.size_bytes, weights[plan.graph]),
                    "elapsed_s": round(plan.elapsed_s, 2),
                    "cpu_s": round(plan.cpu_s, 2),
                    "sha256": plan.sha256,
                }
                for plan in plans
            },
        }
    return {
        "format": FORMAT,
        "machine": machine_facts(),
        "bundle": {"name": bundle.name, "digest": bundle.digest.hex()},
        "backend": report.backend,
        "backend_version": report.backend_version,
        "frame_sizes": list(report.frame_sizes),
        "jobs": jobs,
        "weight_bytes": {"total": total_weights, **weights},
        "targets": targets,
    }


def markdown_from_result(result: dict[str, Any]) -> str:
    """Tables of a result for people."""
    machine, targets, weights = result["machine"], result["targets"], result["weight_bytes"]
    smallest, optimal, largest = result["frame_sizes"]
    lines = [
        f"# Engines of {result['bundle']['name']} ({result['bundle']['digest'][:16]})",
        "",
        f"{result['backend']} {result['backend_version']}, frames {smallest} to {largest}, best at "
        f"{optimal}. Built on {machine['cpu']}, {machine['cores']} cores, {result['jobs']} at a "
        "time, without a GPU. Processor seconds are those of all threads; what the wall clock has "
        "more was spent waiting for other work on the machine.",
        "",
        "| target | GPU | wall s | processor s | plans MB | weights MB | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {target['gpu']} | {target['elapsed_s']:.1f} | {target['cpu_s']:.1f} | "
        f"{target['plan_bytes'] / 1e6:.2f} | {weights['total'] / 1e6:.2f} | {_cell(target)} |"
        for name, target in targets.items()
    ]
    columns = list(targets)
    lines += [
        "",
        "Plan MB (ratio to the weights), processor s:",
        "",
        f"| graph | weights MB | {' | '.join(columns)} |",
        f"|---|---|{'---|' * len(columns)}",
    ]
    for graph in (name for name in weights if name != "total"):
        cells = []
        for column in columns:
            plan = targets[column]["graphs"][graph]
            cells.append(f"{plan['plan_bytes'] / 1e6:.2f} ({_cell(plan)}), {plan['cpu_s']:.2f}")
        lines.append(f"| {graph} | {weights[graph] / 1e6:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _ratio(plan_bytes: int, weight_bytes: int) -> float | None:
    return round(plan_bytes / weight_bytes, 3) if weight_bytes else None


def _cell(entry: dict[str, Any]) -> str:
    return "-" if entry["ratio"] is None else f"{entry['ratio']:.2f}"


if __name__ == "__main__":
    sys.exit(main())
