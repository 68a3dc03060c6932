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

if TYPE_CHECKING:
    from nvc_runtime.verify import VerifyReport


def verify(
    source: Annotated[
        str,
        typer.Option(
            "--input", "-i", metavar="VIDEO|IN.nvc", help="Video or stream; - is standard input."
        ),
    ],
    engines: Annotated[
        str,
        typer.Option(
            "--engines",
            metavar="A,B,...",
            help="Engines; the first one encodes a video, and is what samples are compared with.",
        ),
    ],
    engines_dir: options.EnginesDirOption = None,
    bundle: options.BundleOption = None,
    quality: options.QualityOption = None,
    keyint: options.KeyintOption = None,
    skip: options.SkipOption = 0,
    limit: options.LimitOption = None,
    calibration: options.CalibrationOption = options.Calibration.RETRIEVAL,
    epsilon: options.EpsilonOption = None,
    exact: options.ExactOption = options.Exact.SYMBOLS,
    pixel_epsilon: options.PixelEpsilonOption = None,
    sync: options.SyncOption = 0,
    skip_level: options.SkipLevelOption = None,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    no_progress: options.NoProgressOption = False,
) -> None:
    """Decode on several engines and compare.

    Exits with 4 if anything differs. Options of the encoder apply to a video only.
    """
    from nvc_engines import open_engine
    from nvc_runtime import Encoder, open_bundle
    from nvc_runtime.cli.records import encoder_settings
    from nvc_runtime.verify import is_stream, split_engine_names, verify_stream, verify_video

    settings = encoder_settings(
        quality=quality,
        keyint=keyint,
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
