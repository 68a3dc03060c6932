"""Put docs/results.md together from the reports that the measuring tools wrote.

    python tools/make_results.py

Every tool writes NAME.json and NAME.md into docs/results/; this one orders the Markdown under a
list of contents, adds the machine and the bundles each was measured on, says which of them are no
longer those shipped, and links plots, JSON and the longest tables. It measures nothing.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvc_runtime import Bundle, open_bundle
from nvc_runtime.bundle.catalog import BUNDLE_SUFFIX, shipped_folder

INTRODUCTION = """# Results

Every figure on this page comes from a JSON file in `docs/results/`, written by the command named
with it. The machine and the versions are in the JSON, and below each heading. Not everything is
measured again when a bundle changes: *an earlier bundle* had the name of a shipped one and another
digest.

## Contents
"""
LEFT_TO_REPORT = ("Points", "Graphs")
"""Parts of reports that are long tables: the page links the report instead."""
EARLIER = "an earlier bundle"
CERTIFIED = "what the certificate was measured on"
SHOWN_DIGITS = 8
"""Of a digest, as hexadecimal."""


@dataclass(frozen=True)
class Report:
    """A report in docs/results, the command that writes it, and what its heading becomes."""

    name: str
    command: str
    heading: str = "{}"


GROUPS = {
    "Compression": (
        Report("bundle_overview", "tools/bundle_overview.py", "Bits, cost and speed"),
        Report("rate_distortion", "tools/rd_curves.py"),
        Report("rate_distortion-swift-s", "tools/rd_curves.py"),
        Report("rate_distortion-swift-m", "tools/rd_curves.py"),
        Report(
            "rate_distortion-gop12", "tools/rd_curves.py --keyint 12", "{}, an intra frame every 12"
        ),
        Report("rate_distortion-ms-ssim", "tools/rd_curves.py --ms-ssim", "{}, with MS-SSIM"),
        Report("side_by_side", "tools/side_by_side.py"),
        Report("gop_stability-swift-s", "tools/gop_stability.py"),
        Report("gop_stability-swift-m", "tools/gop_stability.py"),
        Report("motion_gain", "tools/motion_gain.py"),
        Report("x265_structures", "tools/x265_structures.py"),
        Report("chroma_loss", "tools/chroma_loss.py"),
    ),
    "Speed": (
        *(
            Report(f"{file}benchmark-{bundle}{size}", "tools/benchmark.py", title)
            for file, title in (("", "Coding speed, {}"), ("xeon-", "Coding speed on a Xeon, {}"))
            for bundle in ("swift-s-", "swift-m-", "")
            for size in ("360p", "720p")
        ),
        Report("gpu", "tools/gpu_report.py"),
        Report("gpu-groups", "tools/gpu_report.py", "{}, groups side by side"),
        Report("gpu-paper", "tools/gpu_report.py"),
        Report("gpu-encoded", "tools/gpu_report.py"),
        Report("gpu-tensorrt-rtx", "tools/gpu_report.py", "{}, with TensorRT for RTX"),
    ),
    "Platforms": (
        Report("platform-matrix-swift-s", "tools/platform_matrix.py"),
        Report("platform-matrix-swift-m", "tools/platform_matrix.py"),
        Report("platform-matrix", "tools/platform_matrix.py"),
        Report("platform-matrix-pixels", "tools/platform_matrix.py --exact pixels"),
        Report("golden-legs-swift-s", "tools/golden_legs.py"),
        Report("golden-legs-swift-m", "tools/golden_legs.py"),
        Report("golden-legs", "tools/golden_legs.py"),
        Report("drift_curve-swift-s", "tools/drift_curve.py"),
        Report("drift_curve_sync-swift-s", "tools/drift_curve.py --sync"),
        Report("drift_curve_720p-swift-s", "tools/drift_curve.py"),
        Report("drift_curve-swift-m", "tools/drift_curve.py"),
        Report("drift_curve_720p-swift-m", "tools/drift_curve.py"),
        Report("drift_curve", "tools/drift_curve.py"),
        Report("drift_curve_sync", "tools/drift_curve.py --sync"),
        Report("drift_curve_720p", "tools/drift_curve.py"),
        Report("drift_curve_720p_sync", "tools/drift_curve.py --sync"),
        Report("exact_pixels-swift-s", "tools/exact_pixels.py"),
        Report("exact_pixels", "tools/exact_pixels.py --sync"),
    ),
    "Calibration": (
        Report("calibration_cost-swift-s", "tools/calibration_cost.py"),
        Report("calibration_cost", "tools/calibration_cost.py"),
        Report("constraint-swift-s", "tools/constraint_report.py"),
        Report("constraint", "tools/constraint_report.py"),
        Report("calibration_speed-swift-s", "tools/calibration_speed.py"),
        Report("calibration_speed", "tools/calibration_speed.py"),
        Report("skip_cost-swift-s", "tools/skip_cost.py"),
        Report("skip_cost", "tools/skip_cost.py"),
    ),
    "Training": (
        Report("training-swift-s", "tools/training_report.py"),
        Report("training-swift-m", "tools/training_report.py"),
        Report("training", "tools/training_report.py"),
        Report("training_progress", "tools/training_progress.py"),
        Report("architecture_search", "tools/architecture_search.py"),
        Report("pruning", "tools/pruning_report.py"),
    ),
    "Engines": (
        Report("engines-lite", "tools/engine_build_report.py"),
        Report("engines-swift-s", "tools/engine_build_report.py"),
        Report("engines-swift-m", "tools/engine_build_report.py"),
        Report("engines-paper", "tools/engine_build_report.py"),
        Report("paper-end-to-end", "tools/paper_end_to_end.py"),
    ),
}
"""Reports by topic, in the order of the page. Those that are not there are left out."""


@dataclass(frozen=True)
class Section:
    """A report on the page: its heading, its text below that, and a remark for the contents."""

    heading: str
    text: str
    remark: str = ""

    @property
    def anchor(self) -> str:
        """What links to the heading end in, as GitHub and most others derive it."""
        kept = re.sub(r"[^\w\- ]", "", self.heading.lower())
        return kept.replace(" ", "-")


def page_from_reports(folder: Path, shipped: Sequence[Bundle]) -> str:
    """Return the page of all reports in a folder, which lies beside the page as ``results``."""
    contents, sections = [], []
    for topic, reports in GROUPS.items():
        found = [s for report in reports if (s := section(folder, report, shipped)) is not None]
        if found:
            contents.append(f"- {topic}")
            contents += [f"  - [{s.heading}](#{s.anchor}){s.remark}" for s in found]
            sections += found
    anchors = [s.anchor for s in sections]
    if twice := sorted({anchor for anchor in anchors if anchors.count(anchor) > 1}):
        raise ValueError(f"headings have to differ, found twice: {', '.join(twice)}")
    parts = [INTRODUCTION.strip(), "\n".join(contents)]
    return "\n\n".join([*parts, *(f"## {s.heading}\n\n{s.text}" for s in sections)]) + "\n"


def section(folder: Path, report: Report, shipped: Sequence[Bundle]) -> Section | None:
    """Return one report, one heading level down, with its provenance; None if it is not there."""
    text, facts = folder / f"{report.name}.md", folder / f"{report.name}.json"
    if not (text.exists() and facts.exists()):
        return None
    data = json.loads(facts.read_text(encoding="utf-8"))
    title, *lines = text.read_text(encoding="utf-8").strip().splitlines()
    heading = report.heading.format(title.removeprefix("# "))
    bundles = bundles_of(data)
    names = list(dict.fromkeys(name for name, _ in bundles))
    if not all(name in heading for name in names):
        heading = f"{heading}: {', '.join(names)}"
    others = other_bundles(bundles, shipped)
    kept, left = _without_long_tables(lines)
    body = [f"#{line}" if line.startswith("#") else line for line in kept]
    body = [line.replace("](", "](results/") for line in body]
    top = [_provenance(data, report), *(["", f"**{' '.join(others)}**"] if others else [])]
    if left:
        body += ["", f"{' and '.join(left)}: in [the whole report](results/{report.name}.md)."]
    remark = f" ({'; '.join(dict.fromkeys(others.values()))})" if others else ""
    return Section(heading, "\n".join([*top, *body]), remark)


def bundles_of(data: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Return name and digest of the bundles that a report is of, each once.

    The tools write them as an object or list of objects, as names with digests, or as a name; a
    digest that is not there is None.
    """
    found = data.get("bundles", data.get("bundle", []))
    if isinstance(found, str):
        return [(found, data.get("bundle_digest"))]
    if not found and "pictures" in data:
        found = [picture["bundle"] for picture in data["pictures"]]
    if isinstance(found, dict) and "digest" in found:
        found = [found]
    if isinstance(found, dict):
        pairs = [(n, b["digest"] if isinstance(b, dict) else b) for n, b in found.items()]
    else:
        pairs = [(bundle["name"], bundle["digest"]) for bundle in found]
    return list(dict.fromkeys(pairs))


def other_bundles(
    bundles: Sequence[tuple[str, str | None]], shipped: Sequence[Bundle]
) -> dict[str, str]:
    """Return what those bundles are that are not the ones shipped under their names, by a sentence.

    A certificate is part of its bundle's digest, so what it was measured on has another one.
    """
    known = {bundle.name: bundle for bundle in shipped}
    said: dict[str, str] = {}
    for name, digest in bundles:
        if digest is None or name not in known or known[name].digest.hex() == digest:
            continue
        now = known[name].digest.hex()[:SHOWN_DIGITS]
        certificate = known[name].manifest.card.get("certificate", {})
        certified = certificate.get("measured_on", {}).get("digest") == digest
        what = CERTIFIED if certified else EARLIER
        said[f"{name} `{digest[:SHOWN_DIGITS]}`: {what}; shipped is `{now}`."] = what
    return said


def _without_long_tables(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the lines outside the parts of ``LEFT_TO_REPORT``, and the parts that were there."""
    kept: list[str] = []
    left: list[str] = []
    dropping = False
    for line in lines:
        if line.startswith("#"):
            words = line.lstrip("# ")
            dropping = words.startswith(LEFT_TO_REPORT)
            left += [part for part in LEFT_TO_REPORT if words.startswith(part)]
        if not dropping:
            kept.append(line)
    while kept and not kept[-1]:
        kept.pop()
    return kept, list(dict.fromkeys(left))


def _provenance(data: dict[str, Any], report: Report) -> str:
    machine = data.get("machine", {})
    found = [f"`{report.command}`", f"[JSON](results/{report.name}.json)"]
    if machine:
        found += [f"{machine.get('cpu')}, {machine.get('cores')} cores", str(machine.get("system"))]
        found.append(f"commit {machine.get('commit')}")
    return "*" + "; ".join(str(f) for f in found) + ".*"


def shipped_bundles() -> list[Bundle]:
    """Open the bundles that come with the package."""
    return [open_bundle(path) for path in sorted(shipped_folder().glob(f"*{BUNDLE_SUFFIX}"))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=Path, default=Path(__file__).parent.parent / "docs")
    docs = parser.parse_args(arguments).docs
    page = page_from_reports(docs / "results", shipped_bundles())
    (docs / "results.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
