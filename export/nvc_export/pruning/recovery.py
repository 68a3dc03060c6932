"""Fine-tuning after pruning, on its own or with the unpruned codec as teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nvc_export.pruning.trace import Prunable, family_of
from nvc_models.rate import lagrangian
from nvc_models.training import checkpoint as ckpt
from nvc_models.training.data import BatchShape, PackedClips, SequenceSampler
from nvc_models.training.stage import Stage


@dataclass(frozen=True)
class Recovery:
    """How to train. ``distillation``: weight of lambda * MSE against the teacher's frames."""

    stage: Stage
    distillation: float = 0.0
    seed: int = 1
    log_every: int = 20


@contextmanager
def _frames_of(codec: Prunable) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect (decoded frame, quality) of every frame that a codec codes."""
    found: list[tuple[Tensor, Tensor]] = []

    def collect(module: nn.Module, inputs: tuple[Any, ...], result: Any) -> None:
        found.append((result.frame, inputs[2 if module is codec.inter else 1]))

    handles = [m.register_forward_hook(collect) for m in (codec.intra, codec.inter)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def recover(
    codec: Prunable,
    data: PackedClips,
    options: Recovery,
    *,
    teacher: Prunable | None = None,
    on_log: Callable[[dict[str, float]], None] = lambda _: None,
) -> Prunable:
    """Train a pruned codec and return the average of its weights, in evaluation mode.

    Every step draws batch, qualities and noise from the seed and its number, and the teacher sees
    the same. ``on_log`` receives step, loss and what the task measures, averaged.
    """
    stage, task = options.stage, family_of(codec).tasks[options.stage.task]
    for parameter in codec.parameters():
        parameter.requires_grad_(False)
    parameters = task.parameters(codec)
    for parameter in parameters:
        parameter.requires_grad_(True)
    if teacher is not None:
        teacher.requires_grad_(False).train()
    optimizer = torch.optim.AdamW(
        parameters, lr=stage.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
    )
    averaged = AveragedModel(codec, multi_avg_fn=_moving_average(stage.ema))
    sampler = SequenceSampler(data, photo_share=stage.photo_share, seed=options.seed)
    shape = BatchShape(stage.batch, stage.frames, stage.crop)
    sums: dict[str, float] = {}
    codec.train()
    for step in range(stage.steps):
        frames = sampler.batch(step, shape)
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(stage, step)
        wanted = _teacher_frames(teacher, frames, options, step)
        torch.manual_seed(_seed(options, step))
        with _frames_of(codec) as made:
            result = task.step(codec, frames, stage)
        loss = result.loss
        if wanted:
            loss = loss + options.distillation * _distance(made, wanted)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(parameters, stage.clip_norm)
        if torch.isfinite(norm):
            optimizer.step()
        averaged.update_parameters(codec)
        for key, value in ({"loss": float(loss.detach())} | result.figures).items():
            sums[key] = sums.get(key, 0.0) + value
        count = step % options.log_every + 1
        if count == options.log_every or step + 1 == stage.steps:
            on_log({"step": step + 1} | {k: round(v / count, 5) for k, v in sums.items()})
            sums = {}
    recovered = averaged.module
    assert isinstance(recovered, type(codec))
    return recovered.eval()


def _moving_average(decay: float) -> Callable[..., None]:
    """Return the update of an exponential average that soon forgets where it started."""

    @torch.no_grad()
    def update(average: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        reached = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(average, current, 1 - reached)

    return update


def _seed(options: Recovery, step: int) -> int:
    return options.seed * 1_000_003 + step


def _teacher_frames(
    teacher: Prunable | None, frames: Tensor, options: Recovery, step: int
) -> list[Tensor]:
    """Return decoded frames of the teacher, with the qualities that the codec will draw."""
    if teacher is None or not options.distillation:
        return []
    torch.manual_seed(_seed(options, step))
    with torch.no_grad(), _frames_of(teacher) as made:
        family_of(teacher).tasks[options.stage.task].step(teacher, frames, options.stage)
    return [frame.detach() for frame, _ in made]


def _distance(made: list[tuple[Tensor, Tensor]], wanted: list[Tensor]) -> Tensor:
    terms = [
        (lagrangian(quality) * (frame - target).square().mean((1, 2, 3))).mean()
        for (frame, quality), target in zip(made, wanted, strict=True)
        if frame.requires_grad
    ]
    return torch.stack(terms).mean()


def _learning_rate(stage: Stage, step: int) -> float:
    warm = min(1.0, (step + 1) / max(stage.warmup_steps, 1))
    cosine = 0.5 * (1 + math.cos(math.pi * step / max(stage.steps, 1)))
    low, high = stage.final_learning_rate, stage.learning_rate
    return warm * (low + (high - low) * cosine)


def save_pruned(path: Path, codec: Prunable, *, seed: int) -> None:
    """Write a checkpoint that ``load_model`` rebuilds the codec from.

    Raises ``OutputError`` if it cannot be written.
    """
    metadata = {
        "fingerprint": {
            "seed": seed,
            "family": family_of(codec).name,
            "config": codec.config.to_json(),
        },
        "stage": 0,
        "step": 0,
        "total_steps": 0,
        "elapsed_s": 0.0,
    }
    tensors = {f"model.{name}": tensor for name, tensor in codec.state_dict().items()}
    ckpt.save(path, ckpt.Checkpoint(tensors, metadata))
