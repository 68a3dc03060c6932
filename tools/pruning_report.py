"""Rate and distortion of a codec before pruning, after it, and after fine-tuning.

    python tools/pruning_report.py --checkpoint models/weights/tian2023-lite.safetensors \
        --data CACHE -i CLIP -i CLIP --share 70 --steps 200 --distill 0.5 -o docs/results/pruning

Prunes both programs to a share of their operations, fine-tunes what is left, and also prunes the
untrained preset `full` to the paper's budget (whose importance says nothing: it shows the cost).
Bits are the model's estimate with the levels a coder uses, without headers; quality is measured on
8-bit RGB. Clips must not be among the training data. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from machine import machine_facts
from model_coding import CodedClip, bd_rate, code_clip, mean_points, read_clip
from report_files import clips_parser, run_report

from nvc_export.complexity import PAPER
from nvc_export.pruning.budget import budget_from_text, paper_budget
from nvc_export.pruning.importance import Sampling, accumulate_gradients
from nvc_export.pruning.pruner import check_prunable, figures_of, prune_codec
from nvc_export.pruning.recovery import Recovery, recover, save_pruned
from nvc_export.pruning.trace import Prunable
from nvc_models.tian2023 import Tian2023, preset
from nvc_models.training.data import PackedClips
from nvc_models.training.stage import Stage
from nvc_models.training.trainer import load_model

QUALITIES = (4, 24, 44, 60)
SKIP_LEVEL = 9
CROP = 128
PAPER_SAMPLING = Sampling(batches=1, batch=1, crop=64)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    return run_report("pruning_report", options, measure, markdown_from_result)


def _parser() -> argparse.ArgumentParser:
    parser = clips_parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="codec to prune")
    parser.add_argument("--data", type=Path, required=True, help="folder made by pack-data")
    parser.add_argument("--frames", type=int, default=4, help="frames of each clip, one GOP")
    parser.add_argument("--share", type=float, default=70.0, help="operations kept, in per cent")
    parser.add_argument("--batches", type=int, default=8, help="batches importance is measured on")
    parser.add_argument("--steps", type=int, default=200, help="steps of fine-tuning")
    parser.add_argument("--batch", type=int, default=4, help="sequences a step")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--distill", type=float, default=0.5, help="weight of the teacher")
    parser.add_argument("--keep", type=Path, help="write the fine-tuned checkpoint here")
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Prune, fine-tune and code; return everything the report says."""
    codec: Any = load_model(options.checkpoint)
    check_prunable(codec)
    data = PackedClips(options.data)
    clips = [read_clip(path, options.frames) for path in options.clip]
    before, name = deepcopy(codec), codec.config.name
    stages = {"before": _curve(before, clips)}
    sampling = Sampling(options.batches, options.batch, CROP)
    accumulate_gradients(codec, data, sampling)
    full = figures_of(codec)
    text = f"macs={options.share:g}%"
    reports = prune_codec(codec, {p: budget_from_text(text, full[p]) for p in full})
    stages["pruned"] = _curve(codec, clips)
    stage = Stage(
        "recovery", "joint", options.steps, options.batch, 3, CROP, options.learning_rate,
        rounding="hard", skip_level=SKIP_LEVEL, warmup_steps=20,
    )  # fmt: skip
    start, cpu_start = time.monotonic(), time.process_time()
    recovered = recover(
        codec,
        data,
        Recovery(stage, options.distill),
        teacher=before if options.distill else None,
        on_log=lambda line: print(line, file=sys.stderr, flush=True),
    )
    elapsed_s, cpu_s = time.monotonic() - start, time.process_time() - cpu_start
    if options.keep:
        save_pruned(options.keep, recovered, seed=1)
    stages["recovered"] = _curve(recovered, clips)
    return {
        "machine": machine_facts(),
        "codec": name,
        "clips": [path.name for path in options.clip],
        "frames": options.frames,
        "share": options.share,
        "importance": {"batches": sampling.batches, "batch": sampling.batch, "crop": CROP},
        "recovery": {
            "steps": options.steps,
            "batch": options.batch,
            "learning_rate": options.learning_rate,
            "distill": options.distill,
            "elapsed_s": round(elapsed_s, 1),
            "cpu_s": round(cpu_s, 1),
        },
        "programs": [report.to_json() for report in reports],
        "stages": {name: [_point_json(p) for p in curve] for name, curve in stages.items()},
        "bd_rate": {k: _bd_rate(stages["before"], stages[k]) for k in ("pruned", "recovered")},
        "paper": _paper(data),
    }


def _paper(data: PackedClips) -> dict[str, Any]:
    """Prune the untrained preset ``full`` to the paper's budget."""
    torch.manual_seed(1)
    codec = Tian2023(preset("full"))
    accumulate_gradients(codec, data, PAPER_SAMPLING)
    reports = prune_codec(codec, {name: paper_budget(name) for name in PAPER})
    return {
        "programs": [report.to_json() for report in reports],
        "preset_paper": figures_of(Tian2023(preset("paper"))),
    }


def _curve(codec: Prunable, clips: Sequence[torch.Tensor]) -> list[CodedClip]:
    """Return the mean over clips at each quality."""
    return mean_points(
        [[code_clip(codec, c, q, skip_level=SKIP_LEVEL) for q in QUALITIES] for c in clips]
    )


def _point_json(point: CodedClip) -> dict[str, float]:
    return {
        "quality": point.quality,
        "bpp": round(point.bits_per_pixel, 5),
        "psnr": round(point.psnr_rgb_db, 3),
    }


def _bd_rate(anchor: Sequence[CodedClip], test: Sequence[CodedClip]) -> float | None:
    rate = bd_rate(anchor, test)
    return None if rate is None else round(rate, 2)


def markdown_from_result(result: dict[str, Any]) -> str:
    """Tables of a result for people."""
    recovery, machine = result["recovery"], result["machine"]
    lines = [
        f"# Pruning {result['codec']} to {result['share']:g} % of its operations",
        "",
        f"Importance from {result['importance']['batches']} batches of "
        f"{result['importance']['batch']}; fine-tuning: {recovery['steps']} steps of "
        f"{recovery['batch']} sequences, teacher's weight {recovery['distill']:g}, "
        f"{recovery['cpu_s'] / 60:.1f} min of processor time on {machine['cpu']}. "
        f"{result['frames']} frames of {', '.join(result['clips'])}. Bits are the model's "
        "estimate with the levels of a coder.",
        "",
        f"| stage | {' | '.join(f'q{q}: bpp, dB' for q in QUALITIES)} | BD-rate |",
        f"|---|{'---|' * len(QUALITIES)}---|",
    ]
    for stage, curve in result["stages"].items():
        cells = " | ".join(f"{p['bpp']:.4f}, {p['psnr']:.2f}" for p in curve)
        rate = result["bd_rate"].get(stage)
        shown = "0" if stage == "before" else "none" if rate is None else f"{rate:+.1f} %"
        lines.append(f"| {stage} | {cells} | {shown} |")
    lines += ["", *_figures(result["programs"])]
    lines += [
        "",
        "## `full` to the paper's budget",
        "",
        "Table 3 of the paper, at 1280x768. `full` is untrained here: this shows that the budget "
        "is reached, not what the pruned codec would code.",
        "",
        *_figures(result["paper"]["programs"]),
        "",
        "The preset `paper` has this cost by its widths:",
        "",
        "| program | figure | preset | paper | off by |",
        "|---|---|---|---|---|",
    ]
    for program, figures in result["paper"]["preset_paper"].items():
        for name, value in figures.items():
            limit = paper_budget(program).limits[name]
            lines.append(
                f"| {program} | {name} | {_shown(name, value)} | {_shown(name, limit)} | "
                f"{value / limit - 1:+.2%} |"
            )
    return "\n".join(lines) + "\n"


def _figures(programs: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["| program | figure | before | after | budget | off by |", "|---|---|---|---|---|---|"]
    for program in programs:
        for name, after in program["after"].items():
            limit, error = program["budget"].get(name), program["errors"].get(name)
            lines.append(
                f"| {program['program']} | {name} | {_shown(name, program['before'][name])} | "
                f"{_shown(name, after)} | {'-' if limit is None else _shown(name, limit)} | "
                f"{'-' if error is None else f'{error:+.2%}'} |"
            )
    return lines


def _shown(name: str, value: float) -> str:
    return f"{value / 1e9:.2f} G" if "macs" in name else f"{value / 1e6:.2f} M"


if __name__ == "__main__":
    sys.exit(main())
