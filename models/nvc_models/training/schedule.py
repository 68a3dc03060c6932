"""Training stages as configuration (TOML).

Built-in schedules lie in the package's ``schedules`` folder and are asked for by name.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from nvc_errors import UsageError

Task = Literal["intra", "flow", "motion", "inter", "joint", "calibrate"]
RoundingName = Literal["noise", "hard"]

TASKS: tuple[Task, ...] = get_args(Task)
MIN_FRAMES: dict[Task, int] = {
    "intra": 1,
    "flow": 2,
    "motion": 2,
    "inter": 2,
    "joint": 2,
    "calibrate": 2,
}
"""Shortest sequence a task can be trained on."""
CROP_MULTIPLE = 64
"""Crops are whole multiples of the codecs' alignment."""

_COUNTS = ("steps", "batch", "frames", "crop")


@dataclass(frozen=True)
class Stage:
    """One stage: what is trained, for how long, on what.

    Raises :class:`UsageError` for a task that does not exist and for numbers out of range.
    """

    name: str
    task: Task
    steps: int
    batch: int
    frames: int
    crop: int
    learning_rate: float
    final_learning_rate: float = 1e-6
    warmup_steps: int = 50
    rounding: RoundingName = "noise"
    skip_level: int = -1
    photo_share: float = 0.2
    later_weight: float = 0.0
    clip_norm: float = 1.0
    ema: float = 0.998

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UsageError(
                f"stage {self.name!r}: unknown task {self.task!r}; known: {', '.join(TASKS)}"
            )
        if self.rounding not in get_args(RoundingName):
            raise UsageError(
                f"stage {self.name!r}: rounding is {self.rounding!r}, expected noise or hard"
            )
        for key in _COUNTS:
            value = getattr(self, key)
            if not isinstance(value, int) or value < 1:
                raise UsageError(
                    f"stage {self.name!r}: {key} is {value!r}, expected a whole number above 0"
                )
        if self.frames < MIN_FRAMES[self.task]:
            raise UsageError(
                f"stage {self.name!r}: task {self.task!r} needs at least "
                f"{MIN_FRAMES[self.task]} frames, found {self.frames}"
            )
        if self.crop % CROP_MULTIPLE:
            raise UsageError(
                f"stage {self.name!r}: crop is {self.crop}, expected a multiple of {CROP_MULTIPLE}"
            )


@dataclass(frozen=True)
class Schedule:
    """All stages of a run, with the preset they train."""

    preset: str
    seed: int
    stages: tuple[Stage, ...]

    @staticmethod
    def load(path: Path) -> Schedule:
        """Read a TOML file; :class:`UsageError` if it is none, or has missing or unknown keys."""
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: is no TOML file: {error}") from error
        unknown = sorted(set(data) - {"preset", "seed", "defaults", "stage"})
        if unknown:
            raise UsageError(
                f"{path}: unknown keys {unknown}; known: preset, seed, defaults, stage"
            )
        if not isinstance(data.get("preset"), str):
            raise UsageError(f'{path}: lacks the preset to train; add a line preset = "lite"')
        if not isinstance(seed := data.get("seed", 1), int):
            raise UsageError(f"{path}: seed is {seed!r}, expected a whole number")
        items = data.get("stage", [])
        if not isinstance(items, list) or not items:
            raise UsageError(f"{path}: no [[stage]] found")
        defaults: dict[str, Any] = data.get("defaults", {})
        stages = tuple(_stage_from_table(path, defaults | item) for item in items)
        return Schedule(data["preset"], seed, stages)


def _stage_from_table(path: Path, table: dict[str, Any]) -> Stage:
    """Build a stage from a TOML table; ``path`` is named in errors."""
    known = {field.name for field in fields(Stage)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise UsageError(f"{path}: unknown keys {unknown}; known: {sorted(known)}")
    required = {field.name for field in fields(Stage) if field.default is MISSING}
    missing = sorted(required - set(table))
    if missing:
        raise UsageError(f"{path}: stage {table.get('name', '?')!r} lacks {missing}")
    try:
        return Stage(**table)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def builtin_schedules() -> dict[str, Path]:
    """Schedules that come with the package, by name."""
    folder = Path(__file__).parent / "schedules"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def open_schedule(name_or_path: str) -> Schedule:
    """Load a built-in schedule by name or a TOML file by path.

    Raises :class:`UsageError` if there is neither, or if the file is no schedule.
    """
    known = builtin_schedules()
    if name_or_path in known:
        return Schedule.load(known[name_or_path])
    path = Path(name_or_path)
    if not path.is_file():
        raise UsageError(
            f"{name_or_path!r} is neither a file nor a built-in schedule; known: {', '.join(known)}"
        )
    return Schedule.load(path)
