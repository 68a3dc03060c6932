"""How well frames are predicted from the ones before, with and without motion.

    python tools/motion_gain.py -i CLIP -i CLIP --frames 9 -o docs/results/motion_gain

Takes the search and the compensation of the swift family as they are, on source frames: nothing
here is trained. Vectors are in quarter pixels; their cost is the entropy of their coefficients over
the clip, of the first of four less its neighbour's, which a real coder should beat. Writes OUT.json
and OUT.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from machine import machine_facts
from model_coding import read_clip
from report_files import run_report
from torch import Tensor
from torch.nn import functional as F

from nvc_models.swift.config import ALIGNMENT
from nvc_models.swift.interpolation import QuarterRows
from nvc_models.swift.motion import VectorTransform
from nvc_models.swift.motion_cost import SearchStep
from nvc_models.swift.motion_search import MotionSearch
from nvc_models.swift.planes import BLOCK, luma


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("-i", "--clip", type=Path, action="append", required=True, help="may be repeated")
    add("-o", "--output", type=Path, default=Path("motion_gain"), help="without suffix")
    add("--quality", type=int, default=32, help="for the search (default: %(default)s)")
    add("--frames", type=int, default=9, help="of every clip (default: %(default)s)")
    return run_report("motion_gain", parser.parse_args(arguments), measure, _markdown)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every clip; return the content of the JSON file."""
    return {
        "tool": "motion_gain",
        "machine": machine_facts(),
        "quality": options.quality,
        "clips": [
            _gain_json(path, read_clip(path, options.frames), options.quality)
            for path in options.clip
        ],
    }


@torch.no_grad()
def _gain_json(path: Path, clip: Tensor, quality: int) -> dict[str, Any]:
    """Measure one clip, float32 (T, 3, H, W) in [0, 1], cut to whole multiples of the alignment."""
    height, width = (side // ALIGNMENT * ALIGNMENT for side in clip.shape[-2:])
    clip = clip[..., :height, :width]
    planes = luma(clip)
    before, after = planes[:-1], planes[1:]
    in_steps = (planes - 0.5) / SearchStep()(torch.tensor([float(quality)]))
    pairs = zip(in_steps[1:].split(1), in_steps[:-1].split(1), strict=True)
    vectors = torch.cat([MotionSearch()(frame, QuarterRows(y)) for frame, y in pairs])
    moved = F.pixel_shuffle(QuarterRows(before).blocks(vectors).flatten(1, 3), BLOCK)
    coefficients = VectorTransform()(vectors)
    first, differences = coefficients[:, :2], coefficients[:, 2:]
    bits = 2 * entropy(first[..., 1:] - first[..., :-1]) + 6 * entropy(differences)
    return {
        "clip": path.name,
        "frames": len(clip),
        "size": [width, height],
        "still_psnr_db": round(psnr_db(before, after), 2),
        "moved_psnr_db": round(psnr_db(moved, after), 2),
        "vector_bits_per_pixel": round(bits / (2 * BLOCK) ** 2, 4),
    }


def psnr_db(a: Tensor, b: Tensor) -> float:
    """Mean PSNR of planes (T, 1, H, W) in [0, 1]."""
    mse = F.mse_loss(a, b, reduction="none").mean((1, 2, 3)).clamp_min(1e-10)
    return float((-10 * torch.log10(mse)).mean())


def entropy(symbols: Tensor) -> float:
    """Bits per symbol of whole numbers, whatever their shape."""
    _, counts = torch.unique(symbols.flatten(), return_counts=True)
    share = counts / counts.sum()
    return float(-(share * torch.log2(share)).sum())


def _markdown(record: dict[str, Any]) -> str:
    lines = [
        "# What motion tells of the next frame",
        "",
        "Luma of a source frame predicted from the source frame before: as it was, and moved by",
        f"the vectors that the swift family's search finds at quality {record['quality']}, in",
        "quarter pixels. Nothing is trained.",
        "",
        "| clip | size | as it was (dB) | moved (dB) | vectors (bit/pixel) |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {clip['clip']} | {clip['size'][0]}x{clip['size'][1]} | {clip['still_psnr_db']:.2f} "
        f"| {clip['moved_psnr_db']:.2f} | {clip['vector_bits_per_pixel']:.4f} |"
        for clip in record["clips"]
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
