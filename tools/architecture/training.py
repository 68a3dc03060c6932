"""Training of a trial: as many steps as fit into the processor time of each leg.

A few steps are timed first, so that the learning rate can fall to its end over exactly the steps
that fit. Processor time, not wall time: other work on the machine costs a trial nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from architecture.trial import Leg, Trial
from nvc_models.swift import SwiftConfig
from nvc_models.swift import config as swift_config
from nvc_models.training.data import PackedClips
from nvc_models.training.schedule import Schedule
from nvc_models.training.stage import Stage
from nvc_models.training.trainer import STATE_FILE, Trainer, TrainOptions

PROBE_EVERY, PROBE_MARKS = 4, 4
"""Steps between two looks at the clock while a leg is timed, and looks."""


@dataclass(frozen=True)
class LegReport:
    """What a leg took: steps, processor seconds, and those of one step when it was timed."""

    steps: int
    processor_s: float
    step_s: float


class TrialTrainer(Trainer):
    """Trainer whose legs may go without their analytic start."""

    analytic: dict[str, bool]

    def _start_stage(self, stage: Stage) -> None:
        if self.analytic[stage.name]:
            super()._start_stage(stage)
        else:
            self.ema = {}


def train_trial(
    trial: Trial, data: PackedClips, cache: Path, *, bfloat16: bool
) -> tuple[Path, list[LegReport]]:
    """Train the legs that the cache does not have; return the last state and the new legs' reports.

    States lie in ``cache`` under names made of all that they depend on, so that trials share the
    legs that they have in common.
    """
    cache.mkdir(parents=True, exist_ok=True)
    reports, state = [], None
    with _registered(trial.preset):
        for number, leg in enumerate(trial.legs, start=1):
            path = cache / f"{trial.key(number)}.safetensors"
            if not path.exists():
                reports.append(_train_leg(trial, number, leg, state, path, data, bfloat16=bfloat16))
            state = path
    assert state is not None
    return state, reports


@contextmanager
def _registered(config: SwiftConfig) -> Iterator[None]:
    """Let training find a configuration by its name for a while."""
    swift_config.PRESETS[config.name] = config
    try:
        yield
    finally:
        del swift_config.PRESETS[config.name]


def _train_leg(
    trial: Trial,
    number: int,
    leg: Leg,
    before: Path | None,
    path: Path,
    data: PackedClips,
    *,
    bfloat16: bool,
) -> LegReport:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        marks: list[float] = []
        began = time.process_time()
        probe = _trainer(
            trial, number, PROBE_EVERY * PROBE_MARKS, Path(folder), data, marks, bfloat16=bfloat16
        )
        if before is not None:
            probe.resume(before)
        probe.run()
        steps, step_s = steps_within(leg.seconds, began, marks)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        began = time.process_time()
        trainer = _trainer(trial, number, steps, Path(folder), data, [], bfloat16=bfloat16)
        if before is not None:
            trainer.resume(before)
        trainer.run()
        processor_s = time.process_time() - began
        (Path(folder) / STATE_FILE).replace(path)
    return LegReport(steps, round(processor_s, 1), round(step_s, 4))


def steps_within(seconds: float, began: float, marks: list[float]) -> tuple[int, float]:
    """Return the steps that fit into some seconds with the start of the leg, and those of a step.

    ``began``: the clock before the leg; ``marks``: the clock every ``PROBE_EVERY`` steps.
    """
    step_s = (marks[-1] - marks[0]) / (PROBE_EVERY * (len(marks) - 1))
    start_s = max(0.0, marks[0] - began - PROBE_EVERY * step_s)
    return max(1, round((seconds - start_s) / step_s)), step_s


def _trainer(
    trial: Trial,
    number: int,
    steps: int,
    folder: Path,
    data: PackedClips,
    marks: list[float],
    *,
    bfloat16: bool,
) -> Trainer:
    """Return a trainer of the first legs of a trial, the last of which has some steps."""

    def mark(_: dict[str, Any]) -> None:
        marks.append(time.process_time())

    stages = [
        replace(leg.stage, name=f"leg-{place}", steps=steps)
        for place, leg in enumerate(trial.legs[:number], start=1)
    ]
    trainer = TrialTrainer(
        Schedule(trial.preset.name, trial.seed, tuple(stages)),
        data,
        TrainOptions(folder, bfloat16=bfloat16, save_every_s=1e9, log_every=PROBE_EVERY),
        on_log=mark,
    )
    trainer.analytic = {f"leg-{n}": leg.analytic for n, leg in enumerate(trial.legs, start=1)}
    return trainer
