"""Losses of the training stages: each maps a batch of sequences to a scalar and figures to log."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nvc_errors import UsageError
from nvc_models.latent import Quantized
from nvc_models.rate import MAX_QUALITY, lagrangian
from nvc_models.tian2023.codec import Tian2023
from nvc_models.training.schedule import Stage


@dataclass
class StepResult:
    """Loss to differentiate, and figures (floats) for the log."""

    loss: Tensor
    figures: dict[str, float]


def _float(x: Tensor) -> float:
    """Mean of a tensor as a plain number."""
    return float(x.detach().mean())


def _bpp(coded: Quantized, frame: Tensor) -> Tensor:
    pixels = frame.shape[-1] * frame.shape[-2]
    return (coded.bits + coded.hyper_bits) / pixels


def _mse(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean((1, 2, 3))


def _db(mse: Tensor) -> float:
    return float(-10 * torch.log10(mse.detach().clamp_min(1e-9)).mean())


def trained_parameters(model: Tian2023, task: str) -> list[nn.Parameter]:
    """Parameters a task changes; everything else stays frozen."""
    parts: list[nn.Module]
    if task == "intra":
        parts = [model.intra]
    elif task == "flow":
        parts = [model.inter.flow]
    elif task == "motion":
        parts = [model.inter.flow, model.inter.motion]
    elif task == "inter":
        parts = [model.inter]
    elif task == "joint":
        parts = [model.intra, model.inter]
    elif task == "calibrate":
        parts = [model.intra.latent, model.inter.latent, model.inter.motion.latent]
    else:
        raise UsageError(f"unknown task {task!r}")
    return [p for part in parts for p in part.parameters()]


def random_quality(batch: int, device: torch.device) -> Tensor:
    """Quality per sample, uniform over [0, 63]; drawn on the CPU, alike for every device."""
    return (torch.rand(batch) * MAX_QUALITY).to(device)


def intra_step(model: Tian2023, frames: Tensor, stage: Stage) -> StepResult:
    """Return lambda * MSE + bits per pixel of single frames; frames (B, 1, 3, H, W)."""
    frame = frames[:, 0]
    quality = random_quality(frame.shape[0], frame.device)
    result = model.intra(frame, quality, rounding=stage.rounding, skip_level=stage.skip_level)
    mse, bpp = _mse(result.frame, frame), _bpp(result.latent, frame)
    loss = (lagrangian(quality) * mse + bpp).mean()
    return StepResult(
        loss, {"bpp": _float(bpp), "psnr": _db(mse), "index": _float(result.latent.index)}
    )


def flow_step(model: Tian2023, frames: Tensor, stage: Stage) -> StepResult:
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
        {"error": _float(error), "still": _float(still), "flow": _float(flow.abs())},
    )


def motion_step(model: Tian2023, frames: Tensor, stage: Stage) -> StepResult:
    """Return lambda * MSE of the motion-compensated reference + motion bits per pixel."""
    frame, reference = frames[:, 1], frames[:, 0]
    inter, quality = model.inter, random_quality(frames.shape[0], frames.device)
    flow = inter.estimate_flow(frame, reference)
    y = inter.motion.encode(flow, inter.motion.encode_gain(quality))
    prior = torch.zeros_like(y)
    coded = inter.motion.latent(y.float(), prior, rounding=stage.rounding)
    decoded = inter.motion.decode(coded.y_hat, inter.motion.decode_gain(quality))
    prediction = inter.context.predict(reference, decoded.float())
    mse, bpp = _mse(prediction, frame), _bpp(coded, frame)
    loss = (lagrangian(quality) * mse + bpp).mean()
    return StepResult(
        loss, {"bpp": _float(bpp), "psnr": _db(mse), "still": _db(_mse(frame, reference))}
    )


def sequence_step(model: Tian2023, frames: Tensor, stage: Stage) -> StepResult:
    """Code a GOP of one intra and T - 1 inter frames; ``joint`` also trains the intra model."""
    joint = stage.task in ("joint", "calibrate")
    quality = random_quality(frames.shape[0], frames.device)
    weight = lagrangian(quality)
    with torch.set_grad_enabled(joint):
        model.intra.train(joint)
        intra = model.intra(
            frames[:, 0], quality, rounding=stage.rounding, skip_level=stage.skip_level
        )
    start = intra.frame.clamp(0.0, 1.0)
    reference = model.inter.reference_from_intra(start)
    loss = torch.zeros(())
    count = frames.shape[1] - 1
    motion_bpp = context_bpp = psnr = prediction = 0.0
    for t in range(1, count + 1):
        frame = frames[:, t]
        result = model.inter(
            frame, reference, quality, rounding=stage.rounding, skip_level=stage.skip_level
        )
        reference = result.reference
        mse = _mse(result.frame, frame)
        motion, context = _bpp(result.motion, frame), _bpp(result.context, frame)
        factor = 1.0 + stage.later_weight * (t - (count + 1) / 2)
        loss = loss + factor * (weight * mse + motion + context).mean() / count
        motion_bpp += _float(motion) / count
        context_bpp += _float(context) / count
        psnr += _db(mse) / count
        prediction += _db(_mse(result.prediction, frame)) / count
    figures = {"motion": motion_bpp, "context": context_bpp, "psnr": psnr, "warp": prediction}
    if joint:
        mse, bpp = _mse(intra.frame, frames[:, 0]), _bpp(intra.latent, frames[:, 0])
        loss = loss + (weight * mse + bpp).mean() / count
        figures |= {"intra_bpp": _float(bpp), "intra_psnr": _db(mse)}
    return StepResult(loss, figures)


STEPS = {
    "intra": intra_step,
    "flow": flow_step,
    "motion": motion_step,
    "inter": sequence_step,
    "joint": sequence_step,
    "calibrate": sequence_step,
}
