"""``nvc-export bundle``: a checkpoint as a bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nvc_export.cli import options
from nvc_runtime.cli.console import say


class Weights(StrEnum):
    """How finely weights are kept. Arithmetic is FP32 with either."""

    FP16 = "fp16"
    FP32 = "fp32"


def bundle(
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", metavar="STATE", help="Checkpoint of a training run.")
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the bundle.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.nvcb", help="Archive; without the suffix, a folder."
        ),
    ],
    weights: Annotated[
        Weights, typer.Option("--weights", help="fp16 rounds weights, which halves the archive.")
    ] = Weights.FP16,
    quality: Annotated[int, typer.Option("--quality", metavar="N", help="Default quality.")] = 32,
    keyint: Annotated[
        int, typer.Option("--keyint", metavar="N", help="Default distance of intra frames.")
    ] = 32,
    skip_level: Annotated[
        int, typer.Option("--skip-level", metavar="N", help="Default skip level.")
    ] = 9,
    epsilon: Annotated[
        float, typer.Option("--epsilon", metavar="X", help="Default bound of a level's drift.")
    ] = 1e-3,
    pixel_epsilon: Annotated[
        float, typer.Option("--pixel-epsilon", metavar="X", help="Default bound of a sample's.")
    ] = 1e-2,
    intra_offset: Annotated[
        int,
        typer.Option(
            "--intra-offset", metavar="N", help="Default number of qualities intra is better by."
        ),
    ] = 0,
    card: Annotated[
        Path | None,
        typer.Option("--card", metavar="FILE.json", help="Training data, licence, and the like."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Compare every graph with PyTorch.")
    ] = True,
    overwrite: options.OverwriteOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Export a checkpoint's averaged weights; print the bundle's digest."""
    from nvc_export.bundle_writer import (
        BundleOptions,
        bundle_from_codec,
        check_bundle_output,
        round_weights_to_half,
    )
    from nvc_models.families import graphs_from_model
    from nvc_models.training.trainer import load_model
    from nvc_runtime.bundle import Bundle, Defaults

    check_bundle_output(output, overwrite=overwrite)
    fields = {} if card is None else _read_card(card)
    bundle_options = BundleOptions(
        name, Defaults(quality, keyint, skip_level, epsilon, pixel_epsilon, intra_offset), fields
    )
    model = load_model(checkpoint)
    if weights is Weights.FP16:
        round_weights_to_half(model)
    bundle_from_codec(
        graphs_from_model(model),
        bundle_options,
        output,
        overwrite=overwrite,
        check=check,
        progress=lambda graph: say(f"graph {graph}", quiet=quiet),
    )
    written = Bundle(output)
    print(f"{written.digest.hex()}  {output}")


def _read_card(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise ``UsageError`` if the file holds none."""
    import json

    from nvc_errors import UsageError

    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: is no JSON: {error}") from error
    if not isinstance(card, dict):
        raise UsageError(f"{path}: expected a JSON object, found {type(card).__name__}")
    return card
