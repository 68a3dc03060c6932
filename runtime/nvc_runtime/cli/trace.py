"""``nvc-run trace``: record what an engine computes, to compare it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nvc_runtime.cli import options
from nvc_runtime.cli.console import say


def trace(
    source: options.StreamInput,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="T.trace", help="Trace to write.")
    ],
    engine: options.EngineOption = options.DEFAULT_ENGINE,
    engines_dir: options.EnginesDirOption = None,
    bundle: options.StreamBundleOption = None,
    limit: options.LimitOption = None,
    full_every: Annotated[
        int,
        typer.Option(
            "--full-every", min=1, metavar="N", help="Keep whole tensors of every Nth frame."
        ),
    ] = 16,
    overwrite: options.OverwriteOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Decode a stream and record its scale indices.

    The trace embeds the stream: another machine needs only the trace and the bundle. Exits with 4
    if the engine cannot decode a frame; the trace then ends before it, and says why.
    """
    from safetensors import SafetensorError

    from nvc_engines import open_engine
    from nvc_errors import OutputError, UsageError, VerificationError
    from nvc_runtime import open_bundle
    from nvc_runtime.drift import read_stream, record_trace
    from nvc_runtime.files import PIPE, check_stream_output

    if str(output) == PIPE:
        raise UsageError(
            "-o -: found a pipe, expected a file, for a trace is not read in order; name one, such "
            "as out.trace"
        )
    check_stream_output(source, str(output), overwrite=overwrite)
    if not output.parent.is_dir():
        raise OutputError(f"{output}: cannot be written: its folder is missing")
    stream = read_stream(source)
    with open_engine(engine, engines_dir=engines_dir) as opened:
        recorded = record_trace(
            stream,
            opened,
            bundle=None if bundle is None else open_bundle(bundle),
            full_every=full_every,
            limit=limit,
        )
    try:
        recorded.save(output)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{output}: cannot be written: {error}") from error
    if recorded.info.error is not None:
        raise VerificationError(
            f"{output}: holds {recorded.frames} frames, recording stopped: {recorded.info.error}"
        )
    say(f"{output}: {recorded.frames} frames on {recorded.info.engine['spec']}", quiet=quiet)
