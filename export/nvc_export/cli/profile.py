"""``nvc-export profile``: parameters and operations of a codec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nvc_export.cli import options
from nvc_runtime.cli.console import print_json

if TYPE_CHECKING:
    from nvc_export.complexity import ProgramCost


def profile(
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="NAME", help="lite, paper, full, swift-s, swift-m."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="STATE", help="Codec of a checkpoint.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Option("--bundle", metavar="NAME|PATH", help="Codec of a bundle.")
    ] = None,
    size: Annotated[
        str, typer.Option("--size", metavar="WxH", help="Frame size the totals are for.")
    ] = "1280x768",
    json: options.JsonOption = False,
) -> None:
    """Count parameters and multiply-accumulate operations, encoder and decoder apart."""
    from nvc_errors import UsageError
    from nvc_export.complexity import padded_pixels
    from nvc_export.frame_sizes import frame_size_from_text

    frame = frame_size_from_text(size)
    if sum(source is not None for source in (preset, checkpoint, bundle)) != 1:
        raise UsageError("give one of --preset, --checkpoint and --bundle")
    name, alignment, costs = (
        _measure_model(preset, checkpoint) if bundle is None else _measure_bundle(bundle)
    )
    pixels = padded_pixels(frame.width, frame.height, alignment)
    if json:
        print_json(
            {
                "codec": name,
                "width": frame.width,
                "height": frame.height,
                "padded_pixels": pixels,
                "programs": [cost.to_json(pixels) for cost in costs],
            }
        )
        return
    print(f"{name}, {frame}, {pixels} pixels with padding")
    for cost in costs:
        _print(cost, pixels)


def _measure_model(
    preset: str | None, checkpoint: Path | None
) -> tuple[str, int, tuple[ProgramCost, ...]]:
    """Return name, alignment and cost of a preset's codec or of a checkpoint's."""
    from nvc_export.complexity import complexity_from_codec
    from nvc_models.families import family_from_preset, graphs_from_model
    from nvc_models.training.trainer import load_model

    if checkpoint is not None:
        model: Any = load_model(checkpoint)
    else:
        family = family_from_preset(str(preset))
        model = family.model(family.presets[str(preset)]).eval()
    codec = graphs_from_model(model)
    return model.config.name, codec.alignment, complexity_from_codec(codec)


def _measure_bundle(name_or_path: str) -> tuple[str, int, tuple[ProgramCost, ...]]:
    """Return name, alignment and cost of a bundle's codec."""
    from nvc_export.bundle_complexity import complexity_from_bundle
    from nvc_runtime.bundle import open_bundle

    bundle = open_bundle(name_or_path)
    return bundle.name, bundle.manifest.alignment, complexity_from_bundle(bundle)


def _print(cost: ProgramCost, pixels: int) -> None:
    data = cost.to_json(pixels)
    paper = data["paper"]
    print(f"\n{cost.name:<20}{'side':<8}{'M parameters':>13}{'GMAC':>10}{'kMAC/pixel':>12}")
    for graph in data["graphs"]:
        print(f"{graph['name']:<20}{graph['side']:<8}{_figures(graph)}")
    print(f"{'total':<20}{'encode':<8}{_figures(data)}")
    print(f"{'':<20}{'decode':<8}{_figures(data['decoder'])}")
    print(f"{'paper, 1280x768':<20}{'encode':<8}{_paper_figures(paper)}")
    print(f"{'':<20}{'decode':<8}{_paper_figures(paper['decoder'])}")


def _figures(row: dict[str, float]) -> str:
    kilo = row["macs_per_pixel"] / 1e3
    return f"{row['parameters'] / 1e6:>13.3f}{row['macs'] / 1e9:>10.2f}{kilo:>12.2f}"


def _paper_figures(row: dict[str, float]) -> str:
    from nvc_export.complexity import PAPER_HEIGHT, PAPER_WIDTH

    return _figures(row | {"macs_per_pixel": row["macs"] / (PAPER_WIDTH * PAPER_HEIGHT)})
