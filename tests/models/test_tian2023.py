"""The codec's two models: shapes, hard rounding, carried state, configuration, analytic start."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny_codec import TINY, TINY_CONV, TINY_SEPARABLE, moving_picture, random_codec
from torch import Tensor

from nvc_errors import UsageError
from nvc_models.latent import merge_checkerboard, split_checkerboard
from nvc_models.tian2023 import Tian2023, Tian2023Config, preset
from nvc_models.tian2023.config import PRESETS
from nvc_models.tian2023.initialize import (
    initialize_inter,
    initialize_intra,
    initialize_motion,
    supports_analytic_start,
)

CONFIGS = pytest.mark.parametrize("name", sorted(TINY))
QUALITY = torch.tensor([40.0])


def psnr_db(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


@CONFIGS
@pytest.mark.parametrize("rounding", ["noise", "hard"])
@torch.no_grad()
def test_shapes_of_a_coded_sequence(name: str, rounding: str) -> None:
    codec = random_codec(TINY[name])
    frames = moving_picture(3, 64, 128)[:, None]
    intra = codec.intra(frames[0], QUALITY, rounding=rounding)
    assert intra.frame.shape == (1, 3, 64, 128)
    assert intra.latent.bits.shape == intra.latent.hyper_bits.shape == (1,)
    reference = codec.inter.reference_from_intra(intra.frame)
    assert not reference.y_hat.any()
    assert not reference.motion_hat.any()
    shapes = [t.shape for t in vars(reference).values()]
    for frame in frames[1:]:
        result = codec.inter(frame, reference, QUALITY, rounding=rounding)
        reference = result.reference
        assert result.frame.shape == result.prediction.shape == frame.shape
        assert [t.shape for t in vars(reference).values()] == shapes
        assert 0.0 <= float(result.frame.min()) <= float(result.frame.max()) <= 1.0
        assert reference.y_hat.any()
        assert torch.isfinite(result.context.bits + result.motion.bits).all()


@CONFIGS
@torch.no_grad()
def test_hard_rounding_codes_whole_symbols(name: str) -> None:
    codec = random_codec(TINY[name])
    frame, before = moving_picture(2, 64, 64)[:, None]
    y = codec.intra.encode(frame, codec.intra.encode_gain(QUALITY))
    latent = codec.intra.latent
    coded = latent(y, rounding="hard")
    part_0 = latent.part_0(torch.round(latent.hyper_analysis(y)))
    hat_0, hat_1 = split_checkerboard(coded.y_hat / part_0.step)
    _, mean_1 = latent.part_1(hat_0, *part_0.kept)
    symbols = merge_checkerboard(hat_0 - part_0.mean, hat_1 - mean_1)
    torch.testing.assert_close(symbols, symbols.round(), rtol=0, atol=2e-3)
    reference = codec.inter.reference_from_intra(before)
    once = codec.inter(frame, reference, QUALITY, rounding="hard")
    again = codec.inter(frame, reference, QUALITY, rounding="hard")
    assert torch.equal(once.frame, again.frame)


@CONFIGS
@torch.no_grad()
def test_a_frame_depends_on_what_is_carried(name: str) -> None:
    codec = random_codec(TINY[name])
    frame, before = moving_picture(2, 64, 64)[:, None]
    reference = codec.inter.reference_from_intra(before)
    plain = codec.inter(frame, reference, QUALITY, rounding="hard")
    for field in ("feature", "y_hat", "motion_hat"):
        changed = replace(reference, **{field: getattr(reference, field) + 20.0})
        other = codec.inter(frame, changed, QUALITY, rounding="hard")
        bits = [r.context.bits + r.motion.bits for r in (plain, other)]
        assert not torch.equal(*bits), field


@CONFIGS
def test_every_parameter_learns(name: str) -> None:
    codec = random_codec(TINY[name]).train()
    with torch.no_grad():
        for latent in (codec.intra.latent, codec.inter.motion.latent, codec.inter.latent):
            latent.hyper_encoder[-1].bias.fill_(3.0)  # or small hyperlatents all round to zero
    frames = moving_picture(3, 64, 64)[:, None]
    intra = codec.intra(frames[0], QUALITY, rounding="noise")
    reference = codec.inter.reference_from_intra(intra.frame.clamp(0, 1))
    loss = intra.frame.square().mean() + intra.latent.bits.mean() + intra.latent.hyper_bits.mean()
    for frame in frames[1:]:
        result = codec.inter(frame, reference, QUALITY, rounding="noise")
        reference = result.reference
        for coded in (result.motion, result.context):
            loss = loss + (coded.bits + coded.hyper_bits).mean() + coded.y_hat.square().mean()
        loss = loss + result.frame.square().mean()
    loss.backward()
    silent = [n for n, p in codec.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_configurations_survive_json(name: str) -> None:
    data = json.loads(json.dumps(preset(name).to_json()))
    assert Tian2023Config.from_json(data) == preset(name)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="full, lite, paper"):
        preset("huge")


def test_only_the_separable_style_starts_analytically() -> None:
    assert supports_analytic_start(Tian2023(TINY_SEPARABLE))
    assert not supports_analytic_start(Tian2023(TINY_CONV))
    assert supports_analytic_start(Tian2023(preset("lite")))


@torch.no_grad()
def test_analytic_start_reconstructs() -> None:
    frames = moving_picture(5, 128, 128)
    current, before = frames[1:], frames[:-1]
    quality = torch.full((4,), 63.0)
    plain, codec = Tian2023(TINY_SEPARABLE).eval(), Tian2023(TINY_SEPARABLE).eval()
    initialize_intra(codec.intra, frames)
    flow = codec.inter.estimate_flow(current, before)
    initialize_motion(codec.inter.motion, flow)
    initialize_inter(codec.inter, current, before)

    def inter_psnr_db(model: Tian2023) -> float:
        reference = model.inter.reference_from_intra(before)
        result = model.inter(current, reference, quality, rounding="hard")
        return psnr_db(result.frame, current)

    intra_db = [
        psnr_db(model.intra(current, quality, rounding="hard").frame, current)
        for model in (plain, codec)
    ]
    assert intra_db[1] > 28
    assert intra_db[1] > intra_db[0] + 12
    inter_db = [inter_psnr_db(model) for model in (plain, codec)]
    assert inter_db[1] > 28
    assert inter_db[1] > inter_db[0] + 10
