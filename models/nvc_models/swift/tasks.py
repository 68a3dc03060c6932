"""Training tasks of the swift family: each maps a batch of sequences to a loss and figures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nvc_models.rate import lagrangian
from nvc_models.swift.codec import Swift
from nvc_models.swift.initialize import initialize_inter, initialize_intra
from nvc_models.training.constraint import constraint_loss
from nvc_models.training.losses import (
    StepResult,
    as_float,
    better_quality,
    bits_per_pixel,
    mean_squared_error,
    psnr_db,
    random_quality,
)
from nvc_models.training.stage import Stage
from nvc_models.training.task import Task, Tasks


def _intra_step(model: Swift, frames: Tensor, stage: Stage) -> StepResult:
    """Return lambda * MSE + bits per pixel of single frames; frames (B, 1, 3, H, W)."""
    frame = frames[:, 0]
    quality = random_quality(frame.shape[0], frame.device)
    result = model.intra(frame, quality, rounding=stage.rounding, skip_level=stage.skip_level)
    mse, bpp = mean_squared_error(result.frame, frame), bits_per_pixel(result.latent, frame)
    loss = (lagrangian(quality) * mse + bpp).mean()
    return StepResult(
        loss,
        {"bpp": as_float(bpp), "psnr": psnr_db(mse), "index": as_float(result.latent.index)},
    )


def _sequence_step(model: Swift, frames: Tensor, stage: Stage) -> StepResult:
    """Code a GOP of one intra and T - 1 inter frames; ``joint`` also trains the intra model.

    Intra frames are coded up to ``stage.intra_offset`` qualities better than the others.
    """
    joint = stage.task in ("joint", "calibrate")
    quality = random_quality(frames.shape[0], frames.device)
    weight = lagrangian(quality)
    intra_quality = better_quality(quality, stage.intra_offset)
    options = {"rounding": stage.rounding, "skip_level": stage.skip_level}
    with torch.set_grad_enabled(joint):
        model.intra.train(joint)
        intra = model.intra(frames[:, 0], intra_quality, **options)
    reference = model.inter.reference_from_intra(intra.frame.clamp(0.0, 1.0))
    loss = torch.zeros((), device=frames.device)
    count = frames.shape[1] - 1
    first = _first_unrolled(count, stage.unrolled)
    with torch.no_grad():
        for t in range(1, first):
            reference = model.inter(frames[:, t], reference, quality, **options).reference
    count = count - first + 1
    bpp = motion_bpp = psnr = 0.0
    indices = [intra.latent.index]
    for t in range(first, first + count):
        result = model.inter(frames[:, t], reference, quality, **options)
        reference = result.reference
        indices += [result.motion.index, result.latent.index]
        mse = mean_squared_error(result.frame, frames[:, t])
        motion_bits = bits_per_pixel(result.motion, frames[:, t])
        bits = bits_per_pixel(result.latent, frames[:, t]) + motion_bits
        factor = 1.0 + stage.later_weight * (t - first + 1 - (count + 1) / 2)
        loss = loss + factor * (weight * mse + bits).mean() / count
        bpp += as_float(bits) / count
        motion_bpp += as_float(motion_bits) / count
        psnr += psnr_db(mse) / count
    figures = {"bpp": bpp, "motion_bpp": motion_bpp, "psnr": psnr, "last_psnr": psnr_db(mse)}
    mse, bits = (
        mean_squared_error(intra.frame, frames[:, 0]),
        bits_per_pixel(intra.latent, frames[:, 0]),
    )
    figures |= {"intra_bpp": as_float(bits), "intra_psnr": psnr_db(mse)}
    loss = loss + constraint_loss(indices, stage.constraint_weight, skip_level=stage.skip_level)
    if joint:
        share = 1 / count if stage.intra_weight is None else stage.intra_weight
        loss = loss + share * (lagrangian(intra_quality) * mse + bits).mean()
    return StepResult(loss, figures)


def _first_unrolled(count: int, unrolled: int | None) -> int:
    """First of 1..count inter frames to train: those before it only lead up to it."""
    if unrolled is None or unrolled >= count:
        return 1
    return int(torch.randint(1, count - unrolled + 2, ()))


def _start_intra(model: Swift, frames: Tensor) -> bool:
    initialize_intra(model.intra, frames[:, 0])
    return True


def _start_inter(model: Swift, frames: Tensor) -> bool:
    initialize_inter(model.inter, frames[:, 1], frames[:, 0])
    return True


def _pictures(model: Swift) -> list[nn.Module]:
    intra, inter = model.intra, model.inter
    return [
        *(intra.analysis, intra.synthesis, intra.decode_bias),
        *(inter.analysis, inter.synthesis, inter.context.transform),
    ]


TASKS: Tasks = {
    "intra": Task(1, _intra_step, lambda m: [m.intra], _start_intra),
    "inter": Task(2, _sequence_step, lambda m: [m.inter], _start_inter, _pictures),
    "joint": Task(2, _sequence_step, lambda m: [m.intra, m.inter], pictures=_pictures),
    "calibrate": Task(2, _sequence_step, lambda m: [m.intra.latent, m.inter.latent]),
}
