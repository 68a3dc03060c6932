"""Training stages as configuration (TOML)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from nvc_errors import UsageError

Task = Literal["intra", "flow", "motion", "inter", "joint", "calibrate"]


@dataclass(frozen=True)
class Stage:
    """One stage: what is trained, for how long, on what."""

    name: str
    task: Task
    steps: int
    batch: int
    frames: int
    crop: int
    learning_rate: float
    final_learning_rate: float = 1e-6
    warmup_steps: int = 50
    rounding: Literal["noise", "hard"] = "noise"
    skip_level: int = -1
    photo_share: float = 0.2
    later_weight: float = 0.0
    clip_norm: float = 1.0
    ema: float = 0.998


@dataclass(frozen=True)
class Schedule:
    """All stages of a run, with the preset they train."""

    preset: str
    seed: int
    stages: tuple[Stage, ...]

    @staticmethod
    def load(path: Path) -> Schedule:
        """Read a TOML file; unknown keys raise :class:`UsageError`."""
        data = tomllib.loads(path.read_text())
        known = {f.name for f in fields(Stage)}
        defaults: dict[str, Any] = data.get("defaults", {})
        stages = []
        for item in data.get("stage", []):
            merged = defaults | item
            unknown = sorted(set(merged) - known)
            if unknown:
                raise UsageError(f"{path}: unknown keys {unknown}; known: {sorted(known)}")
            stages.append(Stage(**merged))
        if not stages:
            raise UsageError(f"{path}: no [[stage]] found")
        return Schedule(data["preset"], int(data.get("seed", 1)), tuple(stages))
