"""Write the certificate of a bundle's epsilon from measured drift, for the bundle's card.

    python tools/epsilon_certificate.py -i docs/results/platform-matrix.json \
        -i docs/results/drift_curve.json --card CARD.json -o CERTIFIED.json
    nvc-export bundle --card CERTIFIED.json ...

Reads reports of ``platform_matrix.py`` and ``drift_curve.py`` about one bundle and writes a card:
what ``--card`` holds, and the object ``certificate`` with epsilon, the largest drift, the margin
between them, what was measured, and every platform with its version. Exit code 4 if a report did
not pass, or the margin is too small.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report_files import run_tool

from nvc_errors import OutputError, UsageError, VerificationError

FIELD = "certificate"
"""Name of the certificate in a card."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-i", "--report", type=Path, action="append", required=True, help="JSON; repeatable")
    add("-o", "--output", type=Path, help="the card (default: standard output)")
    add("--card", type=Path, help="card to add the certificate to")
    add("--epsilon", type=float, help="to certify (default: the reports')")
    add("--min-margin", type=float, default=2.0, help="epsilon over drift (default: %(default)s)")
    options = parser.parse_args(arguments)

    def work() -> int:
        reports = {path.name: _read(path) for path in options.report}
        card = {} if options.card is None else _read(options.card)
        card[FIELD] = certificate_from_reports(
            reports, epsilon=options.epsilon, min_margin=options.min_margin
        )
        text = json.dumps(card, indent=1, sort_keys=True, allow_nan=False) + "\n"
        if options.output is None:
            print(text, end="")
        else:
            _write(options.output, text)
        return 0

    return run_tool("epsilon_certificate", work)


def certificate_from_reports(
    reports: dict[str, dict[str, Any]], *, epsilon: float | None = None, min_margin: float = 1.0
) -> dict[str, Any]:
    """Return the certificate that reports, by name, support.

    Raises ``UsageError`` if they are of different bundles or epsilons or are no such reports,
    ``VerificationError`` if one did not pass, a curve is of several groups of pictures, or epsilon
    is below ``min_margin`` times the drift.
    """
    try:
        bundles = {(r["bundle"]["name"], r["bundle"]["digest"]) for r in reports.values()}
        bounds = {r["epsilon"] for r in reports.values()}
        broken = [name for name, report in reports.items() if not _is_one_group(report)]
        failed = [name for name, report in reports.items() if not report["passed"]]
        measured = [_measurement(name, report) for name, report in reports.items()]
        platforms = _platforms(reports.values())
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"a report lacks {error}; expected those of platform_matrix.py and drift_curve.py"
        ) from error
    if len(bundles) != 1:
        raise UsageError(f"the reports are of {len(bundles)} different bundles, expected one")
    if epsilon is None and len(bounds) != 1:
        found = ", ".join(f"{bound:g}" for bound in sorted(bounds))
        raise UsageError(f"the reports have different epsilons ({found}): choose with --epsilon")
    if failed:
        raise VerificationError(f"{', '.join(failed)} did not pass; nothing is certified")
    if broken:
        raise VerificationError(
            f"{', '.join(broken)}: the curve's frames are not one group of pictures, but drift "
            "ends with an intra frame; measure it again"
        )
    bound = bounds.pop() if epsilon is None else epsilon
    worst = max(measured, key=lambda part: float(part["largest_drift"]))
    drift = worst["largest_drift"]
    if bound < min_margin * drift:
        raise VerificationError(
            f"epsilon {bound:.3g} is {bound / drift:.2g} times the largest drift, {drift:.3g} "
            f"({worst['report']}), expected {min_margin:g} times at least"
        )
    name, digest = bundles.pop()
    return {
        # The digest of the bundle that was measured: a card is part of its own bundle's digest.
        "measured_on": {"name": name, "digest": digest},
        "epsilon": float(f"{bound:.6g}"),
        "largest_drift": drift,
        "margin": None if drift == 0 else float(f"{bound / drift:.3g}"),
        "measurements": measured,
        "platforms": platforms,
    }


def _is_one_group(report: dict[str, Any]) -> bool:
    """Tell whether a drift curve is of one group of pictures; older ones do not say."""
    streams = {} if "pairs" in report else report.get("streams", {})
    return all(len(stream.get("intra_frames", [0])) == 1 for stream in streams.values())


def _measurement(name: str, report: dict[str, Any]) -> dict[str, Any]:
    common = {
        "report": name,
        "clip": report["clip"],
        "commit": report["machine"]["commit"],
        "cpu": report["machine"]["cpu"],
    }
    if "pairs" in report:
        pairs = [pair for pair in report["pairs"] if "drift" in pair]
        worst = max(pairs, key=lambda pair: float(pair["drift"]["max"]))
        plan = report["plan"]
        return common | {
            "size": plan["size"],
            "gop": max(plan["gops"]),
            "frames": plan["frames"],
            "pairs": len({(pair["encoder"], pair["decoder"]) for pair in pairs}),
            "largest_drift": float(f"{worst['drift']['max']:.3g}"),
            "between": [worst["encoder"], worst["decoder"]],
        }
    legs = [leg for leg in report["legs"] if leg["available"]]
    worst = max(legs, key=lambda leg: float(leg["max_difference"]))
    return common | {
        "size": report["sizes"]["main"],
        "gop": report["frames"],
        "frames": report["frames"],
        "sync": report["sync"],
        "pairs": len(legs) - 1,
        "largest_drift": float(f"{worst['max_difference']:.3g}"),
        "between": [report["reference"], worst["name"]],
    }


def _platforms(reports: Any) -> list[dict[str, str]]:
    """Return every leg that took part, once for each version and device."""
    found = {
        (leg["name"], leg["version"], leg["device"]): leg["title"]
        for report in reports
        for leg in report["legs"]
        if leg["available"]
    }
    return [
        {"name": name, "title": title, "version": version, "device": device}
        for (name, version, device), title in sorted(found.items())
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
