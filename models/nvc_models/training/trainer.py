"""The training loop: stages, EMA, mixed precision, exact resume.

Every step draws its batch, its quality indices and its noise from (seed, step) alone, and the
optimiser state is in the checkpoint, so a run that is killed and resumed gives the losses of an
uninterrupted one.
"""

from __future__ import annotations

import ctypes
import json
import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nvc_errors import DamagedInputError, OutputError, UsageError
from nvc_models.families import FAMILIES, family_from_preset
from nvc_models.training import checkpoint as ckpt
from nvc_models.training.data import BatchShape, PackedClips, SequenceSampler, StepBatches
from nvc_models.training.losses import StepResult
from nvc_models.training.schedule import Schedule
from nvc_models.training.stage import Stage
from nvc_models.widths import resize_layers

STATE_FILE = "state.safetensors"
LOG_FILE = "log.ndjson"
START_SHAPE, START_BATCHES = BatchShape(16, 2, 256), 4
"""What an analytic start is computed from."""
FIRST_FAMILY = "tian2023"
"""Family of the checkpoints that name none."""
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


@dataclass(frozen=True)
class TrainOptions:
    """Where to run, how often to save (seconds) and to log (steps).

    ``workers``: processes that prepare batches ahead; 0: none, in turn with the steps.
    ``keep_freed_memory`` changes the allocator of the whole process, see
    :func:`keep_freed_memory`.
    """

    folder: Path
    device: str = "cpu"
    bfloat16: bool = False
    save_every_s: float = 180.0
    log_every: int = 20
    stop_after_steps: int | None = None
    keep_freed_memory: bool = True
    workers: int = 0


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory: activations are otherwise unmapped after every layer.

    Measured to make pointwise convolutions several times faster on CPUs. Elsewhere: no effect.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 2**28)


class Trainer:
    """Runs a :class:`Schedule` on packed clips, from the start or from ``folder``'s state.

    ``on_log`` receives every line of the log as it is written: stage, step, figures.
    """

    def __init__(
        self,
        schedule: Schedule,
        data: PackedClips,
        options: TrainOptions,
        *,
        on_log: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self.schedule, self.data, self.options = schedule, data, options
        self._on_log = on_log
        self._stop = threading.Event()
        schedule.check()
        self.family = family_from_preset(schedule.preset)
        torch.manual_seed(schedule.seed)
        self.model: Any = self.family.model(self.family.presets[schedule.preset])
        self.stage_number, self.step, self.total_steps = 0, 0, 0
        self.elapsed_s = 0.0
        self.optimizer: torch.optim.AdamW | None = None
        self.ema: dict[str, Tensor] = {}
        self._restored: ckpt.Checkpoint | None = None
        self._trained_before = False

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What must not change between a checkpoint and its resumption."""
        return {
            "seed": self.schedule.seed,
            "family": self.family.name,
            "config": self.model.config.to_json(),
        }

    @property
    def finished(self) -> bool:
        """Whether every stage has been trained."""
        return self.stage_number >= len(self.schedule.stages)

    def resume(self, path: Path | None = None) -> None:
        """Load the state; ``path`` is by default that of ``folder``.

        Raises :class:`UsageError` if it belongs to another configuration or seed,
        :class:`DamagedInputError` if it is no whole checkpoint. Stages may have been changed: the
        run goes on at the stored stage and step of the new schedule.
        """
        path = path or self.options.folder / STATE_FILE
        state = ckpt.load(path)
        self._prune_like(path, state)
        expected = json.loads(json.dumps(self.fingerprint))
        try:
            found = {"family": FIRST_FAMILY} | state.metadata["fingerprint"]
            position = {key: int(state.metadata[key]) for key in ("stage", "step", "total_steps")}
            elapsed_s = float(state.metadata["elapsed_s"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedInputError(f"{path}: its metadata is incomplete: {error}") from error
        if found != expected:
            raise UsageError(
                f"{path} was made with {_difference(found, expected)}; resume with the schedule "
                "it was started with, or start in another folder"
            )
        try:
            self.model.load_state_dict(state.section("model"))
        except RuntimeError as error:
            raise DamagedInputError(f"{path} does not hold the model's weights: {error}") from error
        self.ema = state.section("ema")
        self.stage_number, self.step = position["stage"], position["step"]
        self.total_steps, self.elapsed_s = position["total_steps"], elapsed_s
        self._restored = state
        self._forget_log_after(self.total_steps)

    def start_from(self, path: Path) -> None:
        """Take the weights of a checkpoint, averaged ones if it has some, instead of random ones.

        For a run of its own, from its first step on and without the family's analytic starts; the
        checkpoint may be of another preset whose tensors have the same names and shapes. What
        pruning removed stays removed. Raises :class:`UsageError` if they have not,
        :class:`DamagedInputError` if it is no checkpoint.
        """
        state = ckpt.load(path)
        self._prune_like(path, state)
        weights = state.section("ema") or state.section("model")
        try:
            self.model.load_state_dict({name: w.float() for name, w in weights.items()})
        except RuntimeError as error:
            raise UsageError(
                f"{path} does not fit preset {self.schedule.preset!r}: {error}"
            ) from error
        self._trained_before = True

    def _prune_like(self, path: Path, state: ckpt.Checkpoint) -> None:
        """Leave out of the model the channels that pruning took from a checkpoint's."""
        try:
            pruned = state.metadata.get("fingerprint", {}).get("config", {}).get("channels", {})
            channels = {name: (int(ins), int(outs)) for name, (ins, outs) in pruned.items()}
            resize_layers(self.model, channels)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise DamagedInputError(f"{path}: its configuration does not fit: {error}") from error
        self.model.config = replace(self.model.config, channels=channels)

    def request_stop(self) -> None:
        """Make :meth:`run` save and return after the current step. Safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Train every remaining stage, saving as it goes.

        Ends early after ``stop_after_steps`` steps or :meth:`request_stop`. Raises
        :class:`OutputError` if the folder cannot be written.
        """
        try:
            self.options.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.options.folder}: cannot be made: {error.strerror or error}"
            ) from error
        if self.options.keep_freed_memory:
            keep_freed_memory()
        move: Callable[..., nn.Module] = self.model.to
        move(self.options.device, memory_format=torch.channels_last)
        weights = self.model.state_dict()
        self.ema = {name: _laid_out_like(weights[name], v) for name, v in self.ema.items()}
        left = self.options.stop_after_steps
        while not self.finished:
            stage = self.schedule.stages[self.stage_number]
            if self.step == 0:
                self._start_stage(stage)
            self._make_optimizer(stage)
            left = self._run_stage(stage, left)
            if left == 0 or self._stop.is_set():
                break
            self.stage_number, self.step = self.stage_number + 1, 0
        self.save()

    def _start_stage(self, stage: Stage) -> None:
        """Run the analytic start of the task, before the first step of its first stage."""
        if self._trained_before:
            return
        start = self.family.tasks[stage.task].start
        first = next(s for s in self.schedule.stages if s.task == stage.task)
        if start is None or first is not stage:
            return
        sampler = SequenceSampler(self.data, photo_share=0.0, seed=self.schedule.seed + 1)
        frames = torch.cat([sampler.batch(i, START_SHAPE) for i in range(START_BATCHES)])
        frames = frames.to(self.options.device)
        if start(self.model, frames):
            self.ema = {}

    def _make_optimizer(self, stage: Stage) -> None:
        task = self.family.tasks[stage.task]
        self.parameters = task.parameters(self.model)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(
            task.groups(self.model, stage.picture_rate),
            lr=stage.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=0.0,
        )
        if self._restored is not None and self.step > 0:
            self._restore_moments(self._restored)
        self._restored = None
        if not self.ema:
            self.ema = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def _names(self) -> dict[int, str]:
        return {id(p): n for n, p in self.model.named_parameters()}

    def _restore_moments(self, state: ckpt.Checkpoint) -> None:
        assert self.optimizer is not None
        names = self._names()
        first, second = state.section("exp_avg"), state.section("exp_avg_sq")
        for parameter in self.parameters:
            name = names[id(parameter)]
            if name in first:
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": _laid_out_like(parameter, first[name]),
                    "exp_avg_sq": _laid_out_like(parameter, second[name]),
                }

    def _learning_rate(self, stage: Stage) -> float:
        warm = min(1.0, (self.step + 1) / max(stage.warmup_steps, 1))
        progress = self.step / max(stage.steps, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        low, high = stage.final_learning_rate, stage.learning_rate
        return warm * (low + (high - low) * cosine)

    def _run_stage(self, stage: Stage, left: int | None) -> int | None:
        sampler = SequenceSampler(self.data, photo_share=stage.photo_share, seed=self.schedule.seed)
        shape = BatchShape(stage.batch, stage.frames, stage.crop)
        steps = stage.steps - self.step if left is None else min(stage.steps - self.step, left)
        batches = StepBatches(sampler, shape, self.total_steps, steps)
        last_save = time.monotonic()
        sums: dict[str, float] = {}
        since, started = 0, time.monotonic()
        for frames in batches.load(self.options.workers, self.options.device):
            if self._stop.is_set():
                break
            result = self._train_step(stage, frames)
            self.step += 1
            self.total_steps += 1
            left = None if left is None else left - 1
            since += 1
            for key, value in ({"loss": float(result.loss.detach())} | result.figures).items():
                sums[key] = sums.get(key, 0.0) + value
            if since == self.options.log_every or self.step == stage.steps:
                elapsed = time.monotonic() - started
                self.elapsed_s += elapsed
                self._log(stage, {k: v / since for k, v in sums.items()}, elapsed / since)
                sums, since, started = {}, 0, time.monotonic()
            if time.monotonic() - last_save > self.options.save_every_s:
                self.save()
                last_save = time.monotonic()
        self.save()
        return left

    def _train_step(self, stage: Stage, frames: Tensor) -> StepResult:
        assert self.optimizer is not None
        torch.manual_seed(self.schedule.seed * 1_000_003 + self.total_steps)
        rate = self._learning_rate(stage)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.model.train()
        device = self.options.device.split(":", maxsplit=1)[0]
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.options.bfloat16):
            result = self.family.tasks[stage.task].step(self.model, frames, stage)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(result.loss)
        norm = nn.utils.clip_grad_norm_(self.parameters, stage.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        result.figures["norm"] = float(norm)
        self._update_ema(min(stage.ema, (1 + self.step) / (10 + self.step)))
        return result

    @torch.no_grad()
    def _update_ema(self, decay: float) -> None:
        names = self._names()
        trained = [(self.ema[names[id(p)]], p) for p in self.parameters]
        torch._foreach_lerp_([e for e, _ in trained], [p.detach() for _, p in trained], 1 - decay)

    def _log(self, stage: Stage, figures: dict[str, float], step_s: float) -> None:
        line = {
            "stage": stage.name,
            "step": self.step,
            "total_steps": self.total_steps,
            "hours": round(self.elapsed_s / 3600, 4),
            "step_s": round(step_s, 3),
            "images_per_s": round(stage.batch * stage.frames / step_s, 1),
            "learning_rate": self._learning_rate(stage),
        } | {k: round(v, 5) for k, v in figures.items()}
        with (self.options.folder / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._on_log(line)

    def _forget_log_after(self, total_steps: int) -> None:
        """Drop the lines of steps that were lost in a kill and will be trained again."""
        path = self.options.folder / LOG_FILE
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _log_position(line) <= total_steps]
        if len(kept) < len(lines):
            path.write_text("".join(kept), encoding="utf-8")

    def save(self) -> None:
        """Write the whole state to ``folder/state.safetensors``."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        names = self._names()
        if self.optimizer is not None:
            for parameter, state in self.optimizer.state.items():
                name = names[id(parameter)]
                tensors[f"exp_avg.{name}"] = state["exp_avg"]
                tensors[f"exp_avg_sq.{name}"] = state["exp_avg_sq"]
        metadata = {
            "fingerprint": self.fingerprint,
            "stage": self.stage_number,
            "step": self.step,
            "total_steps": self.total_steps,
            "elapsed_s": self.elapsed_s,
            "stages": [asdict(s) for s in self.schedule.stages],
        }
        ckpt.save(
            self.options.folder / STATE_FILE,
            ckpt.Checkpoint({k: v.cpu() for k, v in tensors.items()}, metadata),
        )


def load_model(path: Path, *, ema: bool = True) -> nn.Module:
    """Return the model of a checkpoint, in evaluation mode, FP32 on the CPU; it has a ``config``.

    ``ema``: take the averaged weights, if there are any. Raises :class:`DamagedInputError` if the
    file is no checkpoint of a known family.
    """
    state = ckpt.load(path)
    try:
        fingerprint = state.metadata["fingerprint"]
        family = FAMILIES[fingerprint.get("family", FIRST_FAMILY)]
        model = family.model(family.config_from_json(fingerprint["config"]))
        weights = state.section("ema" if ema and state.section("ema") else "model")
        model.load_state_dict({k: v.float() for k, v in weights.items()})
    except (AttributeError, KeyError, TypeError, RuntimeError) as error:
        raise DamagedInputError(f"{path} holds no codec of a known family: {error}") from error
    return model.eval()


def _laid_out_like(parameter: Tensor, stored: Tensor) -> Tensor:
    """Copy a stored tensor to the device and memory layout of ``parameter``.

    With another layout the optimiser takes another path through the same arithmetic, whose last
    bits may differ.
    """
    return torch.empty_like(parameter).detach().copy_(stored)


def _log_position(line: str) -> int:
    """Return the step a log line tells of; a line cut short by a kill comes last of all."""
    try:
        return int(json.loads(line)["total_steps"])
    except (KeyError, TypeError, ValueError):
        return sys.maxsize


def _difference(found: Any, expected: dict[str, Any]) -> str:
    """Say what differs between two fingerprints."""
    if not isinstance(found, dict):
        return "no fingerprint"
    if found.get("seed") != expected["seed"]:
        return f"seed {found.get('seed')}, not {expected['seed']}"
    names = [(f.get("config") or {}).get("name") for f in (found, expected)]
    if names[0] != names[1]:
        return f"preset {names[0]!r}, not {names[1]!r}"
    return f"other widths of preset {names[1]!r}"
