"""What exact pixels cost, and how far decoded samples are apart without them.

    python tools/exact_pixels.py -i CLIP --frames 16 -o docs/results/exact_pixels

Encodes a clip at three qualities with and without ``--exact pixels`` on one engine and decodes it
on others. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine_facts

from nvc_engines import open_engine
from nvc_runtime import Bundle, Decoder, Encoder, EncoderSettings, open_bundle, open_reader
from nvc_runtime.codec.samples import Frame, psnr_db
from nvc_runtime.stream import ExactMode

REFERENCE = "ort:cpu"


def encode(
    bundle: Bundle, clip: Path, frames: int, settings: EncoderSettings
) -> tuple[bytes, dict[str, Any]]:
    """Encode on the reference engine."""
    stream = io.BytesIO()
    with open_engine(REFERENCE) as engine, open_reader(str(clip), limit=frames) as reader:
        report = Encoder(bundle, engine, settings).encode(reader, reader.info, stream)
    return stream.getvalue(), report.to_json()


def decode(bundle: Bundle, stream: bytes, spec: str) -> list[Frame]:
    """Decode on an engine."""
    with open_engine(spec) as engine:
        return [f.rgb for f in Decoder(io.BytesIO(stream), engine, bundle=bundle)]


def difference(reference: list[Frame], other: list[Frame]) -> dict[str, Any]:
    """Share of samples that differ, the largest difference, PSNR between the two decodes."""
    differing = sum(int(np.count_nonzero(a != b)) for a, b in zip(reference, other, strict=True))
    samples = sum(a.size for a in reference)
    largest = max(
        int(np.abs(a.astype(np.int16) - b).max()) for a, b in zip(reference, other, strict=True)
    )
    values = [psnr_db(a, b) for a, b in zip(reference, other, strict=True)]
    finite = [v for v in values if np.isfinite(v)]
    return {
        "differing": differing,
        "samples": samples,
        "per_100000": 1e5 * differing / samples,
        "largest": largest,
        "lowest_psnr_db": min(finite) if finite else None,
    }


def measure(bundle: Bundle, arguments: argparse.Namespace, quality: int) -> dict[str, Any]:
    """Measure one quality."""
    plain, plain_report = encode(
        bundle, arguments.clip, arguments.frames, EncoderSettings(quality=quality)
    )
    exact, exact_report = encode(
        bundle,
        arguments.clip,
        arguments.frames,
        EncoderSettings(quality=quality, exact=ExactMode.PIXELS),
    )
    reference = {name: decode(bundle, s, REFERENCE) for name, s in (("p", plain), ("e", exact))}
    legs = [
        {
            "engine": spec,
            "plain": difference(reference["p"], decode(bundle, plain, spec)),
            "exact": difference(reference["e"], decode(bundle, exact, spec)),
        }
        for spec in arguments.engines
    ]
    bits = exact_report["bits"]["pixels"]
    return {
        "quality": quality,
        "bits_per_pixel": plain_report["bits_per_pixel"],
        "pixel_bits_per_frame": bits / exact_report["frames"],
        "pixel_share": bits / (8 * exact_report["bytes"]),
        "engines": legs,
    }


def markdown(record: dict[str, Any]) -> str:
    """One table."""
    lines = [
        "# Exact pixels",
        "",
        f"{record['clip']}, {record['frames']} frames, encoded on {REFERENCE}, pixel epsilon "
        f"{record['pixel_epsilon']:g}. Differing samples are those of the decoded 8-bit RGB frames "
        "against the reference engine's.",
        "",
        "| quality | bit per pixel | bits a frame for exact pixels | share | engine "
        "| differ per 100,000 | by at most | lowest PSNR between them | differ with exact pixels |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in record["results"]:
        for leg in row["engines"]:
            plain, psnr = leg["plain"], leg["plain"]["lowest_psnr_db"]
            lines.append(
                f"| {row['quality']} | {row['bits_per_pixel']:.4f} "
                f"| {row['pixel_bits_per_frame']:.0f} | {100 * row['pixel_share']:.1f} % "
                f"| {leg['engine']} | {plain['per_100000']:.2f} | {plain['largest']} "
                f"| {'-' if psnr is None else f'{psnr:.1f} dB'} | {leg['exact']['differing']} |"
            )
    return "\n".join([*lines, ""])


def main() -> None:
    """Parse arguments, measure, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-i", "--clip", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="without suffix")
    parser.add_argument("--bundle", default=None)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--quality", type=int, nargs="+", default=[16, 32, 48])
    parser.add_argument(
        "--engines", nargs="+", default=["ort:cpu,opt=basic", "openvino:cpu", "torch:cpu"]
    )
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    record = {
        "machine": machine_facts(),
        "bundle": bundle.name,
        "bundle_digest": bundle.digest.hex(),
        "clip": arguments.clip.name,
        "frames": arguments.frames,
        "pixel_epsilon": bundle.manifest.defaults.pixel_epsilon,
        "results": [measure(bundle, arguments, q) for q in arguments.quality],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    arguments.output.with_suffix(".md").write_text(markdown(record))


if __name__ == "__main__":
    main()
