"""The swift codec: shapes, gradients, analytic start, configuration, cost."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_codec import TINY_SWIFT, moving_picture, random_codec
from torch import Tensor

from nvc_errors import UsageError
from nvc_models.swift import Swift, SwiftConfig, preset
from nvc_models.swift.config import PRESETS
from nvc_models.swift.initialize import initialize_inter, initialize_intra

QUALITY = torch.tensor([40.0])


def psnr_db(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


@pytest.mark.parametrize("rounding", ["noise", "hard"])
@torch.no_grad()
def test_shapes_of_a_coded_sequence(rounding: str) -> None:
    codec = random_codec(TINY_SWIFT)
    frames = moving_picture(3, 64, 128)[:, None]
    intra = codec.intra(frames[0], QUALITY, rounding=rounding)
    assert intra.frame.shape == (1, 3, 64, 128)
    reference = codec.inter.reference_from_intra(intra.frame)
    assert not reference.vectors.any()
    assert not reference.symbols.any()
    shapes = [t.shape for t in vars(reference).values()]
    assert shapes == [(1, 1, 64, 128), (1, 2, 32, 64), (1, 8, 4, 8), (1, 16, 4, 8)]
    for frame in frames[1:]:
        result = codec.inter(frame, reference, QUALITY, rounding=rounding)
        reference = result.reference
        assert result.frame.shape == frame.shape
        assert [t.shape for t in vars(reference).values()] == shapes
        assert 0.0 <= float(result.frame.min()) <= float(result.frame.max()) <= 1.0
        assert torch.isfinite(result.latent.bits).all()
        assert torch.isfinite(result.motion.bits).all()


def test_every_parameter_is_trained() -> None:
    codec = random_codec(TINY_SWIFT).train()
    frames = moving_picture(3, 64, 64)[:, None]
    intra = codec.intra(frames[0], QUALITY, rounding="noise")
    reference = codec.inter.reference_from_intra(intra.frame.clamp(0, 1))
    results = [intra]
    for frame in frames[1:]:
        results.append(codec.inter(frame, reference, QUALITY, rounding="noise"))
        reference = results[-1].reference
    coded = [r.latent for r in results] + [r.motion for r in results[1:]]
    loss = sum(r.frame.square().mean() for r in results)
    loss = loss + sum((c.bits + c.hyper_bits).mean() for c in coded)
    loss.backward()
    silent = [n for n, p in codec.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@torch.no_grad()
def test_analytic_start_reconstructs_and_copies() -> None:
    frames = moving_picture(5, 128, 128)
    codec = Swift(TINY_SWIFT).eval()
    initialize_intra(codec.intra, frames)
    initialize_inter(codec.inter, frames[1:], frames[:-1])
    quality = torch.full((4,), 63.0)
    assert psnr_db(codec.intra(frames[1:], quality, rounding="hard").frame, frames[1:]) > 28
    reference = codec.inter.reference_from_intra(frames[:-1])
    moved = codec.inter(frames[1:], reference, quality, rounding="hard")
    assert psnr_db(moved.frame, frames[1:]) > psnr_db(frames[:-1], frames[1:]) + 2
    still = codec.inter(frames[:-1], reference, quality, rounding="hard")
    assert psnr_db(still.frame, frames[:-1]) > 28
    assert not still.reference.vectors.any()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_configurations_survive_json(name: str) -> None:
    data = json.loads(json.dumps(preset(name).to_json()))
    assert SwiftConfig.from_json(data) == preset(name)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="swift-m, swift-s"):
        preset("huge")
