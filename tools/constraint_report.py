"""What the piecewise Gaussian constraint does: coordinates and BD-rate by epsilon (Table 4).

    python tools/constraint_report.py --checkpoint models/weights/swift-s.safetensors \
        --data CACHE --steps 200 --work FOLDER -i CLIP -i CLIP -o docs/results/constraint-swift-s
    python tools/constraint_report.py --without A.safetensors --with B.safetensors -i CLIP -o OUT

With --checkpoint, the entropy networks of a trained codec are fine-tuned twice for the same steps
on the same batches, without and with the constraint; --work keeps both, so that a second call
measures only. Then the first frames of every clip are coded by the models: bits are their estimate
with the levels of a coder, plus the side information of calibration as it would be written.
BD-rates (PSNR, RGB) are against the codec without constraint and without calibration. Writes
OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from machine import machine_facts
from model_coding import CodedClip, bd_rate, code_clip, read_clip
from numpy.typing import NDArray
from report_files import percent, run_report
from torch import Tensor, nn

from nvc_calib import LevelEncoder, PositionCoder
from nvc_calib.boundaries import Boundaries, flatten_index
from nvc_errors import UsageError
from nvc_models.levels import LEVELS
from nvc_models.training import checkpoint
from nvc_models.training.data import PackedClips
from nvc_models.training.schedule import Schedule
from nvc_models.training.stage import Stage
from nvc_models.training.trainer import STATE_FILE, Trainer, TrainOptions, load_model

EPSILONS = (1e-4, 1e-3, 1e-2)
QUALITIES = (4, 24, 44, 60)
SKIP_LEVEL = 9
VARIANTS = ("without", "with")
CODERS = (PositionCoder.RPC, PositionCoder.RETRIEVAL)
PAPER = {1e-4: (114.8, 82.4), 1e-3: (1141.7, 825.7), 1e-2: (11414.9, 8256.7)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    return run_report("constraint_report", options, measure, markdown_from_result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, help="codec to fine-tune")
    add("--without", type=Path, help="checkpoint that was tuned without the constraint")
    add("--with", dest="constrained", type=Path, help="checkpoint that was tuned with it")
    add("--data", type=Path, help="folder made by pack-data")
    add("--work", type=Path, help="folder that keeps both fine-tuned checkpoints")
    add("--steps", type=int, default=200, help="of fine-tuning; default: %(default)s")
    add("--weight", type=float, default=1.0, help="of the constraint; default: %(default)s")
    add("--learning-rate", type=float, default=1e-4, help="default: %(default)s")
    add("--batch", type=int, default=4, help="sequences a step; default: %(default)s")
    add("-i", "--clip", type=Path, action="append", required=True, help="may be repeated")
    add("--frames", type=int, default=8, help="of every clip, one GOP; default: %(default)s")
    add("-o", "--output", type=Path, required=True, help="without suffix")
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune unless both checkpoints are given, code, and return what the report says."""
    if options.frames < 2:
        raise UsageError(f"--frames is {options.frames}, expected at least 2")
    given = (options.without, options.constrained)
    tuning: dict[str, Any] | None = None
    if all(given):
        paths = dict(zip(VARIANTS, given, strict=True))
    elif options.checkpoint and options.data and options.work and not any(given):
        paths, tuning = _tune(options)
    else:
        raise UsageError("give --checkpoint, --data and --work, or --without and --with")
    clips = {path.stem: read_clip(path, options.frames) for path in options.clip}
    models = {name: load_model(path) for name, path in paths.items()}
    coded = {
        name: {stem: [code(model, clip, q) for q in QUALITIES] for stem, clip in clips.items()}
        for name, model in models.items()
    }
    return {
        "format": "nvc-constraint 1",
        "machine": machine_facts(),
        "codec": models["without"].config.name,  # type: ignore[union-attr]
        "tuning": tuning,
        "clips": [path.name for path in options.clip],
        "frames": options.frames,
        "qualities": list(QUALITIES),
        "skip_level": SKIP_LEVEL,
        "elements_per_inter_frame": fmean(
            found.elements for curve in coded["without"].values() for found in curve
        ),
        "rows": [_row(epsilon, coded) for epsilon in (0.0, *EPSILONS)],
    }


def _tune(options: argparse.Namespace) -> tuple[dict[str, Path], dict[str, Any]]:
    """Fine-tune the entropy networks without and with the constraint."""
    data = PackedClips(options.data)
    options.work.mkdir(parents=True, exist_ok=True)
    stage = Stage(
        "constraint", "calibrate", options.steps, options.batch, 3, 128, options.learning_rate,
        final_learning_rate=options.learning_rate / 100, rounding="hard", skip_level=SKIP_LEVEL,
        warmup_steps=20, intra_weight=0.3, ema=0.98,
    )  # fmt: skip
    began, paths = time.process_time(), {}
    for name, weight in zip(VARIANTS, (0.0, options.weight), strict=True):
        chosen = replace(stage, constraint_weight=weight)
        identity = json.dumps([asdict(chosen), str(options.checkpoint.resolve())])
        paths[name] = options.work / f"{name}.safetensors"
        note = options.work / f"{name}.json"
        if not (paths[name].exists() and note.exists() and note.read_text() == identity):
            with tempfile.TemporaryDirectory(dir=options.work) as folder:
                _fine_tune(options.checkpoint, chosen, data, Path(folder))
                shutil.move(Path(folder) / STATE_FILE, paths[name])
            note.write_text(identity)
    tuning = asdict(stage) | {
        "constraint_weight": options.weight,
        "processor_s": round(time.process_time() - began, 1),
    }
    return paths, tuning


def _fine_tune(path: Path, stage: Stage, data: PackedClips, folder: Path) -> None:
    """Train one more stage after all those of a checkpoint."""
    metadata = checkpoint.load(path).metadata
    try:
        finished = int(metadata["stage"]) + (1 if int(metadata["step"]) else 0)
        fingerprint = metadata["fingerprint"]
        preset, seed = fingerprint["config"]["name"], int(fingerprint["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: is no checkpoint to go on from: {error}") from error
    if int(metadata["step"]):
        raise UsageError(f"{path}: is in the middle of a stage; finish it first")
    before = tuple(replace(stage, name=f"before-{n}") for n in range(finished))
    trainer = Trainer(
        Schedule(preset, seed, (*before, stage)),
        data,
        TrainOptions(folder, bfloat16=False, save_every_s=1e9),
        on_log=lambda line: print(line, file=sys.stderr, flush=True),
    )
    trainer.resume(path)
    trainer.run()


@dataclass
class Calibrated:
    """A clip's rate and quality, and by epsilon what calibration takes.

    Elements and coordinates are those of an inter frame on average, bits those of all frames.
    """

    clip: CodedClip
    pixels: int
    elements: int
    coordinates: dict[float, float] = field(default_factory=dict)
    coordinates_above_skip: dict[float, float] = field(default_factory=dict)
    bits: dict[tuple[float, PositionCoder], int] = field(default_factory=dict)

    def with_calibration(self, epsilon: float, coder: PositionCoder) -> CodedClip:
        """Return the point with the side information of an epsilon; none for 0."""
        side = self.bits[epsilon, coder] / self.pixels if epsilon else 0.0
        return replace(self.clip, bits_per_pixel=self.clip.bits_per_pixel + side)


def code(model: nn.Module, clip: Tensor, quality: int) -> Calibrated:
    """Code two frames or more, and encode all their side information for every epsilon."""
    frames: list[tuple[int, NDArray[np.float32]]] = []

    def keep(number: int, index: Tensor) -> None:
        frames.append((number, index[0].numpy().astype(np.float32)))

    coded = code_clip(model, clip, quality, skip_level=SKIP_LEVEL, on_index=keep)
    inter = [index for number, index in frames if number]
    inter_frames = len(clip) - 1
    elements = sum(index.size for index in inter) // inter_frames
    result = Calibrated(coded, clip.shape[0] * clip.shape[2] * clip.shape[3], elements)
    for epsilon in EPSILONS:
        for counts, level in (
            (result.coordinates, -1),
            (result.coordinates_above_skip, SKIP_LEVEL),
        ):
            counts[epsilon] = sum(count_near(i, level, epsilon) for i in inter) / inter_frames
        for coder in CODERS:
            result.bits[epsilon, coder] = sum(
                8 * len(_side_information([index for _, index in latents], epsilon, coder))
                for _, latents in groupby(frames, key=itemgetter(0))
            )
    return result


def count_near(index: NDArray[np.float32], skip_level: int, epsilon: float) -> int:
    """Return how many elements lie within epsilon of a boundary above the skip level."""
    boundaries = Boundaries(LEVELS.count, skip_level, epsilon)
    return int(boundaries.near(flatten_index(index), boundaries.epsilon).size)


def _side_information(
    latents: Sequence[NDArray[np.float32]], epsilon: float, coder: PositionCoder
) -> bytes:
    encoder = LevelEncoder(levels=LEVELS.count, skip_level=SKIP_LEVEL, epsilon=epsilon, coder=coder)
    for index in latents:
        encoder.encode(index)
    return encoder.finish()


def _row(epsilon: float, coded: dict[str, dict[str, list[Calibrated]]]) -> dict[str, Any]:
    """Return what one epsilon costs, without and with the constraint."""
    row: dict[str, Any] = {"epsilon": epsilon}
    for name, clips in coded.items():
        every = [found for curve in clips.values() for found in curve]
        row[name] = {
            "bd_rate_percent": {
                coder.value: _mean_delta(coded["without"], clips, epsilon, coder)
                for coder in CODERS
            }
        }
        if epsilon:
            row[name] |= {
                "coordinates": fmean(c.coordinates[epsilon] for c in every),
                "coordinates_above_skip_level": fmean(
                    c.coordinates_above_skip[epsilon] for c in every
                ),
            }
    return row


def _mean_delta(
    anchors: dict[str, list[Calibrated]],
    tests: dict[str, list[Calibrated]],
    epsilon: float,
    coder: PositionCoder,
) -> float | None:
    """Mean over clips of the BD-rate against no constraint and no calibration."""
    deltas = []
    for stem, curve in tests.items():
        anchor = [found.clip for found in anchors[stem]]
        deltas.append(bd_rate(anchor, [found.with_calibration(epsilon, coder) for found in curve]))
    known = [delta for delta in deltas if delta is not None]
    return fmean(known) if len(known) == len(deltas) else None


def markdown_from_result(result: dict[str, Any]) -> str:
    """Return Table 4 for this codec."""
    tuning = result["tuning"]
    how = (
        f"fine-tuned for {tuning['steps']} steps ({tuning['batch']} sequences of "
        f"{tuning['frames']} frames), the constraint's weight being {tuning['constraint_weight']:g}"
        if tuning
        else "fine-tuned before"
    )
    lines = [
        f"# The piecewise Gaussian constraint, {result['codec']}",
        "",
        f"The entropy networks were {how}, with everything else frozen, once without and once "
        f"with the constraint. {result['frames']} frames of {', '.join(result['clips'])} as one "
        f"GOP, qualities {', '.join(map(str, result['qualities']))}; the models' estimate of bits "
        "plus calibration as it would be written. Coordinates are means over inter frames "
        f"of {result['elements_per_inter_frame']:.0f} elements: near any boundary, as the paper "
        f"counts (at 737,280 elements), and near one above skip level {result['skip_level']}. "
        "BD-rate (PSNR, RGB) is against no constraint and no calibration.",
        "",
        "| epsilon | constraint | coordinates | above skip level | BD-rate, rpc "
        "| BD-rate, retrieval | paper's coordinates |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        epsilon = row["epsilon"]
        for place, name in enumerate(VARIANTS):
            found = row[name]
            deltas = [percent(found["bd_rate_percent"][coder.value], 2) for coder in CODERS]
            counts = (
                [f"{found['coordinates']:.1f}", f"{found['coordinates_above_skip_level']:.1f}"]
                if epsilon
                else ["-", "-"]
            )
            paper = f"{PAPER[epsilon][place]:.1f}" if epsilon else "-"
            words = f"{epsilon:g}" if epsilon else "no calibration"
            lines.append(f"| {words} | {name} | " + " | ".join([*counts, *deltas, paper]) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
