"""The codec families: what training, profiling and export need to know of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from nvc_errors import UsageError
from nvc_models import swift, tian2023
from nvc_models.graph import CodecGraphs
from nvc_models.swift import config as swift_config
from nvc_models.swift import graphs as swift_graphs
from nvc_models.swift import tasks as swift_tasks
from nvc_models.tian2023 import config as tian2023_config
from nvc_models.tian2023 import graphs as tian2023_graphs
from nvc_models.tian2023 import tasks as tian2023_tasks
from nvc_models.training.task import Tasks


@dataclass(frozen=True)
class Family:
    """One codec family.

    presets: configurations by name. model: module of a configuration; it has a ``config``.
    config_from_json: inverse of a configuration's ``to_json``. graphs: a model, cut at its coding
    points. tasks: what training can do.
    """

    name: str
    presets: Mapping[str, Any]
    model: Callable[[Any], nn.Module]
    config_from_json: Callable[[dict[str, Any]], Any]
    graphs: Callable[[Any], CodecGraphs]
    tasks: Tasks


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "tian2023",
            tian2023_config.PRESETS,
            tian2023.Tian2023,
            tian2023.Tian2023Config.from_json,
            tian2023_graphs.graphs_from_model,
            tian2023_tasks.TASKS,
        ),
        Family(
            "swift",
            swift_config.PRESETS,
            swift.Swift,
            swift.SwiftConfig.from_json,
            swift_graphs.graphs_from_model,
            swift_tasks.TASKS,
        ),
    )
}


def family_from_preset(preset: str) -> Family:
    """Return the family that has a preset; raise :class:`UsageError` listing all if none has."""
    for family in FAMILIES.values():
        if preset in family.presets:
            return family
    known = sorted(name for family in FAMILIES.values() for name in family.presets)
    raise UsageError(f"unknown preset {preset!r}; known: {', '.join(known)}")


def graphs_from_model(model: nn.Module) -> CodecGraphs:
    """Cut the model of any family at its coding points.

    Raises :class:`UsageError` if it belongs to no family.
    """
    for family in FAMILIES.values():
        if isinstance(model, family.model):  # type: ignore[arg-type]
            return family.graphs(model)
    raise UsageError(f"{type(model).__name__} belongs to no codec family")
