"""Training tasks of the Tian-2023 family: each maps a batch of sequences to a loss and figures."""

from __future__ import annotations

import torch
from torch import Tensor

from nvc_models.rate import lagrangian
from nvc_models.tian2023.codec import Tian2023
from nvc_models.tian2023.initialize import (
    initialize_inter,
    initialize_intra,
    initialize_motion,
    supports_analytic_start,
)
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


def _intra_step(model: Tian2023, frames: Tensor, stage: Stage) -> StepResult:
    """Return lambda * MSE + bits per pixel of single frames; frames (B, 1, 3, H, W)."""
    frame = frames[:, 0]
    quality = random_quality(frame.shape[0], frame.device)
    result = model.intra(frame, quality, rounding=stage.rounding, skip_level=stage.skip_level)
    mse, bpp = mean_squared_error(result.frame, frame), bits_per_pixel(result.latent, frame)
    loss = (lagrangian(quality) * mse + bpp).mean()
    return StepResult(
        loss, {"bpp": as_float(bpp), "psnr": psnr_db(mse), "index": as_float(result.latent.index)}
    )


def _flow_step(model: Tian2023, frames: Tensor, stage: Stage) -> StepResult:
    """Photometric error of the motion-compensated reference, on original frames."""
    del stage
    frame, reference = frames[:, 1], frames[:, 0]
    flow = model.inter.estimate_flow(frame, reference)
    prediction = model.inter.context.predict(reference, flow.float())
    error = torch.sqrt((prediction - frame).square() + 1e-6).mean()
    roughness = flow.diff(dim=2).abs().mean() + flow.diff(dim=3).abs().mean()
    still = (frame - reference).abs().mean()
    return StepResult(
        error + 0.002 * roughness,
        {"error": as_float(error), "still": as_float(still), "flow": as_float(flow.abs())},
    )


def _motion_step(model: Tian2023, frames: Tensor, stage: Stage) -> StepResult:
    """Return lambda * MSE of the motion-compensated reference + motion bits per pixel."""
    frame, reference = frames[:, 1], frames[:, 0]
    inter, quality = model.inter, random_quality(frames.shape[0], frames.device)
    flow = inter.estimate_flow(frame, reference)
    y = inter.motion.encode(flow, inter.motion.encode_gain(quality))
    prior = torch.zeros_like(y)
    coded = inter.motion.latent(y.float(), prior, rounding=stage.rounding)
    decoded = inter.motion.decode(coded.y_hat, inter.motion.decode_gain(quality))
    prediction = inter.context.predict(reference, decoded.float())
    mse, bpp = mean_squared_error(prediction, frame), bits_per_pixel(coded, frame)
    loss = (lagrangian(quality) * mse + bpp).mean()
    return StepResult(
        loss,
        {
            "bpp": as_float(bpp),
            "psnr": psnr_db(mse),
            "still": psnr_db(mean_squared_error(frame, reference)),
        },
    )


def _sequence_step(model: Tian2023, frames: Tensor, stage: Stage) -> StepResult:
    """Code a GOP of one intra and T - 1 inter frames; ``joint`` also trains the intra model.

    Intra frames are coded up to ``stage.intra_offset`` qualities better than the others.
    """
    joint = stage.task in ("joint", "calibrate")
    quality = random_quality(frames.shape[0], frames.device)
    weight = lagrangian(quality)
    intra_quality = better_quality(quality, stage.intra_offset)
    with torch.set_grad_enabled(joint):
        model.intra.train(joint)
        intra = model.intra(
            frames[:, 0], intra_quality, rounding=stage.rounding, skip_level=stage.skip_level
        )
    start = intra.frame.clamp(0.0, 1.0)
    reference = model.inter.reference_from_intra(start)
    loss = torch.zeros(())
    count = frames.shape[1] - 1
    motion_bpp = context_bpp = psnr = prediction = 0.0
    indices = [intra.latent.index]
    for t in range(1, count + 1):
        frame = frames[:, t]
        result = model.inter(
            frame, reference, quality, rounding=stage.rounding, skip_level=stage.skip_level
        )
        reference = result.reference
        indices += [result.motion.index, result.context.index]
        mse = mean_squared_error(result.frame, frame)
        motion, context = (
            bits_per_pixel(result.motion, frame),
            bits_per_pixel(result.context, frame),
        )
        factor = 1.0 + stage.later_weight * (t - (count + 1) / 2)
        loss = loss + factor * (weight * mse + motion + context).mean() / count
        motion_bpp += as_float(motion) / count
        context_bpp += as_float(context) / count
        psnr += psnr_db(mse) / count
        prediction += psnr_db(mean_squared_error(result.prediction, frame)) / count
    figures = {"motion": motion_bpp, "context": context_bpp, "psnr": psnr, "warp": prediction}
    loss = loss + constraint_loss(indices, stage.constraint_weight, skip_level=stage.skip_level)
    if joint:
        mse, bpp = (
            mean_squared_error(intra.frame, frames[:, 0]),
            bits_per_pixel(intra.latent, frames[:, 0]),
        )
        share = 1 / count if stage.intra_weight is None else stage.intra_weight
        loss = loss + share * (lagrangian(intra_quality) * mse + bpp).mean()
        figures |= {"intra_bpp": as_float(bpp), "intra_psnr": psnr_db(mse)}
    return StepResult(loss, figures)


def _start_intra(model: Tian2023, frames: Tensor) -> bool:
    if supports_analytic_start(model):
        initialize_intra(model.intra, frames[:, 0])
    return supports_analytic_start(model)


def _start_motion(model: Tian2023, frames: Tensor) -> bool:
    if supports_analytic_start(model):
        with torch.no_grad():
            flow = model.inter.estimate_flow(frames[:, 1], frames[:, 0])
        initialize_motion(model.inter.motion, flow)
    return supports_analytic_start(model)


def _start_inter(model: Tian2023, frames: Tensor) -> bool:
    if supports_analytic_start(model):
        initialize_inter(model.inter, frames[:, 1], frames[:, 0])
    return supports_analytic_start(model)


TASKS: Tasks = {
    "intra": Task(1, _intra_step, lambda m: [m.intra], _start_intra),
    "flow": Task(2, _flow_step, lambda m: [m.inter.flow]),
    "motion": Task(2, _motion_step, lambda m: [m.inter.flow, m.inter.motion], _start_motion),
    "inter": Task(2, _sequence_step, lambda m: [m.inter], _start_inter),
    "joint": Task(2, _sequence_step, lambda m: [m.intra, m.inter]),
    "calibrate": Task(
        2, _sequence_step, lambda m: [m.intra.latent, m.inter.latent, m.inter.motion.latent]
    ),
}
