"""``nvc-export inspect``: what a plan, an engines directory or a bundle holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nvc_export.cli import options
from nvc_runtime.cli.console import print_json

if TYPE_CHECKING:
    from nvc_export.inspection import BundleInspection, PlanInspection


def inspect(
    path: Annotated[
        str,
        typer.Argument(metavar="PLAN|DIR|BUNDLE", help="Also the name of a bundle."),
    ],
    json: options.JsonOption = False,
) -> None:
    """Show what a compiled plan, a folder of them, or a bundle holds. Needs no GPU.

    Ends with 4 if a plan and its record disagree, or TF32 is not off.
    """
    from nvc_errors import VerificationError
    from nvc_export.inspection import (
        BundleInspection,
        FolderInspection,
        inspect_bundle,
        inspect_path,
    )
    from nvc_runtime.bundle import open_bundle

    # What is no path is taken for the name of a bundle.
    found = inspect_path(Path(path)) if Path(path).exists() else inspect_bundle(open_bundle(path))
    if json:
        print_json(found.to_json())
    elif isinstance(found, BundleInspection):
        _print_bundle(found)
    elif isinstance(found, FolderInspection):
        for plan in found.plans:
            _print_plan(plan)
        size_bytes = sum(plan.header.size_bytes for plan in found.plans)
        print(f"{len(found.plans)} plans, {size_bytes / 1e6:.1f} MB")
    else:
        _print_plan(found)
    if found.problems:
        raise VerificationError(f"{path}: {'; '.join(found.problems)}; compile it again")


def _print_plan(plan: PlanInspection) -> None:
    header, record = plan.header, plan.record
    targets = "?" if header.targets is None else ", ".join(map(str, header.targets)) or "none"
    tf32 = {True: "on", False: "off", None: "not mentioned"}[header.tf32]
    print(
        f"{plan.path}: {header.backend} {header.version or '?'}, SM {targets}, TF32 {tf32}, "
        f"{header.size_bytes / 1e6:.2f} MB, sha256 {header.sha256[:16]}"
    )
    if record is not None:
        smallest, optimal, largest = record.frame_sizes
        print(
            f"    for {record.gpu}, bundle {record.bundle} ({record.bundle_sha256[:16]}), graph "
            f"{record.onnx_sha256[:16]}, frames {smallest} to {largest}, best at {optimal}"
        )


def _print_bundle(found: BundleInspection) -> None:
    bundle, manifest = found.bundle, found.bundle.manifest
    print(
        f"{bundle.path}: {manifest.name} ({manifest.family}), digest {bundle.digest.hex()[:16]}, "
        f"{found.size_bytes / 1e6:.2f} MB unpacked, alignment {manifest.alignment}, "
        f"{manifest.qualities} qualities"
    )
    for name, content in found.graphs.items():
        side = "decoder" if name in found.decoder_graphs else "encoder only"
        print(
            f"  {name}: {side}, {content.parameters / 1e6:.3f} M parameters, "
            f"{found.onnx_bytes[name] / 1e6:.2f} MB"
        )
        print(f"      {', '.join(f'{kind} {count}' for kind, count in content.counts.items())}")
    print(f"  {len(found.graphs)} graphs, {found.parameters / 1e6:.3f} M parameters")
    certificate = manifest.card.get("certificate")
    if isinstance(certificate, dict):
        print(f"  {_certificate_text(certificate)}")


def _certificate_text(certificate: dict[str, object]) -> str:
    """Say what a card's certificate says; cards are carried, so any field may be missing."""
    platforms = certificate.get("platforms")
    count = len(platforms) if isinstance(platforms, list) else "?"
    return (
        f"certified: epsilon {certificate.get('epsilon', '?')}, largest drift "
        f"{certificate.get('largest_drift', '?')} (margin {certificate.get('margin', '?')}), "
        f"{count} platforms"
    )
