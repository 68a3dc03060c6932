"""Training stages as configuration (TOML).

Built-in schedules lie in the package's ``schedules`` folder and are asked for by name.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from nvc_errors import UsageError
from nvc_models.families import family_from_preset
from nvc_models.training.stage import Stage


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
        schedule = Schedule(data["preset"], seed, stages)
        try:
            schedule.check()
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        return schedule

    def check(self) -> None:
        """Raise :class:`UsageError` if the preset is unknown or has no such tasks."""
        tasks = family_from_preset(self.preset).tasks
        for stage in self.stages:
            if stage.task not in tasks:
                raise UsageError(
                    f"stage {stage.name!r}: unknown task {stage.task!r} of preset "
                    f"{self.preset!r}; known: {', '.join(tasks)}"
                )
            if stage.frames < tasks[stage.task].min_frames:
                raise UsageError(
                    f"stage {stage.name!r}: task {stage.task!r} needs at least "
                    f"{tasks[stage.task].min_frames} frames, found {stage.frames}"
                )


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
