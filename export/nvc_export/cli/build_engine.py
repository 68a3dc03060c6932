"""``nvc-export build-engine``: every graph of a bundle compiled for GPUs that need not be here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nvc_export.cli import options
from nvc_runtime.cli.console import print_json, say
from nvc_runtime.cli.options import BundleOption

if TYPE_CHECKING:
    from nvc_export.engine_builder import BuildReport, BuiltPlan


class Backend(StrEnum):
    """Compilers on the command line."""

    TENSORRT_RTX = "tensorrt-rtx"
    TENSORRT = "tensorrt"


def build_engine(
    gpu: Annotated[
        list[str],
        typer.Option("--gpu", metavar="GPU", help="Target, as in rtx2080; may be repeated."),
    ],
    backend: Annotated[Backend, typer.Option("--backend", help="Compiler.")] = Backend.TENSORRT_RTX,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WxH", help="Optimal and largest frame, as in 1280x768."),
    ] = None,
    min_size: Annotated[
        str | None,
        typer.Option("--min-size", metavar="WxH", help="Smallest frame; default: one block."),
    ] = None,
    opt_size: Annotated[
        str | None,
        typer.Option("--opt-size", metavar="WxH", help="Optimal frame; default: 1280x768."),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="WxH", help="Largest frame; default: 1920x1088."),
    ] = None,
    bundle: BundleOption = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Engines directory."),
    ] = Path("engines"),
    decoder_only: Annotated[
        bool, typer.Option("--decoder-only", help="Leave out graphs that only encoders run.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            metavar="N",
            help="Processes; default: the usable CPUs, 1 for tensorrt.",
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Compile all anew, and keep nothing for next time.")
    ] = False,
    cache_dir: Annotated[
        Path | None,
        typer.Option("--cache-dir", metavar="DIR", help="Cache; default: the user's cache folder."),
    ] = None,
    no_lint: Annotated[
        bool, typer.Option("--no-lint", help="Do not refuse operators known not to compile.")
    ] = False,
    overwrite: options.OverwriteOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show no progress.")] = False,
) -> None:
    """Compile a bundle's graphs for one or more GPUs, in FP32."""
    from nvc_engines.host import usable_threads
    from nvc_export.engine_builder import BuildOptions, build_engines
    from nvc_export.frame_sizes import frame_sizes_from_options
    from nvc_export.plan_cache import PlanCache, default_cache_folder
    from nvc_runtime.bundle import open_bundle

    opened = open_bundle(bundle)
    wanted = BuildOptions(
        sizes=frame_sizes_from_options(
            opened.manifest.alignment,
            size=size,
            smallest=min_size,
            optimal=opt_size,
            largest=max_size,
        ),
        backend=backend.value,
        decoder_only=decoder_only,
        jobs=jobs or (1 if backend is Backend.TENSORRT else usable_threads()),
        cache=None if no_cache else PlanCache(cache_dir or default_cache_folder()),
        lint=not no_lint,
        overwrite=overwrite,
    )
    shown = not (quiet or no_progress)
    report = build_engines(opened, gpu, output, wanted, _say_progress if shown else _say_nothing)
    if json:
        print_json(report.to_json())
    if not quiet:
        for note in report.notes:
            say(f"note: {note}")
        if not json:
            _print_summary(report)


def _say_progress(plan: BuiltPlan, done: int, total: int) -> None:
    how = "from the cache" if plan.cached else f"{plan.elapsed_s:.1f} s"
    say(f"{done}/{total} {plan.target} {plan.graph}: {plan.size_bytes / 1e6:.2f} MB, {how}")


def _say_nothing(_plan: BuiltPlan, _done: int, _total: int) -> None:
    return


def _print_summary(report: BuildReport) -> None:
    for target, folder in report.folders.items():
        plans = [plan for plan in report.plans if plan.target == target]
        size_bytes = sum(plan.size_bytes for plan in plans)
        print(
            f"{folder}: {len(plans)} plans of bundle {report.bundle} "
            f"({report.bundle_sha256[:16]}), {size_bytes / 1e6:.1f} MB, {report.backend} "
            f"{report.backend_version}, frames {report.frame_sizes[0]} to {report.frame_sizes[2]}, "
            "FP32 without TF32"
        )
