"""``nvc-run demo``: encode on one engine, decode on another, look at the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nvc_runtime.cli import options
from nvc_runtime.cli.console import print_json, say
from nvc_runtime.cli.progress import open_progress, size_text

if TYPE_CHECKING:
    from nvc_runtime.demo import DemoReport


def demo(
    source: Annotated[
        Path | None,
        typer.Option("--input", "-i", metavar="FILE", help="Video; default: the sample clip."),
    ] = None,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", metavar="DIR", help="Where the results go.")
    ] = Path("out"),
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="Stop after N frames.")
    ] = 32,
    bundle: options.BundleOption = None,
    engine: options.EngineOption = options.DEFAULT_ENGINE,
    second_engine: Annotated[
        str, typer.Option("--second-engine", metavar="ENGINE", help="Engine that decodes.")
    ] = "ort:cpu,opt=basic",
    engines_dir: options.EnginesDirOption = None,
    quality: options.QualityOption = None,
    overwrite: options.OverwriteOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    no_progress: options.NoProgressOption = False,
) -> None:
    """Encode a clip, decode it on a second engine, compare.

    Writes demo.nvc, demo.mp4 and demo.png (original and decoded, side by side).
    """
    from nvc_engines import open_engine
    from nvc_errors import VerificationError
    from nvc_runtime import Encoder, EncoderSettings, open_bundle
    from nvc_runtime.demo import SAMPLE_CREDIT, find_sample_clip, run_demo

    clip = find_sample_clip() if source is None else source
    if source is None:
        say(f"clip: {SAMPLE_CREDIT}", quiet=quiet)
    with (
        open_engine(engine, engines_dir=engines_dir) as first,
        open_engine(second_engine, engines_dir=engines_dir) as second,
        open_progress(quiet=quiet, shown=not no_progress) as progress,
    ):
        report = run_demo(
            clip,
            output_dir,
            Encoder(open_bundle(bundle), first, EncoderSettings(quality=quality)),
            second,
            limit=limit,
            overwrite=overwrite,
            observer=progress,
        )
    if json:
        print_json(report.to_json())
    else:
        _print(report)
    if not report.symbols_equal:
        raise VerificationError(
            f"{report.engines[1]} decoded other symbols than {report.engines[0]} encoded; "
            "this is a defect, please report it"
        )


def _print(report: DemoReport) -> None:
    from rich.console import Console
    from rich.table import Table

    encoded, decoded, pixels = report.encoded, report.decoded, report.difference
    table = Table(show_header=False, title="nvc-run demo")
    table.add_column(style="bold")
    table.add_column()
    for name, text in (
        ("video", f"{encoded.width}x{encoded.height}, {encoded.frames} frames"),
        ("size", size_text(encoded.size_bytes)),
        ("bits per pixel", f"{encoded.bits_per_pixel:.4f}"),
        ("PSNR (RGB)", f"{encoded.psnr_rgb_db:.2f} dB"),
        ("calibration", f"{report.calibration_share:.3%} of the bits"),
        ("encode", f"{encoded.fps:.2f} fps on {report.engines[0]}"),
        ("decode", f"{decoded.fps:.2f} fps on {report.engines[1]}"),
        ("symbols equal", "yes" if report.symbols_equal else "NO"),
        (
            "samples that differ",
            f"{pixels.differing} of {pixels.samples} ({pixels.share:.2g}), "
            f"by at most {pixels.largest}",
        ),
        ("written", ", ".join(str(path) for path in report.outputs)),
    ):
        table.add_row(name, text)
    Console().print(table)
