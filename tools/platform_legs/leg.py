"""What a leg of the platform matrix is: a name, its cost, and how to open it as an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nvc_engines import Engine
from platform_legs.cache import Cache

REFERENCE = "ort"
"""Name of the leg that every other one is compared with."""

CHEAP_COST = 1.5
"""Legs up to this cost decode the streams of every other leg."""
EMULATED_COST = 50.0
"""Legs from this cost on only see the small scene."""


@dataclass(frozen=True)
class Leg:
    """One float platform.

    Attributes:
        name: short, unique, usable on a command line.
        title: what it is, for people.
        cost: time of a graph run, as a multiple of native ONNX Runtime's.
        open: sets up what the leg needs in the cache and opens it. Raises
            ``EngineUnavailableError`` with the reason where this machine cannot do it.
        local: whether it needs nothing but installed Python packages.

    """

    name: str
    title: str
    cost: float
    open: Callable[[Cache], Engine] = field(compare=False, repr=False)
    local: bool = False

    @property
    def is_cheap(self) -> bool:
        """Whether it decodes the streams of every leg by default."""
        return self.cost <= CHEAP_COST

    @property
    def is_emulated(self) -> bool:
        """Whether it only gets the small scene."""
        return self.cost >= EMULATED_COST
