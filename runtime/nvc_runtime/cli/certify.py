"""``nvc-run certify``: an engine against a recorded trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nvc_runtime.cli import options
from nvc_runtime.cli.console import print_json
from nvc_runtime.cli.report import open_report


def certify(
    against: Annotated[
        Path, typer.Option("--against", metavar="T.trace", help="Trace of the reference engine.")
    ],
    engine: options.EngineOption = options.DEFAULT_ENGINE,
    epsilon: options.EpsilonOption = None,
    engines_dir: options.EnginesDirOption = None,
    bundle: options.StreamBundleOption = None,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Write the checks as JUnit XML."),
    ] = None,
    json: options.JsonOption = False,
) -> None:
    """Judge an engine by the trace of another.

    Decodes the trace's stream and compares symbols and drift with those recorded. Exits with 4 if
    a symbol differs or a scale index drifts by more than epsilon (default: the stream's).
    """
    certify_engines(
        against,
        [engine],
        epsilon=epsilon,
        engines_dir=engines_dir,
        bundle=bundle,
        junit=junit,
        json=json,
    )


def certify_engines(
    against: Path,
    engines: list[str],
    *,
    epsilon: float | None,
    engines_dir: Path | None,
    bundle: str | None,
    junit: Path | None,
    json: bool,
) -> None:
    """Certify engines one after the other, print or write what was found, raise on a failure."""
    from nvc_engines import open_engine
    from nvc_runtime import open_bundle
    from nvc_runtime.drift import certify as certify_engine
    from nvc_runtime.drift import junit_from_certificates, load_trace

    trace = load_trace(against)
    chosen = None if bundle is None else open_bundle(bundle)
    certificates = []
    with open_report(junit, str(against)) as write_report:
        for name in engines:
            with open_engine(name, engines_dir=engines_dir) as opened:
                certificates.append(certify_engine(opened, trace, epsilon, bundle=chosen))
        write_report(junit_from_certificates(certificates))
    if json:
        print_json({"certificates": [c.to_json() for c in certificates]})
    else:
        for certificate in certificates:
            for check in certificate.checks:
                print(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.detail}")
            word = "certified" if certificate.passed else "NOT certified"
            print(f"{certificate.engine}: {word} for epsilon {certificate.epsilon:.3g}")
    for certificate in certificates:
        certificate.check()
