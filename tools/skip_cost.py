"""What skipping costs: BD-rate against the share of elements that are not coded (Table 6).

    python tools/skip_cost.py -i CLIP -i CLIP -o docs/results/skip_cost-swift-s

Encodes the first frames of every clip at several qualities and skip levels with the encoder that
users have; bits are those of the file on disk, calibration included, which skipping makes smaller,
too. Elements whose scale level is at most the skip level are not coded but take their mean. Their
share is counted while the stream is decoded. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from machine import machine_facts
from numpy.typing import NDArray
from rate_distortion import Curve, Point, delta_rate, neural_point
from report_files import add_numbers, clips_parser, percent, run_report

from nvc_engines import Engine, open_engine
from nvc_errors import UsageError
from nvc_runtime import Decoder
from nvc_runtime.bundle import Bundle, open_bundle
from nvc_runtime.codec import EncoderSettings

OFF = -1
METRIC = "psnr_rgb_db"
PAPER = "In the paper's Table 6, skipping 63 % of the elements is free and 70 % costs 1.1 points."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    return run_report("skip_cost", options, measure, markdown_from_result)


def _parser() -> argparse.ArgumentParser:
    parser = clips_parser(__doc__)
    add = parser.add_argument
    add("--bundle", help="name or path; default: the shipped one")
    add("--engine", default="ort:cpu", help="default: %(default)s")
    add("--frames", type=int, default=32, help="of every clip, one GOP; default: %(default)s")
    add_numbers(parser, "--qualities", [0, 16, 32, 48, 63])
    add_numbers(parser, "--levels", [6, 8, 9, 10, 11, 12, 14])
    return parser


@dataclass
class SkippedShare:
    """Tap that counts elements at or below a skip level."""

    skip_level: int
    skipped: int = 0
    elements: int = 0

    def index(self, frame_number: int, tensor: str, index: NDArray[np.float32]) -> None:
        """Count a scale index tensor, [0, L - 1/2]: level k is what lies in [k, k + 1)."""
        del frame_number, tensor
        self.skipped += int((index < self.skip_level + 1).sum())
        self.elements += index.size

    def samples(self, frame_number: int, index: NDArray[np.float32]) -> None:
        """Take samples, which are not of interest here."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every clip at every skip level; return the content of the JSON file."""
    bundle = open_bundle(options.bundle)
    highest = bundle.manifest.scale_levels.count - 2
    wrong = [level for level in options.levels if not 0 <= level <= highest]
    if wrong or len(set(options.levels)) != len(options.levels):
        raise UsageError(
            f"--levels is {options.levels}, expected different numbers from 0 to {highest}"
        )
    levels, began = [OFF, *sorted(options.levels)], time.process_time()
    with open_engine(options.engine) as engine:
        clips = {
            clip.stem: [_row(bundle, engine, clip, level, options) for level in levels]
            for clip in options.clip
        }
    for rows in clips.values():
        for row in rows:
            row["bd_rate_percent"] = _delta(rows[0], row)
    return {
        "format": "nvc-skip-cost 1",
        "machine": machine_facts(),
        "processor_s": round(time.process_time() - began, 1),
        "bundle": {"name": bundle.name, "digest": bundle.digest.hex()},
        "default_skip_level": bundle.manifest.defaults.skip_level,
        "frames": options.frames,
        "qualities": options.qualities,
        "clips": clips,
        "mean": [mean_row([rows[n] for rows in clips.values()]) for n in range(len(levels))],
    }


def _row(
    bundle: Bundle, engine: Engine, clip: Path, level: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Encode one clip at all qualities with one skip level."""
    points, shares = [], []
    for quality in options.qualities:
        share = SkippedShare(level)

        def count(stream: Path, share: SkippedShare = share) -> None:
            with stream.open("rb") as file:
                for _ in Decoder(file, engine, bundle=bundle, tap=share):
                    pass

        settings = EncoderSettings(
            quality=quality,
            keyint=options.frames,
            skip_level=level,
            scene_cuts=False,
            repeats=False,
        )
        point = neural_point(
            bundle,
            engine,
            clip,
            settings,
            frames=options.frames,
            with_ms_ssim=False,
            on_stream=count,
        )
        points.append(point)
        shares.append(share.skipped / share.elements)
    print(f"{clip.stem}, level {level}: {100 * fmean(shares):.1f} %", file=sys.stderr)
    return {
        "skip_level": level,
        "skipped_share": fmean(shares),
        "skipped_share_by_quality": shares,
        "points": [point.to_json() for point in points],
    }


def _delta(anchor: dict[str, Any], test: dict[str, Any]) -> float | None:
    curves = [Curve("", tuple(Point(**p) for p in row["points"])) for row in (anchor, test)]
    return delta_rate(curves[0], curves[1], METRIC)


def mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean over clips of the rows of one skip level; no BD-rate if a clip has none."""
    deltas = [row["bd_rate_percent"] for row in rows]
    return {
        "skip_level": rows[0]["skip_level"],
        "skipped_share": fmean(row["skipped_share"] for row in rows),
        "bd_rate_percent": None if None in deltas else fmean(deltas),
    }


def markdown_from_result(result: dict[str, Any]) -> str:
    """Return Table 6 for this bundle."""
    clips = list(result["clips"])
    qualities = ", ".join(map(str, result["qualities"]))
    lines = [
        f"# Cost of skipping, {result['bundle']['name']}",
        "",
        f"{result['frames']} frames of every clip as one GOP, qualities {qualities}; files on "
        "disk, calibration included. BD-rate (PSNR, RGB) against coding every element; the share "
        "of skipped elements is the mean over qualities and clips. The bundle's default level is "
        f"{result['default_skip_level']}.",
        "",
        "| skip level | skipped | BD-rate | " + " | ".join(clips) + " |",
        "|---" * (len(clips) + 3) + "|",
    ]
    for number, mean in enumerate(result["mean"]):
        level = "off" if mean["skip_level"] == OFF else str(mean["skip_level"])
        cells = [percent(result["clips"][clip][number]["bd_rate_percent"], 2) for clip in clips]
        lines.append(
            f"| {level} | {100 * mean['skipped_share']:.1f} % "
            f"| {percent(mean['bd_rate_percent'], 2)} | " + " | ".join(cells) + " |"
        )
    return "\n".join([*lines, "", PAPER, ""])


if __name__ == "__main__":
    sys.exit(main())
