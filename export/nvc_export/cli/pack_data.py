"""``nvc-export pack-data``: training material, decoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nvc_export.cli import options
from nvc_runtime.cli.console import say


def pack_data(
    clips: Annotated[
        Path, typer.Option("--clips", metavar="DIR", help="Clips, with a manifest.json.")
    ],
    photos: Annotated[
        Path, typer.Option("--photos", metavar="DIR", help="Photographs, with a manifest.json.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="CACHE", help="Folder.")],
    classes: Annotated[
        str, typer.Option("--classes", metavar="A,B,...", help="Licence classes to take.")
    ] = "A,B",
    overwrite: options.OverwriteOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Decode clips and photographs into a cache that training reads at random."""
    from nvc_errors import UsageError
    from nvc_export.training_material import read_frames
    from nvc_models.training.data import INDEX_FILE, PackedClips, pack

    if (output / INDEX_FILE).exists() and not overwrite:
        raise UsageError(f"{output}: holds packed data; use -y to overwrite it")
    wanted = tuple(part.strip() for part in classes.split(",") if part.strip())
    if not wanted:
        raise UsageError(f"--classes is {classes!r}, expected letters such as A,B")
    pack(
        clips,
        photos,
        output,
        classes=wanted,
        read=read_frames,
        progress=lambda name: say(name, quiet=quiet),
    )
    packed = PackedClips(output)
    frames = sum(entry.frames for entry in packed.entries)
    say(
        f"{len(packed.clips)} clips and {len(packed.photos)} photographs, {frames} frames, "
        f"{packed.data.nbytes / 1e6:.1f} MB",
        quiet=quiet,
    )
