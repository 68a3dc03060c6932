"""BD-rate against hours of training, from the checkpoints of a run.

    python tools/training_progress.py --checkpoint RUN/a.safetensors RUN/b.safetensors \
        -i CLIP -i CLIP --cache FOLDER -o docs/results/training_progress-swift-s

Every checkpoint's averaged weights code the first frames of the clips with hard rounding and the
levels of a coder; bits are the model's own estimate, without container and calibration. The hours
are those that the checkpoint notes. BD-rates (PSNR, RGB) are against x264 and x265 on the same
frames, means over the clips. --cache keeps the points of x264 and x265 (the same folder as that of
`rd_curves.py`) and of checkpoints that were measured before. Writes OUT.json, OUT.md and OUT.svg.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from machine import machine_facts
from model_coding import CodedClip, bd_rate, code_clip, mean_points, read_clip
from rate_distortion import REFERENCE_CODECS, Curve, cached_curve, draw_progress
from report_files import add_numbers, beside, percent, run_tool, write_report
from torch import Tensor

from nvc_errors import UsageError
from nvc_models.training import checkpoint
from nvc_models.training.trainer import load_model

ANCHORS = ("x264 zero latency", "x265 medium")
SKIP_LEVEL = 9


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    plot: Path = beside(options.output, ".svg")

    def work() -> int:
        result = measure(options)
        write_report(options.output, result, markdown_from_result(result, plot.name))
        draw_progress(plot, curves_from_result(result), ANCHORS[0])
        return 0

    return run_tool("training_progress", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, nargs="+", required=True, help="of one codec or several")
    add("-i", "--clip", type=Path, action="append", required=True, help="may be repeated")
    add("-o", "--output", type=Path, required=True, help="without suffix")
    add("--frames", type=int, default=32, help="of every clip, one GOP; default: %(default)s")
    add_numbers(parser, "--qualities", [0, 16, 32, 48, 63])
    add_numbers(parser, "--crf", list(range(15, 44, 4)))
    add("--cache", type=Path, help="folder that keeps points")
    add("--threads", type=int, default=1, help="default: %(default)s")
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every checkpoint; return the content of the JSON file."""
    names = [clip.stem for clip in options.clip]
    if len(set(names)) != len(names):
        raise UsageError(f"clips must have different names; found {names}")
    anchors = {
        codec.name: {
            clip.stem: cached_curve(
                codec, clip, options.crf, options.cache,
                keyint=options.frames, frames=options.frames,
            )
            for clip in options.clip
        }
        for codec in REFERENCE_CODECS
        if codec.name in ANCHORS
    }  # fmt: skip
    clips = {clip: read_clip(clip, options.frames) for clip in options.clip}
    rows = [_row(path, clips, anchors, options) for path in options.checkpoint]
    rows.sort(key=lambda row: (row["codec"], row["hours"], row["total_steps"]))
    for before, row in pairwise(rows):
        row["percent_per_hour"] = gain_per_hour(before, row, ANCHORS[0])
    return {
        "format": "nvc-training-progress 1",
        "machine": machine_facts(),
        "clips": names,
        "frames": options.frames,
        "qualities": options.qualities,
        "crf": options.crf,
        "skip_level": SKIP_LEVEL,
        "checkpoints": rows,
    }


def _row(
    path: Path,
    clips: Mapping[Path, Tensor],
    anchors: Mapping[str, Mapping[str, Curve]],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return one checkpoint's place in training, points and BD-rates."""
    metadata = checkpoint.load(path).metadata
    coded = _coded(path, clips, options)
    deltas = {
        name: {stem: bd_rate(curves[stem], points) for stem, points in coded.items()}
        for name, curves in anchors.items()
    }
    means = {name: _mean(list(found.values())) for name, found in deltas.items()}
    try:
        stages = [stage["name"] for stage in metadata["stages"]]
        row: dict[str, Any] = {
            "file": path.name,
            "codec": metadata["fingerprint"]["config"]["name"],
            "hours": float(metadata["elapsed_s"]) / 3600,
            "total_steps": int(metadata["total_steps"]),
            "stage": stages[min(int(metadata["stage"]), len(stages) - 1)],
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UsageError(f"{path}: does not say how long it was trained: {error}") from error
    shown = {name: None if mean is None else round(mean, 1) for name, mean in means.items()}
    print(f"{path.name}, {row['hours']:.2f} h: {shown}", file=sys.stderr, flush=True)
    return row | {
        "bd_rate_percent": means,
        "bd_rate_percent_by_clip": deltas,
        "percent_per_hour": None,
        "mean_points": [asdict(point) for point in mean_points(list(coded.values()))],
    }


def _coded(
    path: Path, clips: Mapping[Path, Tensor], options: argparse.Namespace
) -> dict[str, list[CodedClip]]:
    """Code all clips with a checkpoint, or take from the cache what was coded before."""
    kept: Path | None = None
    if options.cache is not None:
        identity = [
            hashlib.sha256(path.read_bytes()).hexdigest(),
            [hashlib.sha256(clip.read_bytes()).hexdigest() for clip in clips],
            [clip.stem for clip in clips],
            options.frames,
            options.qualities,
            SKIP_LEVEL,
        ]
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
        kept = options.cache / f"checkpoint-{key}.json"
        if kept.exists():
            data = json.loads(kept.read_text())
            return {stem: [CodedClip(**point) for point in data[stem]] for stem in data}
    model = load_model(path)
    coded = {
        clip.stem: [code_clip(model, frames, q, skip_level=SKIP_LEVEL) for q in options.qualities]
        for clip, frames in clips.items()
    }
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({s: [asdict(p) for p in coded[s]] for s in coded}))
    return coded


def _mean(deltas: Sequence[float | None]) -> float | None:
    known = [delta for delta in deltas if delta is not None]
    return fmean(known) if len(known) == len(deltas) else None


def gain_per_hour(before: dict[str, Any], row: dict[str, Any], anchor: str) -> float | None:
    """Change of BD-rate in points an hour since the checkpoint before, of the same codec."""
    deltas = (before["bd_rate_percent"][anchor], row["bd_rate_percent"][anchor])
    hours = row["hours"] - before["hours"]
    if None in deltas or before["codec"] != row["codec"] or hours <= 0:
        return None
    return float((deltas[1] - deltas[0]) / hours)


def curves_from_result(result: dict[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Return hours and BD-rates by codec, of the checkpoints that have a BD-rate."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for row in result["checkpoints"]:
        if (delta := row["bd_rate_percent"][ANCHORS[0]]) is not None:
            hours, deltas = curves.setdefault(row["codec"], ([], []))
            hours.append(row["hours"])
            deltas.append(delta)
    return curves


def markdown_from_result(result: dict[str, Any], plot: str) -> str:
    """Return the plot and a row for every checkpoint."""
    codecs = sorted({row["codec"] for row in result["checkpoints"]})
    lines = [
        f"# BD-rate against hours of training, {', '.join(codecs)}",
        "",
        f"{result['frames']} frames of {', '.join(result['clips'])} as one GOP. The rate is the "
        "model's estimate with hard rounding, without headers and calibration: good for the "
        "course, not for comparison with curves measured on files. BD-rates (PSNR, RGB) are means "
        "over the clips; a dash: the curves of a clip do not overlap enough.",
        "",
        f"![progress]({plot})",
        "",
        "| codec | hours | steps | stage | " + " | ".join(ANCHORS) + " | points an hour |",
        "|---" * (len(ANCHORS) + 5) + "|",
    ]
    for row in result["checkpoints"]:
        deltas = [percent(row["bd_rate_percent"][anchor]) for anchor in ANCHORS]
        gain = row["percent_per_hour"]
        lines.append(
            f"| {row['codec']} | {row['hours']:.2f} | {row['total_steps']} | {row['stage']} | "
            + " | ".join([*deltas, "-" if gain is None else f"{gain:+.1f}"])
            + " |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
