"""``nvc-run compare``: how far two traces are apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nvc_runtime.cli import options
from nvc_runtime.cli.console import print_json

if TYPE_CHECKING:
    from nvc_runtime.drift import Comparison


def compare(
    first: Annotated[Path, typer.Argument(metavar="A.trace")],
    second: Annotated[Path, typer.Argument(metavar="B.trace")],
    margin: Annotated[
        float,
        typer.Option("--margin", metavar="X", help="Epsilon is X times the largest drift."),
    ] = 4.0,
    json: options.JsonOption = False,
) -> None:
    """Tell how far two traces of one stream are apart.

    Drift, levels that would flip without calibration, and the epsilon that this drift supports.
    """
    from nvc_runtime.drift import compare_traces, load_trace

    comparison = compare_traces(load_trace(first), load_trace(second), margin=margin)
    if json:
        print_json(comparison.to_json())
    else:
        _print(comparison)


def _print(comparison: Comparison) -> None:
    a, b = comparison.engines
    print(f"{a} and {b}: {len(comparison.frames)} frames")
    print(f"symbols      {'equal' if comparison.symbols_equal else 'DIFFER'}")
    print(f"bits         {'identical' if comparison.bit_identical else 'different'}")
    for name, drift in comparison.latents().items():
        print(
            f"{name:<12} max {drift.max_difference:.3e}  mean {drift.mean_difference:.3e}  "
            f"flips without calibration {drift.coded_flips} of {drift.elements}"
        )
    largest = max((f.sample_max for f in comparison.frames), default=0.0)
    print(f"samples      max {largest:.3e} of an 8-bit step")
    if comparison.epsilon is None:
        print("epsilon      none: the drift is too large for calibration")
    else:
        print(f"epsilon      {comparison.epsilon:.3g}, a margin of {comparison.margin:g}")
