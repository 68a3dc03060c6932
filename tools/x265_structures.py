"""What x265 needs when it is held, step by step, to what the swift codecs do.

    python tools/x265_structures.py -i CLIP -i CLIP --cache FOLDER -o docs/results/x265_structures

Codes the same frames as rd_curves.py with x265, preset medium, and takes one kind of tool after the
other away: B frames, what looks ahead or weighs blocks, all references but one, large transforms,
large blocks. The BD-rate of each against the whole says what such a tool is worth, and so what may
be gained by its like. --cache keeps the points, in the same folder as that of rd_curves.py.
Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine_facts
from rate_distortion import Curve, cached_curve, delta_rate, reference_codec
from report_files import add_numbers, clips_parser, percent, run_report

from nvc_errors import UsageError

METRIC = "psnr_rgb_db"
WHOLE = reference_codec("x265 medium")
STEPS = (
    ("no B frames", "bframes=0"),
    ("nothing weighed by lookahead or variance", "cutree=0:aq-mode=0"),
    ("one reference", "ref=1"),
    ("transforms of 8x8", "max-tu-size=8"),
    ("blocks of 16x16", "ctu=16:rect=0:amp=0"),
)
"""What is taken away, each beside all before it, and how."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    return run_report("x265_structures", options, measure, markdown_from_result)


def _parser() -> argparse.ArgumentParser:
    parser = clips_parser(__doc__)
    add = parser.add_argument
    add("--frames", type=int, default=32, help="of every clip; default: %(default)s")
    add("--keyint", type=int, default=32, help="default: %(default)s")
    add_numbers(parser, "--crf", [19, 23, 27, 31, 35])
    add("--cache", type=Path, help="folder that keeps the points")
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every clip; return the content of the JSON file."""
    clips: dict[str, list[float]] = {}
    for clip in options.clip:
        whole, *held = (
            cached_curve(
                replace(WHOLE, restrictions=restrictions),
                clip,
                options.crf,
                options.cache,
                keyint=options.keyint,
                frames=options.frames,
            )
            for restrictions in _restrictions()
        )
        clips[clip.stem] = [_rate(whole, curve) for curve in held]
        print(f"{clip.stem}: {clips[clip.stem]}", file=sys.stderr)
    return {
        "format": "nvc-x265-structures 1",
        "machine": machine_facts(),
        "anchor": WHOLE.name,
        "metric": METRIC,
        "frames": options.frames,
        "keyint": options.keyint,
        "crf": options.crf,
        "steps": [
            {"name": name, "x265_params": params}
            for (name, _), params in zip(STEPS, _restrictions()[1:], strict=True)
        ],
        "bd_rate_percent": clips,
        "mean": [round(float(np.mean(values)), 2) for values in zip(*clips.values(), strict=True)],
    }


def _restrictions() -> list[str]:
    """Parameters of the whole codec, and of each step."""
    params = [params for _, params in STEPS]
    return [":".join(params[:count]) for count in range(len(STEPS) + 1)]


def _rate(whole: Curve, held: Curve) -> float:
    rate = delta_rate(whole, held, METRIC)
    if rate is None:
        raise UsageError("curves overlap too little, or do not rise; choose other --crf")
    return round(rate, 2)


def markdown_from_result(result: dict[str, Any]) -> str:
    """Return the table."""
    names = [step["name"] for step in result["steps"]]
    lines = [
        "# x265 held to what swift does",
        "",
        f"BD-rate (PSNR of RGB) of x265, preset medium, against itself with all its tools; "
        f"{result['frames']} frames, an intra frame every {result['keyint']}. Each column takes "
        "something away beside all that the columns before it have.",
        "",
        "| clip | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    rows = result["bd_rate_percent"] | {"mean": result["mean"]}
    lines += [
        f"| {clip} | " + " | ".join(percent(value) for value in values) + " |"
        for clip, values in rows.items()
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
