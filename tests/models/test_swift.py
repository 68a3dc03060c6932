"""The swift codec: shapes, gradients, analytic start, configuration, cost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny_codec import TINY_SWIFT, TINY_SWIFT_M, moving_picture, random_codec
from torch import Tensor
from torch.nn import functional as F
from torch_program import carried, run_program

from nvc_errors import UsageError
from nvc_models.families import graphs_from_model
from nvc_models.swift import InterModel, Reference, Swift, SwiftConfig, preset
from nvc_models.swift.codec import InterTransform
from nvc_models.swift.config import PRESETS, InterConfig
from nvc_models.swift.initialize import initialize_inter, initialize_intra
from nvc_models.swift.planes import (
    CHANNELS,
    blocks_from_planes,
    planes_from_blocks,
    planes_from_rgb,
)

QUALITY = torch.tensor([40.0])
BOTH = pytest.mark.parametrize("tiny", [TINY_SWIFT, TINY_SWIFT_M], ids=lambda config: config.name)


def psnr_db(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


@BOTH
@pytest.mark.parametrize("rounding", ["noise", "hard"])
@torch.no_grad()
def test_shapes_of_a_coded_sequence(rounding: str, tiny: SwiftConfig) -> None:
    codec = random_codec(tiny)
    frames = moving_picture(3, 64, 128)[:, None]
    intra = codec.intra(frames[0], QUALITY, rounding=rounding)
    assert intra.frame.shape == (1, 3, 64, 128)
    reference = codec.inter.reference_from_intra(intra.frame)
    for nothing in (reference.vectors, reference.vector_symbols, reference.symbols):
        assert not nothing.any()
    shapes = [t.shape for t in vars(reference).values()]
    assert shapes[:2] == [(1, 1, 64, 128), (1, 2, 32, 64)]
    assert shapes[2:] == [(1, 36, 2, 4), (1, 36, 2, 4), (1, tiny.inter.latent, 4, 8)]
    for frame in frames[1:]:
        result = codec.inter(frame, reference, QUALITY, rounding=rounding)
        reference = result.reference
        assert result.frame.shape == frame.shape
        assert [t.shape for t in vars(reference).values()] == shapes
        assert 0.0 <= float(result.frame.min()) <= float(result.frame.max()) <= 1.0
        assert torch.isfinite(result.latent.bits).all()
        assert torch.isfinite(result.motion.bits).all()


@BOTH
@pytest.mark.parametrize("rounding", ["noise", "hard"])
def test_every_parameter_is_trained_shapes_of_symbols_by_what_is_rounded(
    rounding: str, tiny: SwiftConfig
) -> None:
    codec = random_codec(tiny).train()
    codec.inter.encode_gain.log_gain.data[0] -= 9.0  # at quality 0 no block has a symbol
    codec.inter.strength.apart.data.fill_(0.3)  # and gets less than all of the filter
    frames = moving_picture(3, 64, 64)[:, None]
    intra = codec.intra(frames[0], QUALITY, rounding=rounding)
    reference = codec.inter.reference_from_intra(intra.frame.clamp(0, 1))
    results = [intra]
    for frame, quality in zip(frames[1:], (QUALITY, torch.zeros(1)), strict=True):
        results.append(codec.inter(frame, reference, quality, rounding=rounding))
        reference = results[-1].reference
    coded = [r.latent for r in results] + [r.motion for r in results[1:]]
    loss = sum(r.frame.square().mean() for r in results)
    loss = loss + sum((c.bits + c.hyper_bits).mean() for c in coded)
    loss.backward()
    silent = [n for n, p in codec.named_parameters() if p.grad is None or not p.grad.any()]
    shapes = [n for n, _ in codec.named_parameters() if n.endswith("shape.log_factor")]
    assert len(shapes) == 3
    assert silent == (shapes if rounding == "noise" else [])


@BOTH
@torch.no_grad()
def test_analytic_start_reconstructs_and_copies(tiny: SwiftConfig) -> None:
    frames = moving_picture(5, 128, 128)
    codec = Swift(tiny).eval()
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


@BOTH
@torch.no_grad()
def test_graphs_run_as_a_program_says_give_what_the_models_give(tiny: SwiftConfig) -> None:
    codec, frames = random_codec(tiny), moving_picture(4, 64, 128)[:, None]
    graphs = graphs_from_model(codec)
    quality = int(QUALITY)
    tensors = run_program(graphs, "intra", quality, {"frame": frames[0]})
    intra = codec.intra(frames[0], QUALITY, rounding="hard")
    torch.testing.assert_close(tensors["decoded"].clamp(0.0, 1.0), intra.frame)
    parts = [f"inter_{i}" for i in range(len(tiny.inter.parts))]
    # Planes of a program may hold colours that no frame has: a frame is clamped in RGB.
    planes = {name: tensors[name] for name in ("luma", "chroma")}
    expected, program = replace(codec.inter.reference_from_intra(intra.frame), **planes), "intra"
    for frame in frames[1:]:
        found = carried(graphs, program, tensors)
        symbols = torch.cat([found[f"ref_{name}"] for name in parts], 1)
        names = ("ref_luma", "ref_chroma", "ref_vectors", "ref_vector_symbols")
        reference = Reference(*(found[name] for name in names), symbols)
        torch.testing.assert_close(vars(reference), vars(expected))
        tensors = run_program(graphs, program := "inter", quality, {"frame": frame} | found)
        # From what the graphs carry: the choices of a search may hang on its last bit.
        result = codec.inter(frame, reference, QUALITY, rounding="hard")
        symbols = torch.cat([tensors[name] for name in parts], 1)
        assert symbols.any()
        assert torch.equal(symbols, result.latent.y_hat)
        indices = torch.cat([tensors[f"{name}_index"] for name in parts], 1)
        torch.testing.assert_close(indices, result.latent.index)
        assert tensors["vector_symbols"].any()
        assert torch.equal(tensors["vector_symbols"], result.motion.symbols)
        assert torch.equal(tensors["vectors"], result.motion.y_hat)
        torch.testing.assert_close(tensors["decoded"].clamp(0.0, 1.0), result.frame)
        expected = result.reference


@torch.no_grad()
def test_what_equals_its_prediction_costs_no_symbol() -> None:
    codec, frame = random_codec(TINY_SWIFT), moving_picture(1, 64, 64)
    blocks = blocks_from_planes(*planes_from_rgb(frame))
    assert not codec.inter.analysis(frame, blocks).any()
    assert codec.inter.analysis(frame, blocks + 0.1).any()


@torch.no_grad()
def test_symbols_before_change_scales_and_nothing_else() -> None:
    codec, (before, frame) = random_codec(TINY_SWIFT), moving_picture(2, 64, 64)[:, None]
    reference = codec.inter.reference_from_intra(before)
    plain = codec.inter(frame, reference, QUALITY, rounding="hard")
    changed = replace(reference, symbols=reference.symbols + 2.0)
    other = codec.inter(frame, changed, QUALITY, rounding="hard")
    assert not torch.equal(other.latent.index, plain.latent.index)
    assert torch.equal(other.frame, plain.frame)
    assert torch.equal(other.reference.symbols, plain.reference.symbols)


@pytest.mark.parametrize(
    "config", [c.inter for c in (TINY_SWIFT, TINY_SWIFT_M, *PRESETS.values())], ids=str
)
def test_a_latent_holds_the_coefficients_of_four_blocks_group_by_group(
    config: InterConfig,
) -> None:
    channels = config.channels()
    every = {(c, y, x) for c in range(config.coefficients) for y in (0, 1) for x in (0, 1)}
    assert len(channels) == config.latent == sum(config.parts)
    assert set(channels) == every
    ends = [sum(config.parts[: i + 1]) for i in range(len(config.parts))]
    parts = [channels[end - size : end] for end, size in zip(ends, config.parts, strict=True)]
    corners = ({(0, 0), (1, 1)}, {(0, 1), (1, 0)})
    starts = [sum(config.groups[:i]) for i in range(len(config.groups))]
    for number, part in enumerate(parts):
        first, count = starts[number // 2], config.groups[number // 2]
        assert {c for c, _, _ in part} == set(range(first, first + count))
        assert {(y, x) for _, y, x in part} == corners[number % 2]


@torch.no_grad()
def test_all_coefficients_give_the_frame_back_each_in_its_channel() -> None:
    model = InterModel(InterConfig((8, CHANNELS - 8), 4, 8)).eval()
    before, frame = torch.rand(2, 1, 3, 64, 64)
    initialize_inter(model, frame, before)
    moved = torch.rand(1, CHANNELS, 8, 8) - 0.5
    y = model.analysis(frame, moved)
    blocks = moved + blocks_from_planes(*model.synthesis.transform(y))
    expected = blocks_from_planes(*planes_from_rgb(frame))
    torch.testing.assert_close(blocks, expected, rtol=0, atol=1e-4)
    moved[:, :, 2, 5] += 0.1
    changed = (model.analysis(frame, moved) - y).abs() > 1e-4
    assert changed[0, :, 1, 2].any()
    assert changed.sum() == changed[0, :, 1, 2].sum()
    for channel, (_, row, column) in enumerate(model.config.channels()):
        assert (row, column) == (0, 1) or not changed[0, channel].any()


def test_four_blocks_are_put_together_as_one_after_the_other_is() -> None:
    transform, y = InterTransform(20), torch.rand(2, 20, 3, 5)
    one_by_one = F.pixel_shuffle(F.conv2d(y, transform.weight), 2)
    torch.testing.assert_close(transform(y), planes_from_blocks(one_by_one))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_configurations_survive_json(name: str) -> None:
    data = json.loads(json.dumps(preset(name).to_json()))
    assert SwiftConfig.from_json(data) == preset(name)


def test_a_configuration_without_defaults_survives_json() -> None:
    data = json.loads(json.dumps(TINY_SWIFT_M.to_json()))
    assert SwiftConfig.from_json(data) == TINY_SWIFT_M


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="swift-m, swift-s"):
        preset("huge")
