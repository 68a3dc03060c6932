"""``nvc-run decode``: a stream to a video."""

from __future__ import annotations

from typing import Annotated

import typer

from nvc_runtime.cli import options
from nvc_runtime.cli.console import DATA_OUTPUTS, print_json, say
from nvc_runtime.cli.progress import open_progress


def decode(
    source: options.StreamInput,
    destination: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="NAME.y4m, .mp4, .mkv; NAME/ for PNG; - for Y4M on standard output; null; md5.",
        ),
    ],
    engine: options.EngineOption = options.DEFAULT_ENGINE,
    engines_dir: options.EnginesDirOption = None,
    bundle: options.StreamBundleOption = None,
    start: Annotated[
        int, typer.Option("--start", min=0, metavar="FRAME", help="First frame to deliver.")
    ] = 0,
    limit: options.LimitOption = None,
    resume_at_intra: Annotated[
        bool,
        typer.Option(
            "--resume-at-intra",
            help="Go on after damage at the next intra frame; exit with 3 all the same.",
        ),
    ] = False,
    jobs: options.JobsOption = None,
    overwrite: options.OverwriteOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    no_progress: options.NoProgressOption = False,
) -> None:
    """Decode a stream to a video."""
    from nvc_engines import open_engine
    from nvc_errors import StreamError
    from nvc_runtime import open_bundle
    from nvc_runtime.cli.records import record_of_engine
    from nvc_runtime.files import check_video_output, decode_file

    check_video_output(source, destination, overwrite=overwrite)
    with open_engine(engine, engines_dir=engines_dir) as opened:
        with open_progress(quiet=quiet, shown=not no_progress) as progress:
            report = decode_file(
                source,
                destination,
                opened,
                bundle=None if bundle is None else open_bundle(bundle),
                start=start,
                limit=limit,
                jobs=jobs,
                resume_at_intra=resume_at_intra,
                overwrite=overwrite,
                observer=progress,
            )
        if json:
            data = report.to_json() | {
                "engine": record_of_engine(opened.info),
                "output": destination,
            }
            print_json(data, to_stderr=destination in DATA_OUTPUTS)
    say(
        f"{destination}: {report.frames} frames, {report.fps:.2f} fps, "
        f"symbols {report.symbols_digest[:16]}",
        quiet=quiet or json,
    )
    if report.damage:
        raise StreamError(
            f"{source}: {len(report.damage)} damaged places were passed over, "
            f"first: {report.damage[0]}"
        )
