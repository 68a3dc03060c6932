"""``nvc-export lint``: what a GPU cannot run, said before anything is compiled."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from nvc_export.cli import options
from nvc_export.cli.build_engine import Backend
from nvc_runtime.cli.console import print_json
from nvc_runtime.cli.options import BundleOption


def lint(
    gpu: Annotated[
        list[str],
        typer.Option("--gpu", metavar="GPU", help="Target, as in rtx2080; may be repeated."),
    ],
    bundle: BundleOption = None,
    backend: Annotated[Backend, typer.Option("--backend", help="Compiler.")] = Backend.TENSORRT_RTX,
    decoder_only: Annotated[
        bool, typer.Option("--decoder-only", help="Leave out graphs that only encoders run.")
    ] = False,
    json: options.JsonOption = False,
) -> None:
    """Say which operators of a bundle's graphs the GPUs cannot run. Needs no compiler.

    Ends with 5 if there is one.
    """
    from nvc_engines import gpu_for_backend
    from nvc_errors import EngineError
    from nvc_export.engine_builder import graphs_to_build
    from nvc_export.lint import lint_graphs
    from nvc_runtime.bundle import open_bundle

    targets = [gpu_for_backend(name, backend.value) for name in gpu]
    opened = open_bundle(bundle)
    names = graphs_to_build(opened, decoder_only=decoder_only)
    findings = lint_graphs((opened.graph(name) for name in names), backend.value, targets)
    if json:
        data = {"findings": [asdict(finding) for finding in findings], "graphs": names}
        print_json(data)
    else:
        for finding in findings:
            print(finding)
    if findings:
        raise EngineError(f"{len(findings)} operators of {opened.name} cannot be compiled")
    if not json:
        print(f"{opened.name}: {len(names)} graphs, no operator that {', '.join(gpu)} cannot run")
