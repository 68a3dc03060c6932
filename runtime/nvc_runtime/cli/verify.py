"""``nvc-run verify``: one stream on several engines."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nvc_runtime.cli import options
from nvc_runtime.cli.console import one_line, print_json
from nvc_runtime.cli.progress import open_progress
from nvc_runtime.cli.report import open_report

if TYPE_CHECKING:
    from nvc_runtime.verify import VerifyReport


def verify(
    context: typer.Context,
    engines: Annotated[
        str,
        typer.Option(
            "--engines",
            metavar="A,B,...",
            help="Engines; the first one encodes a video, and is what samples are compared with.",
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--input", "-i", metavar="VIDEO|IN.nvc", help="Video or stream; - is standard input."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="T.trace", help="Certify each engine against a trace instead."
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="With --against: the checks as JUnit XML."),
    ] = None,
    bisect: Annotated[
        str | None,
        typer.Option(
            "--bisect", metavar="GRAPH", help="Name the first layer two engines differ in instead."
        ),
    ] = None,
    bound: Annotated[
        float, typer.Option("--bound", metavar="X", help="With --bisect: share of a layer's range.")
    ] = 1e-4,
    engines_dir: options.EnginesDirOption = None,
    bundle: options.BundleOption = None,
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
    page: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="R.html", help="Write one self-contained page; streams only."
        ),
    ] = None,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    no_progress: options.NoProgressOption = False,
) -> None:
    """Decode on several engines and compare.

    Exits with 4 if anything differs. Options of the encoder apply to a video only; one that does
    not apply is refused.
    """
    from nvc_engines import open_engine
    from nvc_errors import UsageError
    from nvc_runtime import Encoder, open_bundle
    from nvc_runtime.cli.certify import certify_engines
    from nvc_runtime.cli.records import encoder_settings
    from nvc_runtime.cli.verify_bisect import bisect_graph
    from nvc_runtime.cli.verify_modes import Mode, check_options
    from nvc_runtime.drift.page import page_from_report
    from nvc_runtime.verify import is_stream, split_engine_names, verify_stream, verify_video

    if bisect is not None:
        if source is not None or against is not None:
            raise UsageError("--bisect makes its own inputs; leave out --input and --against")
        check_options(context, Mode.BISECT)
        bisect_graph(
            bisect,
            split_engine_names(engines),
            bound=bound,
            engines_dir=engines_dir,
            bundle=bundle,
            json=json,
        )
        return
    if (source is None) == (against is None):
        raise UsageError("give either --input, or --against with a trace")
    if against is not None or source is None:
        check_options(context, Mode.AGAINST)
        certify_engines(
            against or Path(),
            split_engine_names(engines),
            epsilon=epsilon,
            engines_dir=engines_dir,
            bundle=bundle,
            junit=junit,
            json=json,
        )
        return
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
    names = split_engine_names(engines)
    with ExitStack() as stack:
        path = stack.enter_context(_seekable(source))
        stream = is_stream(path)
        check_options(context, Mode.STREAM if stream else Mode.VIDEO)
        write_report = stack.enter_context(open_report(page, source))
        opened = [stack.enter_context(open_engine(name, engines_dir=engines_dir)) for name in names]
        progress = stack.enter_context(open_progress(quiet=quiet, shown=not no_progress))
        if stream:
            report = verify_stream(
                path,
                opened,
                bundle=None if bundle is None else open_bundle(bundle),
                limit=limit,
                observer=progress,
            )
        else:
            encoder = Encoder(open_bundle(bundle), opened[0], settings)
            report = verify_video(path, encoder, opened, skip=skip, limit=limit, observer=progress)
        if page is not None:
            write_report(
                page_from_report(
                    report,
                    path.read_bytes(),
                    opened,
                    bundle=None if bundle is None else open_bundle(bundle),
                    limit=limit,
                )
            )
    if json:
        print_json(report.to_json())
    else:
        _print(report)
    report.check()


@contextmanager
def _seekable(source: str) -> Iterator[Path]:
    """Give a file's path; what comes from standard input is stored first."""
    if source != "-":
        yield Path(source)
        return
    from nvc_runtime.files import open_stream

    with tempfile.TemporaryDirectory(prefix="nvc-verify-") as folder:
        path = Path(folder) / "input"
        with open_stream(source) as pipe, path.open("wb") as file:
            shutil.copyfileobj(pipe, file)
        yield path


def _print(report: VerifyReport) -> None:
    width = max(len(result.engine) for result in report.engines)
    print(f"{report.frames} frames, exact {report.header.exact.value}")
    for result in report.engines:
        if result.first_difference is not None:
            symbols = f"DIFFER at frame {result.first_difference}: {one_line(result.problem)}"
        else:
            symbols = f"equal ({result.symbols_digest[:16]})"
        print(f"{result.engine:<{width}}  symbols {symbols}")
        pixels = result.pixels
        if pixels is not None and pixels.frames:
            quality = f", {pixels.psnr_db:.1f} dB" if pixels.differing else ""
            print(
                f"{'':<{width}}  samples {pixels.differing} of {pixels.samples} differ "
                f"({pixels.share:.2g}), by at most {pixels.largest}{quality}"
            )
