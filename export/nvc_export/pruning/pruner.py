"""Prune a codec to a budget: the least important channels of every group go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from nvc_errors import UsageError
from nvc_export.complexity import PROGRAMS, ProgramCost, complexity_from_codec
from nvc_export.pruning.budget import (
    PIXELS,
    Budget,
    CostModel,
    channels_for_budget,
    convolutions_of,
)
from nvc_export.pruning.dependencies import ChannelGroup, dependency_groups
from nvc_export.pruning.importance import channel_importance
from nvc_export.pruning.trace import Prunable, family_of
from nvc_models.families import graphs_from_model
from nvc_models.widths import channels_of, difference

ORDER = ("inter", "intra")
"""The intra decoder ends with a layer whose channels the inter model decides."""


@dataclass(frozen=True)
class PruningReport:
    """What pruning did to one program. Figures are those of :class:`Budget`."""

    program: str
    budget: Budget
    before: Mapping[str, float]
    after: Mapping[str, float]
    groups: Mapping[str, tuple[int, int]]

    def errors(self) -> dict[str, float]:
        """Return how far each limited figure is from its limit, as a share of it."""
        return {name: self.after[name] / limit - 1 for name, limit in self.budget.limits.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``groups`` maps a group's name to its channels before and after."""
        return {
            "program": self.program,
            "budget": self.budget.limits,
            "before": dict(self.before),
            "after": dict(self.after),
            "errors": self.errors(),
            "groups": {name: list(pair) for name, pair in self.groups.items()},
        }


def check_prunable(codec: nn.Module) -> None:
    """Raise ``UsageError`` if a codec's family cannot keep what pruning leaves."""
    config: Any = getattr(codec, "config", None)
    if not any(item.name == "channels" for item in fields(config)):
        raise UsageError(
            f"{type(codec).__name__} codecs cannot be pruned: their configuration does not keep "
            "numbers of channels"
        )


def program_figures(cost: ProgramCost) -> dict[str, float]:
    """Return the measured cost of a program at 1280x768, in the terms of a budget."""
    return {
        "macs": cost.macs_per_pixel * PIXELS,
        "parameters": float(cost.parameters),
        "decoder_macs": cost.decoder_macs_per_pixel * PIXELS,
        "decoder_parameters": float(cost.decoder_parameters),
    }


def figures_of(codec: Prunable) -> dict[str, dict[str, float]]:
    """Return program -> measured cost of a codec."""
    return {c.name: program_figures(c) for c in complexity_from_codec(graphs_from_model(codec))}


def prune_codec(
    codec: Prunable, budgets: Mapping[str, Budget], *, multiple: int = 8
) -> list[PruningReport]:
    """Prune a codec in place and give it the configuration of what is left.

    Gradients as :func:`nvc_export.pruning.importance.accumulate_gradients` leaves them decide which
    channels go; programs without a budget stay. Latents, hyperlatents and scale levels keep their
    size. ``multiple``: what numbers of channels are multiples of.

    Raises ``UsageError`` for a budget of a program that does not exist, and as
    :func:`check_prunable` does.
    """
    check_prunable(codec)
    unknown = set(budgets) - set(PROGRAMS)
    if unknown:
        raise UsageError(f"no program {sorted(unknown)[0]!r}; known: {', '.join(PROGRAMS)}")
    costs = {cost.name: cost for cost in complexity_from_codec(graphs_from_model(codec))}
    before = {name: program_figures(cost) for name, cost in costs.items()}
    convolutions = convolutions_of(codec)
    with dependency_groups(codec) as groups:
        importance = channel_importance(groups)
        decided: dict[str, int] = {}
        for program in ORDER:
            model = CostModel(convolutions, costs[program], groups)
            own = {g.name for g in groups if _program_of(g) == program}
            taken = {
                name: decided.get(name, model.groups[name].size)
                for name in model.groups
                if name not in own
            }
            if program in budgets:
                kept = channels_for_budget(
                    model, budgets[program], taken, multiple=multiple, importance=importance
                )
                decided |= {name: kept[name] for name in own if name in kept}
        for group in groups:
            if decided.get(group.name, group.size) < group.size:
                _remove(group, importance[group.name], decided[group.name])
    config: Any = codec.config
    plain = family_of(codec).model(replace(config, channels={}))
    codec.config = replace(
        config,
        name=f"{config.name.removesuffix('-pruned')}-pruned",
        channels=difference(channels_of(codec), channels_of(plain)),
    )
    codec.zero_grad(set_to_none=True)
    after = figures_of(codec)
    return [
        PruningReport(
            program,
            budgets[program],
            before[program],
            after[program],
            {
                g.name: (g.size, decided[g.name])
                for g in groups
                if g.name in decided and _program_of(g) == program
            },
        )
        for program in PROGRAMS
        if program in budgets
    ]


def _program_of(group: ChannelGroup) -> str:
    inter = any(member.name.startswith("inter.") for member in group.members)
    return "inter" if inter else "intra"


def _remove(group: ChannelGroup, importance: Tensor, keep: int) -> None:
    """Remove all but the ``keep`` most important channels; ties go by number."""
    order = torch.argsort(importance, descending=True, stable=True)
    group.handle.prune(idxs=sorted(order[keep:].tolist()))
