"""``nvc-run probe``: what a stream says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nvc_runtime.cli import options
from nvc_runtime.cli.console import print_json

if TYPE_CHECKING:
    from nvc_runtime.probe import StreamProbe


def probe(
    source: options.StreamInput,
    packets: Annotated[bool, typer.Option("--packets", help="List every packet, too.")] = False,
    json: options.JsonOption = False,
) -> None:
    """Show what a stream holds, without decoding it."""
    from nvc_errors import StreamError
    from nvc_runtime.files import open_stream
    from nvc_runtime.probe import probe_stream

    with open_stream(source) as file:
        result = probe_stream(file)
    if json:
        print_json(result.to_json())
    else:
        _print(result, packets=packets)
    if result.damage:
        raise StreamError(
            f"{source}: {len(result.damage)} damaged places, first: {result.damage[0]}"
        )


def _print(result: StreamProbe, *, packets: bool) -> None:
    header, data = result.header, result.to_json()
    rows = {
        "size": f"{header.width}x{header.height}, chroma {header.chroma}, "
        f"{header.frame_rate} frames/s",
        "bundle": f"{header.bundle_name or '(no name)'} {header.bundle_digest.hex()[:16]}",
        "settings": ", ".join(f"{name} {_text(value)}" for name, value in data["settings"].items()),
        "frames": f"{data['frames']} ({data['intra_frames']} intra, {data['repeated_frames']} "
        f"repeats), {result.duration_s:.3f} s",
        "bytes": f"{result.size_bytes} ({result.bits_per_pixel:.4f} bits per pixel, "
        f"{result.kilobits_per_s:.1f} kb/s)",
    }
    for name, text in rows.items():
        print(f"{name:<12}{text}")
    total = sum(result.bits.values()) or 1
    for section, bits in result.bits.items():
        print(f"  {section:<12}{bits:>12} bits {bits / total:>7.2%}")
    if packets:
        print(f"{'frame':>8} {'kind':<6} {'bytes':>9} {'calibration':>11} {'quality':>7} digest")
        for packet in data["packets"]:
            print(
                f"{packet['number']:>8} {packet['kind']:<6} {packet['bytes']:>9} "
                f"{packet['calibration_bytes']:>11} {packet['quality']:>7} {packet['digest']}"
            )


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
