"""``nvc-export prune``: a smaller codec from a large one."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nvc_export.cli import options
from nvc_runtime.cli.console import print_json, say

if TYPE_CHECKING:
    from nvc_export.pruning.budget import Budget
    from nvc_export.pruning.pruner import PruningReport
    from nvc_export.pruning.trace import Prunable

BUDGET_HELP = (
    "Limits at 1280x768 as NAME=VALUE, comma-separated: macs, parameters, decoder_macs, "
    "decoder_parameters; values such as 160G, 20.95M or 70%."
)

TOLERANCE = 0.03
"""How far above a limit a program may end, as a share of it: channels come in multiples."""


def prune(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder made by pack-data.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT.safetensors", help="The pruned checkpoint."),
    ],
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="STATE", help="Codec to prune.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="Untrained codec to prune.")
    ] = None,
    intra: Annotated[
        str | None, typer.Option("--intra", metavar="BUDGET", help=BUDGET_HELP)
    ] = None,
    inter: Annotated[
        str | None, typer.Option("--inter", metavar="BUDGET", help="As --intra.")
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Both budgets of Table 3 of Tian et al. (MM'23).")
    ] = False,
    multiple: Annotated[
        int, typer.Option("--multiple", metavar="N", help="Channels are multiples of N.")
    ] = 8,
    batches: Annotated[
        int, typer.Option("--batches", metavar="N", help="Batches that importance is measured on.")
    ] = 8,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Sequences a batch.")] = 4,
    crop: Annotated[
        int, typer.Option("--crop", metavar="N", help="Side of a crop, a multiple of 64.")
    ] = 128,
    recover_steps: Annotated[
        int, typer.Option("--recover-steps", metavar="N", help="Steps of fine-tuning afterwards.")
    ] = 0,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", metavar="X", help="Of fine-tuning, at first.")
    ] = 3e-4,
    distill: Annotated[
        float,
        typer.Option("--distill", metavar="X", help="Weight of the unpruned codec as teacher."),
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Chooses crops and noise.")] = 1,
    json: options.JsonOption = False,
    overwrite: options.OverwriteOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Remove the channels that matter least, until a codec is within its budget."""
    from copy import deepcopy

    from nvc_errors import UsageError
    from nvc_export.pruning.importance import Sampling, accumulate_gradients
    from nvc_export.pruning.pruner import figures_of, prune_codec
    from nvc_export.pruning.recovery import Recovery, recover, save_pruned
    from nvc_models.training.data import PackedClips
    from nvc_models.training.stage import Stage

    _check_output(output, overwrite=overwrite)
    if min(multiple, batches, batch) < 1 or recover_steps < 0:
        raise UsageError("--multiple, --batches and --batch start at 1, --recover-steps at 0")
    if not 0 <= distill < math.inf:
        raise UsageError(f"--distill is {distill:g}, expected a number of 0 or more")
    # Made here, so that what it refuses is refused before minutes of work.
    stage = Stage(
        "recovery", "joint", max(recover_steps, 1), batch, 3, crop, learning_rate,
        rounding="hard", skip_level=9,
    )  # fmt: skip
    codec = _codec(checkpoint, preset, seed)
    budgets = _budgets(intra, inter, paper=paper, full=figures_of(codec))
    clips = PackedClips(data)
    teacher = deepcopy(codec) if recover_steps and distill else None
    say("importance", quiet=quiet)
    accumulate_gradients(codec, clips, Sampling(batches, batch, crop, seed))
    say("pruning", quiet=quiet)
    reports = prune_codec(codec, budgets, multiple=multiple)
    _check_budgets(reports)
    if recover_steps:
        codec = recover(
            codec,
            clips,
            Recovery(stage, distill, seed),
            teacher=teacher,
            on_log=lambda line: say(f"recovery {line}", quiet=quiet),
        )
    save_pruned(output, codec, seed=seed)
    if json:
        print_json({"codec": codec.config.name, "programs": [r.to_json() for r in reports]})
        return
    for report in reports:
        _print(report)


def _check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse at once what could not be written after hours of fine-tuning."""
    from nvc_errors import OutputError, UsageError

    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists; use -y to overwrite it")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: cannot be written: the folder {path.parent} is read-only")


def _check_budgets(reports: Sequence[PruningReport]) -> None:
    """Raise ``UsageError`` if a program is still far above a limit: it cannot get there."""
    from nvc_errors import UsageError

    for report in reports:
        for name, error in report.errors().items():
            if error > TOLERANCE:
                raise UsageError(
                    f"the {report.program} program cannot be pruned to {name} of "
                    f"{report.budget.limits[name]:.3g}: {report.after[name]:.3g} are left; raise "
                    "the budget, lower --multiple, or start from a smaller codec"
                )


def _codec(checkpoint: Path | None, preset: str | None, seed: int) -> Prunable:
    import torch

    from nvc_errors import UsageError
    from nvc_export.pruning.pruner import check_prunable
    from nvc_models.families import family_from_preset
    from nvc_models.training.trainer import load_model

    if (preset is None) == (checkpoint is None):
        raise UsageError("give either --preset or --checkpoint")
    if checkpoint is None:
        torch.manual_seed(seed)
        family = family_from_preset(str(preset))
        codec: Any = family.model(family.presets[str(preset)]).eval()
    else:
        codec = load_model(checkpoint)
    check_prunable(codec)
    prunable: Prunable = codec
    return prunable


def _budgets(
    intra: str | None, inter: str | None, *, paper: bool, full: dict[str, dict[str, float]]
) -> dict[str, Budget]:
    from nvc_errors import UsageError
    from nvc_export.pruning.budget import budget_from_text, paper_budget

    texts = {name: text for name, text in (("intra", intra), ("inter", inter)) if text is not None}
    if paper == bool(texts):
        raise UsageError("give a budget: either --paper, or --intra and --inter or one of them")
    if paper:
        return {name: paper_budget(name) for name in full}
    return {name: budget_from_text(text, full[name]) for name, text in texts.items()}


def _print(report: PruningReport) -> None:
    print(f"\n{report.program:<22}{'before':>12}{'after':>12}{'budget':>12}{'off by':>9}")
    for name, after in report.after.items():
        scale, unit = (1e9, "G") if "macs" in name else (1e6, "M")
        limit, error = report.budget.limits.get(name), report.errors().get(name)
        cells = "" if limit is None else f"{limit / scale:>11.2f}{unit}{error:>+9.2%}"
        before = report.before[name]
        print(f"{name:<22}{before / scale:>11.2f}{unit}{after / scale:>11.2f}{unit}{cells}")
