"""The paper's budget, end to end: export, encode on one engine, decode on others.

    python tools/paper_end_to_end.py -i CLIP --frames 3 --engines ort:cpu,openvino:cpu \
        --keep paper.nvcb -o docs/results/paper-end-to-end

Exports a preset of the Tian-2023 family with random weights (no layer silent), codes the first
frames of a clip with the first engine, and decodes on every engine. Random weights code badly:
this shows cost, size and that all engines decode the same symbols, not compression. --keep names a
bundle that is used if it exists, and written if not. Writes OUT.json and OUT.md. Exit code 4 if an
engine decodes other symbols.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from machine import machine_facts
from report_files import run_tool, write_report
from torch import nn

from nvc_engines import open_engine
from nvc_export.bundle_writer import BundleOptions, bundle_from_codec
from nvc_export.complexity import complexity_from_codec, padded_pixels
from nvc_models.tian2023 import Tian2023, preset
from nvc_models.tian2023.graphs import graphs_from_model
from nvc_runtime import Bundle, Encoder, EncoderSettings
from nvc_runtime.bundle import Defaults
from nvc_runtime.verify import split_engine_names, verify_video

DEFAULTS = Defaults(quality=32, keyint=32, skip_level=9, epsilon=1e-3, pixel_epsilon=1e-2)
MANTISSA_BITS = 3
"""Of random weights, after the point of a mantissa in [1/2, 1)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    options = _parser().parse_args(arguments)

    def work() -> int:
        result = measure(options)
        write_report(options.output, result, markdown_from_result(result))
        return 0 if result["symbols_equal"] else 4

    return run_tool("paper_end_to_end", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-i", "--input", type=Path, required=True, help="clip")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--quality", type=int, default=32)
    parser.add_argument("--engines", default="ort:cpu,openvino:cpu", help="the first one encodes")
    parser.add_argument("--keep", type=Path, help="bundle to use or write")
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Export, encode and decode; return everything the report says."""
    codec = random_codec(options.preset)
    graphs = graphs_from_model(codec)
    costs = complexity_from_codec(graphs)
    with ExitStack() as stack:
        path = options.keep
        if path is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "random.nvcb"
        start = time.monotonic()
        if not path.exists():
            name = f"random-{options.preset}"
            bundle_from_codec(graphs, BundleOptions(name, DEFAULTS, {"weights": "random"}), path)
        export_s = time.monotonic() - start
        bundle = Bundle(path)
        names = split_engine_names(options.engines)
        engines = [stack.enter_context(open_engine(name)) for name in names]
        # Frames of noise are all new scenes: with cuts found, none would be an inter frame.
        settings = EncoderSettings(quality=options.quality, scene_cuts=False, repeats=False)
        encoder = Encoder(bundle, engines[0], settings)
        start = time.monotonic()
        report = verify_video(options.input, encoder, engines, limit=options.frames)
        coding_s = time.monotonic() - start
        header = report.header
        return {
            "machine": machine_facts(),
            "preset": options.preset,
            "bundle": {
                "name": bundle.name,
                "digest": bundle.digest.hex(),
                "archive_bytes": path.stat().st_size,
                "export_s": round(export_s, 1),
            },
            "clip": options.input.name,
            "width": header.width,
            "height": header.height,
            "programs": [
                cost.to_json(padded_pixels(header.width, header.height, graphs.alignment))
                for cost in costs
            ],
            "coding_s": round(coding_s, 1),
            "symbols_equal": report.symbols_equal,
            "verify": report.to_json(),
        }


def random_codec(name: str) -> Tian2023:
    """Return a codec with seeded random weights; no layer is silent.

    They have few bits, so that an archive of them packs to half its size and travels easily.
    """
    torch.manual_seed(1)
    codec = Tian2023(preset(name)).eval()
    with torch.no_grad():
        for layer in codec.modules():
            if isinstance(layer, nn.Conv2d) and not layer.weight.any():
                nn.init.kaiming_uniform_(layer.weight, a=2.0)
        for parameter in codec.parameters():
            mantissa, exponent = torch.frexp(parameter)
            steps = 2**MANTISSA_BITS
            parameter.copy_(torch.ldexp(torch.round(mantissa * steps) / steps, exponent))
    return codec


def markdown_from_result(result: dict[str, Any]) -> str:
    """Tables of a result for people."""
    machine, verify = result["machine"], result["verify"]
    lines = [
        f"# `{result['preset']}` end to end, random weights",
        "",
        f"{verify['frames']} frames of {result['clip']} at {result['width']}x{result['height']} "
        f"on {machine['cpu']}. Random weights code badly: what counts is that every engine decodes "
        "the symbols that were encoded.",
        "",
        "| engine | symbols | samples that differ from the first engine's |",
        "|---|---|---|",
    ]
    for engine in verify["engines"]:
        pixels = engine.get("pixels") or {}
        equal = engine.get("first_difference") is None
        lines.append(
            f"| {engine['engine']} | {'equal' if equal else 'DIFFER'} | "
            f"{pixels.get('differing', '-')} of {pixels.get('samples', '-')} |"
        )
    lines += ["", "| program | side | M parameters | GMAC | paper |", "|---|---|---|---|---|"]
    for program in result["programs"]:
        rows = (
            ("encode", program, program["paper"]),
            ("decode", program["decoder"], program["paper"]["decoder"]),
        )
        for side, found, paper in rows:
            lines.append(
                f"| {program['name']} | {side} | {found['parameters'] / 1e6:.2f} | "
                f"{found['macs'] / 1e9:.1f} | {paper['parameters'] / 1e6:.2f} M, "
                f"{paper['macs'] / 1e9:.1f} G |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
