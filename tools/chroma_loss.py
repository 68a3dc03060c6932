"""What half as much chroma costs before anything is coded.

    python tools/chroma_loss.py -i CLIP -i CLIP --frames 3 -o docs/results/chroma_loss

Takes the RGB frames that the runtime reads to luma and chroma at half resolution and back: with
chroma as the mean of 2x2 pixels, repeated, and where video coders have it, interpolated linearly,
as in the swift family. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from machine import machine_facts
from model_coding import read_clip
from report_files import clips_parser, run_report
from torch import Tensor
from torch.nn import functional as F

from nvc_models.swift.planes import luma, planes_from_rgb, rgb_from_planes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    parser = clips_parser(__doc__)
    add = parser.add_argument
    add("--frames", type=int, default=3, help="of every clip (default: %(default)s)")
    options = parser.parse_args(arguments)
    return run_report("chroma_loss", options, measure, markdown_from_result)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all clips; return the content of the JSON file."""
    return {
        "format": "nvc-chroma-loss 1",
        "machine": machine_facts(),
        "frames": options.frames,
        "clips": {path.stem: losses(read_clip(path, options.frames)) for path in options.clip},
    }


@torch.no_grad()
def losses(clip: Tensor) -> dict[str, float]:
    """Mean squared errors of RGB in 8-bit steps, for frames (T, 3, H, W) in [0, 1]."""
    height, width = (side // 2 * 2 for side in clip.shape[-2:])
    frames = clip[..., :height, :width]
    results = {
        "repeated": repeated_means(frames),
        "interpolated": rgb_from_planes(*planes_from_rgb(frames)),
    }
    return {
        name: round(float(F.mse_loss(found, frames)) * 255**2, 4) for name, found in results.items()
    }


def repeated_means(frames: Tensor) -> Tensor:
    """Keep luma, and of what RGB differs from it the mean of 2x2 pixels."""
    y = luma(frames)
    return y + F.interpolate(F.avg_pool2d(frames - y, 2), scale_factor=2.0, mode="nearest")


def markdown_from_result(result: dict[str, Any]) -> str:
    """Return the errors of every clip, and the PSNR that they alone would leave."""
    lines = [
        "# What half as much chroma costs",
        "",
        "Mean squared error of RGB in 8-bit steps, and PSNR, of frames that went to luma and "
        f"chroma at half resolution and back, uncoded; {result['frames']} frames of every clip.",
        "",
        "| clip | means of 2x2, repeated | interpolated where video has it |",
        "|---|---|---|",
    ]
    lines += [
        f"| {clip} | {_cell(row['repeated'])} | {_cell(row['interpolated'])} |"
        for clip, row in result["clips"].items()
    ]
    return "\n".join([*lines, ""])


def _cell(error: float) -> str:
    return f"{error:.2f}, {10 * math.log10(255**2 / max(error, 1e-6)):.1f} dB"


if __name__ == "__main__":
    sys.exit(main())
