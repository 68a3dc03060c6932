"""``nvc-run doctor``: which engines and bundles are usable here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvc_runtime.cli import options
from nvc_runtime.cli.console import one_line, print_json, say

if TYPE_CHECKING:
    from nvc_runtime.doctor import Diagnosis


def doctor(json: options.JsonOption = False) -> None:
    """Show which engines and bundles can be used here."""
    from nvc_errors import EngineUnavailableError
    from nvc_runtime.bundle import DEFAULT_BUNDLE
    from nvc_runtime.doctor import diagnose

    diagnosis = diagnose()
    if json:
        print_json(diagnosis.to_json())
    else:
        _print(diagnosis)
    if not diagnosis.can_run:
        raise EngineUnavailableError("no engine can run here; install one that is listed above")
    if not diagnosis.has_default_bundle:
        say(f"nvc-run: the default bundle {DEFAULT_BUNDLE} is not usable; give --bundle")


def _print(diagnosis: Diagnosis) -> None:
    print(f"nvc {diagnosis.version}")
    print("engines")
    for spec, available, detail in diagnosis.engines:
        print(f"  {'yes' if available else 'no':<4}{spec:<20}{one_line(detail)}")
    print("bundles" if diagnosis.bundles else "bundles: none found")
    for bundle in diagnosis.bundles:
        detail = one_line(bundle.problem) or f"{bundle.digest[:16]} {bundle.path}"
        print(f"  {'no' if bundle.problem else 'yes':<4}{bundle.name:<20}{detail}")
