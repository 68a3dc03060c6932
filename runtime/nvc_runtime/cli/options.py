"""Options that several subcommands share.

Importing this module must stay cheap: the enumerations repeat those of the library, whose
modules import numpy. A test keeps them equal.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_ENGINE: Final = "ort:cpu"
DEFAULT_BUNDLE: Final = "swift-s"


class Calibration(StrEnum):
    """``nvc_calib.PositionCoder`` on the command line."""

    RETRIEVAL = "retrieval"
    RPC = "rpc"
    NONE = "none"


class Exact(StrEnum):
    """``nvc_runtime.stream.ExactMode`` on the command line."""

    SYMBOLS = "symbols"
    PIXELS = "pixels"


StreamInput = Annotated[
    str, typer.Option("--input", "-i", metavar="IN.nvc", help="Stream; - is standard input.")
]
BundleOption = Annotated[
    str | None,
    typer.Option("--bundle", metavar="NAME|PATH", help=f"Bundle; default: {DEFAULT_BUNDLE}."),
]
StreamBundleOption = Annotated[
    str | None,
    typer.Option(
        "--bundle", metavar="NAME|PATH", help="Bundle; default: found by the stream's digest."
    ),
]
EngineOption = Annotated[
    str, typer.Option("--engine", metavar="ENGINE", help="Engine; see `nvc-run doctor`.")
]
EnginesDirOption = Annotated[
    Path | None,
    typer.Option(
        "--engines-dir", metavar="DIR", help="Folder of compiled plans, for TensorRT engines."
    ),
]
QualityOption = Annotated[
    int | None,
    typer.Option(
        "--quality", min=0, metavar="N", help="0 (smallest) to 63 (best); default: the bundle's."
    ),
]
IntraOffsetOption = Annotated[
    int | None,
    typer.Option(
        "--intra-offset",
        min=0,
        metavar="N",
        help="By how many qualities intra frames are better; default: the bundle's, or 0 if all "
        "frames are intra.",
    ),
]
KeyintOption = Annotated[
    int | None,
    typer.Option(
        "--keyint",
        min=0,
        metavar="N",
        help="Intra frame every N frames at most; 0: no limit; default: the bundle's.",
    ),
]
SceneCutsOption = Annotated[
    bool,
    typer.Option("--scene-cuts/--no-scene-cuts", help="Intra frames where scenes begin, too."),
]
RepeatsOption = Annotated[
    bool,
    typer.Option(
        "--repeats/--no-repeats", help="Code no frame that hardly differs from the one before."
    ),
]
SkipLevelOption = Annotated[
    int | None,
    typer.Option(
        "--skip-level",
        min=-1,
        metavar="N",
        help="Do not code latents up to this level; -1: code all; default: the bundle's.",
    ),
]
CalibrationOption = Annotated[
    Calibration, typer.Option("--calibration", help="How levels are made equal everywhere.")
]
EpsilonOption = Annotated[
    float | None,
    typer.Option("--epsilon", metavar="X", help="Bound of the drift of a level, below 0.25."),
]
PixelEpsilonOption = Annotated[
    float | None,
    typer.Option("--pixel-epsilon", metavar="X", help="Bound of the drift of a sample."),
]
ExactOption = Annotated[
    Exact, typer.Option("--exact", help="What is bit-identical on every engine.")
]
SyncOption = Annotated[
    int,
    typer.Option(
        "--sync", min=0, metavar="N", help="Make every Nth frame exact, which ends drift; 0: none."
    ),
]
SkipOption = Annotated[
    int, typer.Option("--skip", min=0, metavar="N", help="Pass over the first N input frames.")
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Stop after N frames.")
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        metavar="N",
        help="Groups of pictures at a time, each in a process; default: what pays off, up to 4.",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("-y", help="Overwrite existing outputs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors on stderr.")]
NoProgressOption = Annotated[bool, typer.Option("--no-progress", help="Show no progress.")]
