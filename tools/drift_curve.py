"""Drift along a long GOP: how far engines are apart, frame by frame, without refresh.

    python tools/drift_curve.py -i CLIP --frames 300 --engines ort:cpu,opt=basic openvino:cpu \
        -o docs/results/drift_curve

Encodes one GOP of FRAMES frames on the reference engine (a clip that is shorter is played back
and forth), records a trace on every engine and compares. Writes OUT.json, OUT.md and OUT.svg.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from machine import machine_facts

mpl.use("svg")

from matplotlib import pyplot as plt

from nvc_engines import open_engine
from nvc_runtime import Bundle, Encoder, EncoderSettings, open_bundle, open_reader
from nvc_runtime.codec.samples import Frame
from nvc_runtime.drift import compare_traces, record_trace
from nvc_runtime.video import VideoInfo

REFERENCE = "ort:cpu"
MILESTONES = (0, 1, 8, 32, 96, 192, 300)


def back_and_forth(frames: list[Frame], count: int) -> Iterator[Frame]:
    """Play a clip forwards and backwards until ``count`` frames are delivered."""
    period = max(1, 2 * (len(frames) - 1))
    for number in range(count):
        place = number % period
        yield frames[place if place < len(frames) else period - place]


def encode(bundle: Bundle, clip: Path, count: int, quality: int, size: int, sync: int) -> bytes:
    """Encode one GOP of ``count`` frames, cropped to ``size`` columns at most."""
    with open_reader(str(clip), limit=count) as reader:
        frames = [np.ascontiguousarray(f[: size * 9 // 16, :size]) for f in reader]
        info = reader.info
    height, width, _ = frames[0].shape
    info = VideoInfo(width, height, info.frame_rate, info.color, info.chroma)
    stream = io.BytesIO()
    settings = EncoderSettings(quality=quality, keyint=0, sync=sync)
    with open_engine(REFERENCE) as engine:
        Encoder(bundle, engine, settings).encode(back_and_forth(frames, count), info, stream)
    return stream.getvalue()


def measure(bundle: Bundle, stream: bytes, engines: list[str]) -> list[dict[str, Any]]:
    """Record every engine and compare it with the reference."""
    with open_engine(REFERENCE) as engine:
        reference = record_trace(stream, engine, bundle=bundle)
    results = []
    for spec in engines:
        with open_engine(spec) as engine:
            trace = record_trace(stream, engine, bundle=bundle)
        results.append(compare_traces(reference, trace).to_json() | {"engine": spec})
    return results


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Largest index difference, and largest sample difference, over the frame number."""
    figure, axes = plt.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
    for result in results:
        numbers = [f["frame"] for f in result["per_frame"]]
        for axis, key in zip(axes, ("max_difference", "sample_max"), strict=True):
            axis.plot(
                numbers, [f[key] for f in result["per_frame"]], label=result["engine"], lw=0.9
            )
    axes[0].set_ylabel("scale index, max |difference|")
    axes[1].set_ylabel("8-bit samples, max |difference|")
    axes[1].set_xlabel("inter frames since the intra frame")
    for axis in axes:
        axis.set_yscale("log")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(path)
    plt.close(figure)


def markdown(record: dict[str, Any]) -> str:
    """Table of the drift at some frame numbers."""
    shown = [n for n in MILESTONES if n < record["frames"]] + [record["frames"] - 1]
    head = " | ".join(f"frame {n}" for n in dict.fromkeys(shown))
    lines = [
        "# Drift along a long GOP",
        "",
        f"{record['clip']}, {record['width']}x{record['height']}, {record['frames']} frames, one "
        f"intra frame, quality {record['quality']}, reference {REFERENCE}. Largest difference of a "
        "scale index (recorded elements).",
        "",
        f"| engine | {head} | largest | flips without calibration | symbols equal |",
        "|---" * (len(dict.fromkeys(shown)) + 4) + "|",
    ]
    for result in record["results"]:
        cells = " | ".join(
            f"{result['per_frame'][n]['max_difference']:.1e}"
            if n < len(result["per_frame"])
            else "-"
            for n in dict.fromkeys(shown)
        )
        lines.append(
            f"| {result['engine']} | {cells} | {result['max_difference']:.1e} | "
            f"{result['coded_flips']} | {'yes' if result['symbols_equal'] else 'NO'} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Parse arguments, measure, write JSON, Markdown and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-i", "--clip", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="without suffix")
    parser.add_argument("--bundle", default=None)
    parser.add_argument("--frames", type=int, default=97)
    parser.add_argument("--quality", type=int, default=32)
    parser.add_argument("--size", type=int, default=256, help="columns; rows are 9/16 of it")
    parser.add_argument("--sync", type=int, default=0)
    parser.add_argument(
        "--engines", nargs="+", default=["ort:cpu,opt=basic", "openvino:cpu", "torch:cpu"]
    )
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    stream = encode(
        bundle,
        arguments.clip,
        arguments.frames,
        arguments.quality,
        arguments.size,
        arguments.sync,
    )
    record = {
        "machine": machine_facts(),
        "bundle": bundle.name,
        "bundle_digest": bundle.digest.hex(),
        "clip": arguments.clip.name,
        "width": arguments.size,
        "height": arguments.size * 9 // 16,
        "frames": arguments.frames,
        "quality": arguments.quality,
        "sync": arguments.sync,
        "results": measure(bundle, stream, arguments.engines),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    arguments.output.with_suffix(".md").write_text(markdown(record))
    plot(record["results"], arguments.output.with_suffix(".svg"))


if __name__ == "__main__":
    main()
