"""One short training run: a configuration, and stages that each get some processor time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from nvc_models.swift import SwiftConfig
from nvc_models.training.stage import Stage


@dataclass(frozen=True)
class Leg:
    """One stage of a trial; its ``steps`` do not count, it lasts ``seconds`` of processor time.

    ``analytic``: start with the family's analytic start; else from random weights.
    """

    stage: Stage
    seconds: float
    analytic: bool = True


@dataclass(frozen=True)
class Trial:
    """One run, with the words its row has in the table."""

    name: str
    words: str
    config: SwiftConfig
    legs: tuple[Leg, ...]
    seed: int = 1

    @property
    def preset(self) -> SwiftConfig:
        """The configuration under a name of its own, the same for the same widths."""
        widths = {"intra": asdict(self.config.intra), "inter": asdict(self.config.inter)}
        return replace(self.config, name=f"trial-{_digest(widths)[:8]}")

    def identity(self, legs: int | None = None) -> dict[str, Any]:
        """All that the weights after some legs depend on, but for code and data."""
        known = []
        for leg in self.legs[:legs]:
            stage = {k: v for k, v in asdict(leg.stage).items() if k not in ("name", "steps")}
            known.append({"stage": stage, "seconds": leg.seconds, "analytic": leg.analytic})
        return {"config": self.preset.to_json(), "seed": self.seed, "legs": known}

    def key(self, legs: int | None = None) -> str:
        """Name of a file that keeps the state after some legs."""
        return _digest(self.identity(legs))[:20]


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
