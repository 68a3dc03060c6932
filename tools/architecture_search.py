"""Short training runs of the swift family, each deciding one question about it.

    taskset -c 1 python tools/architecture_search.py --data CACHE --work FOLDER \
        -i CLIP -i CLIP -o docs/results/architecture_search

Every run has the same processor time (--seconds: intra stage, inter stage; one thread, BF16), and
about the same decoder cost. Then it codes the first frames of some clips that it was not trained
on at four qualities, with hard rounding. The loss is that of training, the mean over clips and
qualities. States and results are kept in --work, so that a run that was stopped goes on where it
was; --only limits the trials, and the report is about those that there are results of. Writes
OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from architecture import (
    BASE,
    BASE_AGAIN,
    QUESTIONS,
    Question,
    Trial,
    decide,
    train_trial,
    trials_by_name,
)
from machine import machine_facts
from model_coding import CodedClip, bd_rate, code_clip, mean_points, read_clip
from report_files import percent, run_report

from nvc_errors import UsageError
from nvc_export.complexity import complexity_from_codec
from nvc_models.families import graphs_from_model
from nvc_models.training.data import PackedClips
from nvc_models.training.trainer import load_model

QUALITIES = (4, 24, 44, 60)
SKIP_LEVEL = 9


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    return run_report("architecture_search", options, search, markdown_from_result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder made by pack-data")
    add("--work", type=Path, required=True, help="folder that keeps states and results")
    add("-i", "--clip", type=Path, action="append", required=True, help="may be repeated")
    add("-o", "--output", type=Path, required=True, help="without suffix")
    add("--seconds", type=float, nargs=2, default=[60.0, 120.0], help="default: 60 120")
    add("--frames", type=int, default=8, help="of every clip, one GOP; default: %(default)s")
    add("--only", action="append", help="name of a trial, may be repeated; default: all")
    add("--report-only", action="store_true", help="train nothing, report what there is")
    return parser


def search(options: argparse.Namespace) -> dict[str, Any]:
    """Train and judge the trials; return the content of the JSON file."""
    trials = trials_by_name(options.seconds)
    unknown = sorted(set(options.only or ()) - set(trials))
    if unknown:
        raise UsageError(f"no such trials: {unknown}; known: {', '.join(trials)}")
    chosen = options.only or list(trials)
    data = PackedClips(options.data)
    clips = [read_clip(path, options.frames) for path in options.clip]
    rows: dict[str, dict[str, Any]] = {}
    for name, trial in trials.items():
        path = options.work / f"{_result_key(trial, options)}.json"
        if not path.exists() and name in chosen and not options.report_only:
            row = _run(trial, data, clips, options)
            path.write_text(json.dumps(row, indent=1))
            print(f"{name}: loss {row['loss']:.4f}", file=sys.stderr, flush=True)
        if path.exists():
            rows[name] = json.loads(path.read_text())
    if BASE not in rows:
        raise UsageError(f"there is no result of {BASE!r} yet; run it first")
    for row in rows.values():
        row["bd_rate_percent"] = bd_rate(_points(rows[BASE]), _points(row))
    return {
        "format": "nvc-architecture-search 1",
        "machine": machine_facts(),
        "seconds": options.seconds,
        "clips": [path.name for path in options.clip],
        "frames": options.frames,
        "qualities": list(QUALITIES),
        "skip_level": SKIP_LEVEL,
        "trials": rows,
        "questions": [found for q in QUESTIONS if (found := answer(q, rows)) is not None],
    }


def _result_key(trial: Trial, options: argparse.Namespace) -> str:
    """Name of a result, made of all it depends on but code and training data."""
    identity = {
        "state": trial.key(),
        "clips": [hashlib.sha256(path.read_bytes()).hexdigest() for path in options.clip],
        "frames": options.frames,
        "qualities": QUALITIES,
        "skip_level": SKIP_LEVEL,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]


def _run(
    trial: Trial, data: PackedClips, clips: Sequence[torch.Tensor], options: argparse.Namespace
) -> dict[str, Any]:
    """Train a trial as far as it is not, and code the clips with it."""
    state, legs = train_trial(trial, data, options.work, bfloat16=True)
    model = load_model(state)
    began = time.process_time()
    curves = [[code_clip(model, c, q, skip_level=SKIP_LEVEL) for q in QUALITIES] for c in clips]
    points = mean_points(curves)
    intra, inter = complexity_from_codec(graphs_from_model(model))
    return {
        "words": trial.words,
        "identity": trial.identity(),
        "legs": [asdict(leg) for leg in legs],
        "coding_processor_s": round(time.process_time() - began, 1),
        "decoder_kmac_per_pixel": {
            "intra": round(intra.decoder_macs_per_pixel / 1000, 3),
            "inter": round(inter.decoder_macs_per_pixel / 1000, 3),
        },
        "loss": fmean(point.loss for point in points),
        "points": [asdict(point) for point in points],
    }


def _points(row: dict[str, Any]) -> list[CodedClip]:
    return [CodedClip(**point) for point in row["points"]]


def answer(question: Question, rows: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Judge the variants of a question; None while what it takes is not there."""
    variants = [name for name in question.variants if name in rows]
    if question.against not in rows or BASE_AGAIN not in rows or not variants:
        return None
    noise = 100 * (rows[BASE_AGAIN]["loss"] / rows[BASE]["loss"] - 1)
    against = rows[question.against]["loss"]
    judged = {name: asdict(decide(rows[name]["loss"], against, noise)) for name in variants}
    best = min(variants, key=lambda name: float(rows[name]["loss"]))
    keeps = judged[best]["verdict"] != "better"
    return {
        "text": question.text,
        "against": question.against,
        "variants": judged,
        "choice": question.against if keeps else best,
    }


def markdown_from_result(result: dict[str, Any]) -> str:
    """Return the runs, and what the answer to each question is."""
    intra_s, inter_s = result["seconds"]
    low, *_, high = result["qualities"]
    lines = [
        "# Search before the long run",
        "",
        f"Every run: {intra_s:g} s of processor time for the intra model and {inter_s:g} s for "
        "the inter model (one thread, BF16, the same seed), then "
        f"{result['frames']} frames of {', '.join(result['clips'])} as one GOP with hard rounding "
        "(the model's estimate of bits, without headers). Loss, bits and PSNR are means over clips "
        f"and over the qualities {', '.join(map(str, result['qualities']))}; BD-rate is against "
        f"{BASE!r}. Kernel sizes are not varied: the model has no such setting.",
        "",
        "| run | what differs | steps | decoder kMAC/pixel, intra / inter | loss | "
        f"quality {low}: bpp, dB | quality {high}: bpp, dB | BD-rate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["trials"].items():
        cost, first, last = row["decoder_kmac_per_pixel"], row["points"][0], row["points"][-1]
        delta = row["bd_rate_percent"]
        steps = " + ".join(str(leg["steps"]) for leg in row["legs"])
        lines.append(
            f"| {name} | {row['words']} | {steps} | {cost['intra']:.2f} / {cost['inter']:.2f} "
            f"| {row['loss']:.4f} | {_cell(first)} | {_cell(last)} | {percent(delta)} |"
        )
    lines += [
        "",
        "A difference counts from twice that between two seeds. What runs this short cannot see: "
        "how far a variant gets in the end.",
        "",
        "| question | compared with | change of loss | choice |",
        "|---|---|---|---|",
    ]
    for question in result["questions"]:
        changes = "; ".join(
            f"{name}: {found['loss_change_percent']:+.1f} %, {found['verdict']}"
            for name, found in question["variants"].items()
        )
        lines.append(
            f"| {question['text']} | {question['against']} | {changes} | {question['choice']} |"
        )
    return "\n".join([*lines, ""])


def _cell(point: dict[str, float]) -> str:
    return f"{point['bits_per_pixel']:.4f}, {point['psnr_rgb_db']:.2f}"


if __name__ == "__main__":
    sys.exit(main())
