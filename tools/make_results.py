"""Put docs/results.md together from the reports that the measuring tools wrote.

    python tools/make_results.py

Every tool writes NAME.json and NAME.md into docs/results/; this one orders the Markdown, adds the
machine each was measured on, and links plots and JSON. It measures nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

INTRODUCTION = """# Results

Every figure on this page comes from a JSON file in `docs/results/`, written by the command named
with it. The machine and the versions are in the JSON, and below each heading.
"""
ORDER = (
    ("bundle_overview", "tools/bundle_overview.py"),
    ("rate_distortion", "tools/rd_curves.py"),
    ("rate_distortion-swift-s", "tools/rd_curves.py"),
    ("rate_distortion-swift-m", "tools/rd_curves.py"),
    ("rate_distortion-gop12", "tools/rd_curves.py --keyint 12"),
    ("rate_distortion-ms-ssim", "tools/rd_curves.py --ms-ssim"),
    ("side_by_side", "tools/side_by_side.py"),
    ("gop_stability-swift-s", "tools/gop_stability.py"),
    ("gop_stability-swift-m", "tools/gop_stability.py"),
    ("motion_gain", "tools/motion_gain.py"),
    ("chroma_loss", "tools/chroma_loss.py"),
    ("benchmark-swift-s-360p", "tools/benchmark.py"),
    ("benchmark-swift-s-720p", "tools/benchmark.py"),
    ("benchmark-swift-m-360p", "tools/benchmark.py"),
    ("benchmark-swift-m-720p", "tools/benchmark.py"),
    ("epyc-benchmark-swift-s-360p", "tools/benchmark.py"),
    ("epyc-benchmark-swift-s-720p", "tools/benchmark.py"),
    ("epyc-benchmark-swift-m-360p", "tools/benchmark.py"),
    ("epyc-benchmark-swift-m-720p", "tools/benchmark.py"),
    ("benchmark-360p", "tools/benchmark.py"),
    ("benchmark-720p", "tools/benchmark.py"),
    ("gpu", "tools/gpu_report.py"),
    ("gpu-paper", "tools/gpu_report.py"),
    ("gpu-encoded", "tools/gpu_report.py"),
    ("gpu-tensorrt-rtx", "tools/gpu_report.py"),
    ("platform-matrix-swift-s", "tools/platform_matrix.py"),
    ("platform-matrix-swift-m", "tools/platform_matrix.py"),
    ("platform-matrix", "tools/platform_matrix.py"),
    ("platform-matrix-pixels", "tools/platform_matrix.py --exact pixels"),
    ("golden-legs-swift-s", "tools/golden_legs.py"),
    ("golden-legs-swift-m", "tools/golden_legs.py"),
    ("golden-legs", "tools/golden_legs.py"),
    ("drift_curve-swift-s", "tools/drift_curve.py"),
    ("drift_curve_sync-swift-s", "tools/drift_curve.py --sync"),
    ("drift_curve_720p-swift-s", "tools/drift_curve.py"),
    ("drift_curve-swift-m", "tools/drift_curve.py"),
    ("drift_curve_720p-swift-m", "tools/drift_curve.py"),
    ("drift_curve", "tools/drift_curve.py"),
    ("drift_curve_sync", "tools/drift_curve.py --sync"),
    ("drift_curve_720p", "tools/drift_curve.py"),
    ("drift_curve_720p_sync", "tools/drift_curve.py --sync"),
    ("calibration_cost-swift-s", "tools/calibration_cost.py"),
    ("calibration_cost", "tools/calibration_cost.py"),
    ("constraint-swift-s", "tools/constraint_report.py"),
    ("constraint", "tools/constraint_report.py"),
    ("calibration_speed-swift-s", "tools/calibration_speed.py"),
    ("calibration_speed", "tools/calibration_speed.py"),
    ("skip_cost-swift-s", "tools/skip_cost.py"),
    ("skip_cost", "tools/skip_cost.py"),
    ("exact_pixels-swift-s", "tools/exact_pixels.py"),
    ("exact_pixels", "tools/exact_pixels.py --sync"),
    ("training-swift-s", "tools/training_report.py"),
    ("training-swift-m", "tools/training_report.py"),
    ("training", "tools/training_report.py"),
    ("training_progress", "tools/training_progress.py"),
    ("architecture_search", "tools/architecture_search.py"),
    ("engines-lite", "tools/engine_build_report.py"),
    ("engines-swift-s", "tools/engine_build_report.py"),
    ("engines-swift-m", "tools/engine_build_report.py"),
    ("engines-paper", "tools/engine_build_report.py"),
    ("paper-end-to-end", "tools/paper_end_to_end.py"),
    ("pruning", "tools/pruning_report.py"),
)


def section(folder: Path, name: str, command: str) -> str | None:
    """Return the Markdown of one report, one heading level down, with its provenance."""
    text, data = folder / f"{name}.md", folder / f"{name}.json"
    if not (text.exists() and data.exists()):
        return None
    lines = text.read_text().strip().splitlines()
    body = [f"#{line}" if line.startswith("#") else line for line in lines]
    body = [line.replace("](", "](results/") if "](" in line else line for line in body]
    return "\n".join(
        [body[0], "", _provenance(json.loads(data.read_text()), name, command), *body[1:]]
    )


def _provenance(data: dict[str, Any], name: str, command: str) -> str:
    machine = data.get("machine", {})
    found = [f"`{command}`", f"[JSON](results/{name}.json)"]
    if machine:
        found += [f"{machine.get('cpu')}, {machine.get('cores')} cores", str(machine.get("system"))]
        found.append(f"commit {machine.get('commit')}")
    return "*" + "; ".join(str(f) for f in found) + ".*"


def main() -> None:
    """Write docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=Path, default=Path(__file__).parent.parent / "docs")
    arguments = parser.parse_args()
    folder = arguments.docs / "results"
    parts = [section(folder, name, command) for name, command in ORDER]
    text = "\n\n".join([INTRODUCTION.strip(), *(p for p in parts if p is not None)]) + "\n"
    (arguments.docs / "results.md").write_text(text)


if __name__ == "__main__":
    main()
