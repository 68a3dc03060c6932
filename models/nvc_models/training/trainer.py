"""The training loop: stages, EMA, mixed precision, exact resume.

Every step draws its batch, its quality indices and its noise from (seed, step) alone, and the
optimiser state is in the checkpoint, so a run that is killed and resumed gives the losses of an
uninterrupted one.
"""

from __future__ import annotations

import ctypes
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nvc_errors import UsageError
from nvc_models.tian2023 import Tian2023, Tian2023Config, preset
from nvc_models.tian2023.initialize import (
    initialize_inter,
    initialize_intra,
    initialize_motion,
    supports_analytic_start,
)
from nvc_models.training import checkpoint as ckpt
from nvc_models.training.data import BatchShape, PackedClips, SequenceSampler
from nvc_models.training.schedule import Schedule, Stage
from nvc_models.training.tasks import STEPS, StepResult, trained_parameters

STATE_FILE = "state.safetensors"
LOG_FILE = "log.ndjson"
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


@dataclass(frozen=True)
class TrainOptions:
    """Where to run and how often to save."""

    folder: Path
    device: str = "cpu"
    bfloat16: bool = False
    save_every_s: float = 180.0
    log_every: int = 20
    stop_after_steps: int | None = None


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
    """Runs a :class:`Schedule` on packed clips, from the start or from ``folder``'s state."""

    def __init__(self, schedule: Schedule, data: PackedClips, options: TrainOptions) -> None:
        self.schedule, self.data, self.options = schedule, data, options
        torch.manual_seed(schedule.seed)
        self.model = Tian2023(preset(schedule.preset))
        self.stage_number, self.step, self.total_steps = 0, 0, 0
        self.elapsed_s = 0.0
        self.optimizer: torch.optim.AdamW | None = None
        self.ema: dict[str, Tensor] = {}
        self._restored: ckpt.Checkpoint | None = None

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What must not change between a checkpoint and its resumption."""
        return {"seed": self.schedule.seed, "config": self.model.config.to_json()}

    def resume(self, path: Path | None = None) -> None:
        """Load the state; raise :class:`UsageError` if it belongs to another configuration."""
        state = ckpt.load(path or self.options.folder / STATE_FILE)
        if state.metadata["fingerprint"] != json.loads(json.dumps(self.fingerprint)):
            raise UsageError("the checkpoint was made with another preset or seed")
        self.model.load_state_dict(state.section("model"))
        self.ema = state.section("ema")
        self.stage_number = int(state.metadata["stage"])
        self.step = int(state.metadata["step"])
        self.total_steps = int(state.metadata["total_steps"])
        self.elapsed_s = float(state.metadata["elapsed_s"])
        self._restored = state

    def run(self) -> None:
        """Train every remaining stage (or ``stop_after_steps`` more steps), saving as it goes."""
        self.options.folder.mkdir(parents=True, exist_ok=True)
        keep_freed_memory()
        self.model.to(self.options.device, memory_format=torch.channels_last)
        left = self.options.stop_after_steps
        while self.stage_number < len(self.schedule.stages):
            stage = self.schedule.stages[self.stage_number]
            if self.step == 0:
                self._start_stage(stage)
            self._make_optimizer(stage)
            left = self._run_stage(stage, left)
            if left == 0:
                break
            self.stage_number, self.step = self.stage_number + 1, 0
        self.save()

    def _start_stage(self, stage: Stage) -> None:
        """Analytic starts, before the first step of the stage that first trains a part."""
        if not supports_analytic_start(self.model):
            return
        first = next(s for s in self.schedule.stages if s.task == stage.task)
        if first is not stage:
            return
        sampler = SequenceSampler(self.data, photo_share=0.0, seed=self.schedule.seed + 1)
        frames = torch.cat([sampler.batch(i, BatchShape(16, 2, 256)) for i in range(4)])
        frames = frames.to(self.options.device)
        if stage.task == "intra":
            initialize_intra(self.model.intra, frames[:, 0])
        elif stage.task == "motion":
            with torch.no_grad():
                flow = self.model.inter.estimate_flow(frames[:, 1], frames[:, 0])
            initialize_motion(self.model.inter.motion, flow)
        elif stage.task == "inter":
            initialize_inter(self.model.inter, frames[:, 1], frames[:, 0])
        self.ema = {}

    def _make_optimizer(self, stage: Stage) -> None:
        self.parameters = trained_parameters(self.model, stage.task)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=stage.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
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
                    "exp_avg": first[name].to(parameter.device).clone(),
                    "exp_avg_sq": second[name].to(parameter.device).clone(),
                }

    def _learning_rate(self, stage: Stage) -> float:
        warm = min(1.0, (self.step + 1) / max(stage.warmup_steps, 1))
        progress = self.step / max(stage.steps, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        low, high = stage.final_learning_rate, stage.learning_rate
        return warm * (low + (high - low) * cosine)

    def _run_stage(self, stage: Stage, left: int | None) -> int | None:
        sampler = SequenceSampler(
            self.data, photo_share=stage.photo_share, seed=self.schedule.seed
        )
        shape = BatchShape(stage.batch, stage.frames, stage.crop)
        last_save = time.monotonic()
        sums: dict[str, float] = {}
        since, started = 0, time.monotonic()
        while self.step < stage.steps and left != 0:
            result = self._train_step(stage, sampler, shape)
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

    def _train_step(
        self, stage: Stage, sampler: SequenceSampler, shape: BatchShape
    ) -> StepResult:
        assert self.optimizer is not None
        torch.manual_seed(self.schedule.seed * 1_000_003 + self.total_steps)
        frames = sampler.batch(self.total_steps, shape).to(self.options.device)
        rate = self._learning_rate(stage)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        device = self.options.device.split(":", maxsplit=1)[0]
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.options.bfloat16):
            result = STEPS[stage.task](self.model, frames, stage)
        self.optimizer.zero_grad(set_to_none=True)
        result.loss.backward()  # type: ignore[no-untyped-call]
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
        with (self.options.folder / LOG_FILE).open("a") as file:
            file.write(json.dumps(line) + "\n")

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


def load_model(path: Path, *, ema: bool = True) -> Tian2023:
    """Return the model of a checkpoint, in evaluation mode, FP32 on the CPU."""
    state = ckpt.load(path)
    model = Tian2023(Tian2023Config.from_json(state.metadata["fingerprint"]["config"]))
    weights = state.section("ema" if ema and state.section("ema") else "model")
    model.load_state_dict({k: v.float() for k, v in weights.items()})
    return model.eval()
