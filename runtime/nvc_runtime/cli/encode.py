"""``nvc-run encode``: a video to a stream."""

from __future__ import annotations

from typing import Annotated

import typer

from nvc_runtime.cli import options
from nvc_runtime.cli.console import DATA_OUTPUTS, print_json, say
from nvc_runtime.cli.progress import open_progress, size_text


def encode(
    source: Annotated[
        str,
        typer.Option("--input", "-i", metavar="IN", help="Video; - is Y4M on standard input."),
    ],
    destination: Annotated[
        str,
        typer.Option("--output", "-o", metavar="OUT.nvc", help="Stream; - is standard output."),
    ],
    bundle: options.BundleOption = None,
    engine: options.EngineOption = options.DEFAULT_ENGINE,
    engines_dir: options.EnginesDirOption = None,
    quality: options.QualityOption = None,
    intra_offset: options.IntraOffsetOption = None,
    keyint: options.KeyintOption = None,
    scene_cuts: options.SceneCutsOption = True,
    repeats: options.RepeatsOption = True,
    skip: options.SkipOption = 0,
    limit: options.LimitOption = None,
    calibration: options.CalibrationOption = options.Calibration.RETRIEVAL,
    epsilon: options.EpsilonOption = None,
    exact: options.ExactOption = options.Exact.SYMBOLS,
    pixel_epsilon: options.PixelEpsilonOption = None,
    sync: options.SyncOption = 0,
    skip_level: options.SkipLevelOption = None,
    jobs: options.JobsOption = None,
    overwrite: options.OverwriteOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    no_progress: options.NoProgressOption = False,
) -> None:
    """Encode a video to a stream."""
    from nvc_engines import open_engine
    from nvc_runtime import Encoder, open_bundle
    from nvc_runtime.cli.records import encoder_settings, record_of_encoder
    from nvc_runtime.files import check_stream_output, encode_file

    settings = encoder_settings(
        quality=quality,
        intra_offset=intra_offset,
        keyint=keyint,
        scene_cuts=scene_cuts,
        repeats=repeats,
        skip_level=skip_level,
        epsilon=epsilon,
        pixel_epsilon=pixel_epsilon,
        calibration=calibration,
        exact=exact,
        sync=sync,
    )
    check_stream_output(source, destination, overwrite=overwrite)
    with open_engine(engine, engines_dir=engines_dir) as opened:
        encoder = Encoder(open_bundle(bundle), opened, settings)
        with open_progress(quiet=quiet, shown=not no_progress) as progress:
            report = encode_file(
                source,
                destination,
                encoder,
                skip=skip,
                limit=limit,
                jobs=jobs,
                overwrite=overwrite,
                observer=progress,
            )
        if json:
            data = report.to_json() | record_of_encoder(encoder) | {"output": destination}
            print_json(data, to_stderr=destination in DATA_OUTPUTS)
    say(
        f"{destination}: {report.frames} frames, {size_text(report.size_bytes)}, "
        f"{report.bits_per_pixel:.4f} bits per pixel, {report.psnr_rgb_db:.2f} dB, "
        f"{report.fps:.2f} fps",
        quiet=quiet or json,
    )
