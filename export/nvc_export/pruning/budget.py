"""What a pruned codec may cost, and how many channels of each group that leaves.

The cost of a convolution is bilinear in its channels, so the cost of every choice follows from the
groups alone. A program's decoder is fitted first, the rest of its encoder then. In each of these
parts two numbers decide how much of a group stays: one for the coarsest resolution, one for the
finest, geometric between them. Two budgets, of operations and of parameters, determine both: deep
layers hold the parameters, layers at high resolution take the operations. With one budget only,
channels go in the order of their importance by what they cost, whatever their group. Then single
groups are moved by one step while that comes nearer to the budget.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from torch import Tensor, nn

from nvc_errors import UsageError
from nvc_export.complexity import (
    PAPER,
    PAPER_HEIGHT,
    PAPER_WIDTH,
    ProgramCost,
    key_of_weights,
)
from nvc_export.pruning.dependencies import ChannelGroup

PIXELS: Final = PAPER_WIDTH * PAPER_HEIGHT
GRID: Final = 48
REFINEMENTS: Final = 4
SMALLEST_SHARE: Final = 0.01
SMALLEST_KEPT: Final = 0.25
"""Share of a group that stays, however little it matters, where importance decides."""
MAX_MOVES: Final = 300
GOOD_ENOUGH: Final = 0.004
_SUFFIXES: Final = {"": 1.0, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class Budget:
    """Limits of one program at 1280x768; None where there is none."""

    macs: float | None = None
    parameters: float | None = None
    decoder_macs: float | None = None
    decoder_parameters: float | None = None

    @property
    def limits(self) -> dict[str, float]:
        """The limits that there are, by name."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def paper_budget(program: str) -> Budget:
    """Return the row of Table 3 of Tian et al. (MM'23)."""
    row = PAPER[program]
    return Budget(row.macs, row.parameters, row.decoder_macs, row.decoder_parameters)


def budget_from_text(text: str, full: Mapping[str, float]) -> Budget:
    """Read ``macs=160G,decoder_parameters=70%``; shares are of ``full``.

    Raises ``UsageError`` for anything else.
    """
    names = [item.name for item in fields(Budget)]
    limits: dict[str, float] = {}
    for entry in text.split(","):
        match = re.fullmatch(r"\s*([a-z_]+)=([0-9]*\.?[0-9]+)([MG%]?)\s*", entry)
        if match is None or match[1] not in names:
            raise UsageError(
                f"budget {entry.strip()!r} is not of the form NAME=VALUE, such as macs=160G or "
                f"parameters=70%, with a name of {', '.join(names)}"
            )
        name, number, unit = match[1], float(match[2]), match[3]
        limits[name] = full[name] * number / 100 if unit == "%" else number * _SUFFIXES[unit]
        if not 0 < limits[name] <= full[name] * 1.0001:
            raise UsageError(
                f"budget {entry.strip()!r} is {limits[name]:.4g}, but the codec has "
                f"{full[name]:.4g}; a budget has to be below that"
            )
    return Budget(**limits)


@dataclass
class _Layer:
    """A convolution: channels now, kernel taps, uses per pixel of the frame in each role."""

    ins: int
    outs: int
    taps: int
    depthwise: bool
    runs: float
    decoder: bool


def convolutions_of(codec: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the convolutions of a codec by name."""
    return {name: m for name, m in codec.named_modules() if isinstance(m, nn.Conv2d)}


class CostModel:
    """Cost of one program as a function of how many channels each group keeps.

    ``convolutions``: those of the codec as it is outside of ``dependency_groups``.
    """

    def __init__(
        self,
        convolutions: Mapping[str, nn.Conv2d],
        program: ProgramCost,
        groups: Sequence[ChannelGroup],
    ) -> None:
        convs = {key_of_weights(m.weight): (name, m) for name, m in convolutions.items()}
        self.layers: dict[str, _Layer] = {}
        for graph in program.graphs:
            for found in graph.convolutions:
                if found.key not in convs:
                    continue
                name, conv = convs[found.key]
                height, width = conv.kernel_size
                runs = found.macs / conv.weight.numel() / graph.side**2
                layer = self.layers.setdefault(
                    name,
                    _Layer(
                        conv.in_channels,
                        conv.out_channels,
                        height * width,
                        conv.groups > 1,
                        0.0,
                        False,
                    ),
                )
                layer.runs += runs
                layer.decoder |= graph.decoder
        # Convolutions that are no layers: a fixed kernel, or weights that are selected from others.
        others = ProgramCost(
            program.name,
            tuple(
                replace(
                    graph, convolutions=tuple(c for c in graph.convolutions if c.key not in convs)
                )
                for graph in program.graphs
            ),
        )
        self._fixed = {
            "macs": others.macs_per_pixel * PIXELS,
            "parameters": float(others.parameters),
            "decoder_macs": others.decoder_macs_per_pixel * PIXELS,
            "decoder_parameters": float(others.decoder_parameters),
        }
        self.groups = {g.name: g for g in groups if any(m.name in self.layers for m in g.members)}
        self._entering: dict[str, list[tuple[str, float, bool]]] = {
            name: [] for name in self.layers
        }
        for group in self.groups.values():
            for member in group.members:
                if member.name in self.layers:
                    share = member.count / group.size
                    self._entering[member.name].append((group.name, share, member.output))

    def is_decoder_group(self, name: str) -> bool:
        """Whether a decoder runs one of the layers of a group."""
        layers = (self.layers.get(m.name) for m in self.groups[name].members)
        return any(layer is not None and layer.decoder for layer in layers)

    def density(self, name: str) -> float:
        """Logarithm (base 2) of the most often a group's layers run, per pixel."""
        group = self.groups[name]
        runs = [self.layers[m.name].runs for m in group.members if m.name in self.layers]
        return math.log2(max(runs))

    def cost(self, kept: Mapping[str, float]) -> dict[str, float]:
        """Return the four figures of :class:`Budget` if groups keep ``kept`` of their channels."""
        totals = dict(self._fixed)
        for name, layer in self.layers.items():
            ins, outs = float(layer.ins), float(layer.outs)
            for group, share, output in self._entering[name]:
                removed = share * (self.groups[group].size - kept[group])
                if output:
                    outs -= removed
                else:
                    ins -= removed
            weights = outs * layer.taps * (1.0 if layer.depthwise else ins)
            macs, parameters = weights * layer.runs * PIXELS, weights + outs
            totals["macs"] += macs
            totals["parameters"] += parameters
            if layer.decoder:
                totals["decoder_macs"] += macs
                totals["decoder_parameters"] += parameters
        return totals


def full_cost(model: CostModel) -> dict[str, float]:
    """Return what a program costs with all its channels."""
    return model.cost({name: group.size for name, group in model.groups.items()})


def channels_for_budget(
    model: CostModel,
    budget: Budget,
    taken: Mapping[str, int],
    *,
    multiple: int,
    importance: Mapping[str, Tensor] | None = None,
) -> dict[str, int]:
    """Return how many channels each group of a program keeps, near the budget.

    ``taken``: groups that another program has decided. Counts are multiples of ``multiple``, or
    all of a group's channels. A part with a single limit is pruned by ``importance``, if given.
    """
    kept: dict[str, float] = {name: float(group.size) for name, group in model.groups.items()}
    kept |= {name: float(count) for name, count in taken.items() if name in kept}
    free = [name for name in kept if name not in taken]
    split = budget.decoder_macs is not None or budget.decoder_parameters is not None
    decoder = [name for name in free if model.is_decoder_group(name)]
    parts = [(decoder, "decoder_"), ([n for n in free if n not in set(decoder)], "")]
    for names, prefix in parts if split else [(free, "")]:
        limits = {
            k: v for k, v in budget.limits.items() if k in (f"{prefix}macs", f"{prefix}parameters")
        }
        if len(limits) == 1 and importance is not None:
            kept = _ranked(model, kept, names, limits, multiple, importance)
        elif names and limits:
            kept = _fitted(model, kept, names, limits)
    rounded = {
        name: kept[name]
        if name in taken
        else float(_rounded(kept[name], model.groups[name].size, multiple))
        for name in kept
    }
    moved = _moved(model, rounded, free, budget.limits, multiple)
    return {name: round(count) for name, count in moved.items()}


def _fitted(
    model: CostModel, kept: Mapping[str, float], names: Sequence[str], limits: Mapping[str, float]
) -> dict[str, float]:
    """Scan the shares at the coarsest and the finest resolution, in ever smaller steps."""
    densities = {name: model.density(name) for name in names}
    low, high = min(densities.values()), max(densities.values())

    def apply(coarse: float, fine: float) -> dict[str, float]:
        result = dict(kept)
        for name in names:
            t = (densities[name] - low) / (high - low) if high > low else 0.0
            share = min(1.0, math.exp((1 - t) * math.log(coarse) + t * math.log(fine)))
            result[name] = max(1.0, model.groups[name].size * share)
        return result

    def error(shares: tuple[float, float]) -> float:
        cost = model.cost(apply(*shares))
        return max(abs(cost[name] / limit - 1) for name, limit in limits.items())

    centre, reach = (math.log(SMALLEST_SHARE) / 2,) * 2, -math.log(SMALLEST_SHARE) / 2
    for _ in range(REFINEMENTS):
        steps = [reach * (2 * i / (GRID // 2) - 1) for i in range(GRID // 2 + 1)]
        points = (
            [(centre[0] + s, centre[0] + s) for s in steps]
            if len(limits) == 1
            else [(centre[0] + s, centre[1] + t) for s in steps for t in steps]
        )
        best = min(points, key=lambda p: error((math.exp(p[0]), math.exp(p[1]))))
        centre, reach = (min(best[0], 0.0), best[1]), reach / 6
    return apply(math.exp(centre[0]), math.exp(centre[1]))


def _ranked(
    model: CostModel,
    kept: Mapping[str, float],
    names: Sequence[str],
    limits: Mapping[str, float],
    multiple: int,
    importance: Mapping[str, Tensor],
) -> dict[str, float]:
    """Take away what matters least for what it costs, ``multiple`` channels at a time."""
    ((figure, limit),) = limits.items()
    result, full = dict(kept), model.cost(kept)[figure]
    steps: list[tuple[float, int, str]] = []
    for name in names:
        size = model.groups[name].size
        saving = full - model.cost(result | {name: size - multiple})[figure]
        if saving <= 0:
            continue
        worth = importance[name].sort().values
        count = int(size * (1 - SMALLEST_KEPT)) // multiple
        losses = worth[: count * multiple].view(count, multiple).sum(1) / saving
        steps += [(float(loss), number, name) for number, loss in enumerate(losses)]
    for _, _, name in sorted(steps):
        if model.cost(result)[figure] <= limit:
            break
        result[name] -= multiple
    return result


def _rounded(count: float, size: int, multiple: int) -> int:
    nearest = max(multiple, round(count / multiple) * multiple)
    return min(size, nearest)


def _moved(
    model: CostModel,
    kept: Mapping[str, float],
    free: Sequence[str],
    limits: Mapping[str, float],
    multiple: int,
) -> dict[str, float]:
    """Move one group at a time by one step while the largest error shrinks."""
    result = dict(kept)

    def error(choice: Mapping[str, float]) -> float:
        cost = model.cost(choice)
        errors = [abs(cost[name] / limit - 1) for name, limit in limits.items()]
        return max(errors) + 0.1 * sum(errors)

    current = error(result)
    for _ in range(MAX_MOVES):
        if current < GOOD_ENOUGH:
            break
        best, change = current, None
        for name in free:
            size = model.groups[name].size
            for step in (multiple, -multiple):
                count = min(float(size), result[name] + step)
                if count < multiple or count == result[name]:
                    continue
                candidate = error(result | {name: count})
                if candidate < best:
                    best, change = candidate, (name, count)
        if change is None:
            break
        result[change[0]] = change[1]
        current = best
    return result
