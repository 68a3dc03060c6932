"""Vectors coded as whole numbers: exact predictions, exact vectors, and the graphs that say so."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from nvc_models.levels import LEVELS
from nvc_models.swift.motion import VectorTransform
from nvc_models.swift.vector_graphs import (
    DecodedVectors,
    vector_graphs,
    vector_shapes,
    vector_steps,
    vectors_from,
)
from nvc_models.swift.vector_latent import (
    BETWEEN,
    MOTION,
    MOTION_CHANNELS,
    PARTS,
    SIZES,
    VECTOR_STRIDE,
    CodedVectors,
    VectorLatentModel,
    WholeNumbers,
)

HEIGHT, WIDTH = 6, 8
ALL = pytest.mark.parametrize("number", range(len(SIZES)))


def new_model() -> VectorLatentModel:
    return VectorLatentModel(3, 16).eval()


def random_model() -> VectorLatentModel:
    """A model whose indices and predictions differ from element to element."""
    torch.manual_seed(7)
    model = new_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for predictor in model.predictors:
            assert isinstance(predictor, WholeNumbers)
            predictor.weight.mul_(0.1)
    return model


def whole_numbers(*shape: int, reach: int = 60) -> Tensor:
    return torch.randint(-reach, reach + 1, shape).float()


def some_vectors() -> tuple[Tensor, Tensor, Tensor]:
    """Arranged vectors, those before and their symbols."""
    shape = (2, MOTION_CHANNELS, HEIGHT, WIDTH)
    return whole_numbers(*shape), whole_numbers(*shape), whole_numbers(*shape, reach=3)


def arranged(model: VectorLatentModel, vectors: Tensor) -> Tensor:
    """Vectors (B, 2, H/8, W/8) in pixels, with all bands, in coding order."""
    coefficients = VectorTransform()(vectors)
    return model.arrange(torch.cat((coefficients, torch.zeros_like(coefficients[:, :1])), 1))


def code(model: VectorLatentModel, y: Tensor, before: Tensor, symbols: Tensor) -> CodedVectors:
    return model(y, symbols, before, rounding="hard")


def test_parts_hold_every_coefficient_of_every_place_once() -> None:
    channels = [channel for part in PARTS for channel in part]
    assert sorted(channels) == [(c, place) for c in range(MOTION) for place in range(4)]
    assert sum(SIZES) == MOTION_CHANNELS


def test_arranging_puts_coefficients_where_parts_say_and_has_an_inverse() -> None:
    model, coefficients = new_model(), whole_numbers(2, MOTION, 2 * HEIGHT, 2 * WIDTH)
    y = model.arrange(coefficients)
    assert torch.equal(model.rearrange(y), coefficients)
    channels = [channel for part in PARTS for channel in part]
    for channel, (coefficient, place) in enumerate(channels):
        expected = coefficients[:, coefficient, place // 2 :: 2, place % 2 :: 2]
        assert torch.equal(y[:, channel], expected)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("rounding", ["noise", "hard"])
@torch.no_grad()
def test_coding_gives_the_very_vectors_back(rounding: str, training: bool) -> None:
    model, (y, before, symbols) = random_model().train(training), some_vectors()
    coded = model(y, symbols, before, rounding=rounding)
    assert torch.equal(coded.y_hat, y)
    assert torch.equal(coded.symbols, coded.symbols.round())
    assert not torch.equal(coded.symbols, y)
    assert (coded.bits > 0).all()


@torch.no_grad()
def test_what_is_skipped_is_what_was_foretold() -> None:
    model, (y, before, symbols) = random_model(), some_vectors()
    coded = model(y, symbols, before, rounding="hard", skip_level=LEVELS.count)
    assert not coded.symbols.any()
    assert not coded.bits.any()
    known: list[Tensor] = []
    for number, part in enumerate(model.split(coded.y_hat)):
        assert torch.equal(part, model.expected(number, before, known))
        known.append(part)


@ALL
@torch.no_grad()
def test_what_is_foretold_is_exact_in_any_order_of_summation(number: int) -> None:
    model, (y, before, _) = random_model(), some_vectors()
    known = model.split(y)[:number]
    found = model.expected(number, before, known)
    assert found.shape == (2, SIZES[number], HEIGHT, WIDTH)
    assert torch.equal(found, found.round())
    predictor = model.predictors[number]
    assert isinstance(predictor, WholeNumbers)
    inputs = torch.randint(-400, 401, (2, predictor.weight.shape[1], HEIGHT, WIDTH)) / 2
    expected = predictor(inputs)
    last = inputs.contiguous(memory_format=torch.channels_last)
    assert torch.equal(predictor(last), expected)
    order = torch.randperm(inputs.shape[1])
    shuffled = WholeNumbers(len(order), SIZES[number])
    shuffled.weight.copy_(predictor.weight[:, order])
    assert torch.equal(shuffled(inputs[:, order]), expected)
    assert torch.equal(predictor.double()(inputs.double()), expected.double())


@torch.no_grad()
def test_halves_go_up_and_what_a_transform_loses_does_no_harm() -> None:
    layer = WholeNumbers(1, 1)
    layer.start_as([0])
    x = torch.arange(-80, 81).view(1, 1, 1, -1) / 2
    assert torch.equal(layer(x), torch.floor(x + 0.5))
    for error in (-1e-3, 1e-3):
        assert torch.equal(layer(x + error), torch.floor(x + 0.5))


@torch.no_grad()
def test_weights_are_used_as_multiples_of_a_64th() -> None:
    layer = WholeNumbers(1, 1)
    layer.weight[0, 0, 1, 1] = 0.5 + 0.4 / 64
    x = torch.full((1, 1, 3, 3), 1000.0)
    assert torch.equal(layer(x), torch.full_like(x, 500.0))
    layer.weight[0, 0, 1, 1] = 0.5 + 0.6 / 64
    assert torch.equal(layer(x), torch.full_like(x, 516.0))


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (3.25, -7.5)])
@torch.no_grad()
def test_a_pan_that_goes_on_costs_no_symbol(dx: float, dy: float) -> None:
    model = new_model()
    vectors = torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, 4 * HEIGHT, 4 * WIDTH)
    before = arranged(model, vectors)
    coded = code(model, before, before, torch.zeros_like(before))
    assert not coded.symbols.any()
    assert torch.equal(model.rearrange(coded.y_hat)[:, :2], 4 * vectors[..., ::2, ::2])


@torch.no_grad()
def test_vectors_between_four_that_are_equal_are_foretold_at_the_start() -> None:
    model, (_, before, symbols) = new_model(), some_vectors()
    vectors = whole_numbers(2, 2, 1, 1).expand(-1, -1, 4 * HEIGHT, 4 * WIDTH) / 4
    coded = code(model, arranged(model, vectors), before, symbols)
    first, *others = model.split(coded.symbols)
    assert first.any()
    assert not torch.cat(others, 1).any()


@pytest.mark.parametrize("number", BETWEEN)
@torch.no_grad()
def test_what_lies_between_is_the_mean_of_the_middle_two_of_its_neighbours(number: int) -> None:
    model, coefficients = new_model(), torch.zeros(1, MOTION, 2 * HEIGHT, 2 * WIDTH)
    coefficients[:, :2] = whole_numbers(1, 2, 2 * HEIGHT, 2 * WIDTH)
    y = model.arrange(coefficients)
    found = model.expected(number, torch.zeros_like(y), model.split(y)[:number])
    corners, sides = [(-1, -1), (-1, 1), (1, -1), (1, 1)], [(-1, 0), (1, 0), (0, -1), (0, 1)]
    steps = corners if number == 1 else sides
    around = torch.stack([coefficients.roll((-down, -right), (2, 3)) for down, right in steps])
    middle = torch.floor(around.sort(0).values[1:3].mean(0) + 0.5)
    inside = (slice(None), slice(1, -1), slice(1, -1))
    for channel, (component, place) in enumerate(PARTS[number]):
        expected = middle[:, component, place // 2 :: 2, place % 2 :: 2]
        assert torch.equal(found[:, channel][inside], expected[inside])


@torch.no_grad()
def test_a_part_is_foretold_by_those_before_it_alone() -> None:
    model, (y, before, symbols) = random_model(), some_vectors()
    plain = code(model, y, before, symbols)
    end = 0
    for number, size in enumerate(SIZES):
        changed = y.clone()
        changed[:, end : end + size] += 5.0
        other = code(model, changed, before, symbols)
        assert torch.equal(other.symbols[:, :end], plain.symbols[:, :end])
        own = slice(end, end + size)
        assert torch.equal(other.symbols[:, own], plain.symbols[:, own] + 5.0)
        end += size
        assert number + 1 == len(SIZES) or not torch.equal(
            other.symbols[:, end:], plain.symbols[:, end:]
        )


def test_predictions_learn_from_the_bits() -> None:
    model, (y, before, symbols) = random_model().train(), some_vectors()
    coded = model(y / 10, symbols, before / 10, rounding="noise")
    coded.bits.sum().backward()
    for predictor in model.predictors:
        assert isinstance(predictor, WholeNumbers)
        assert predictor.weight.grad is not None
        assert predictor.weight.grad.abs().sum((0, 2, 3)).all()


def run_steps(
    model: VectorLatentModel, side: str, given: Mapping[str, Tensor], coded: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Every tensor of one side: what is coded comes from ``coded`` if it is not computed."""
    graphs = {graph.name: graph for graph in vector_graphs(model)}
    tensors = dict(given)
    for step in vector_steps(model, "hyper", "section"):
        if "run" not in step:
            tensors.setdefault(step["code"], coded.get(step["code"], torch.empty(0)))
        elif step.get("side", side) == side:
            graph = graphs[step["run"]]
            outputs = graph.module(*(tensors[name] for name in graph.inputs))
            outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
            tensors |= dict(zip(graph.outputs, outputs, strict=True))
    return tensors


@torch.no_grad()
def test_graphs_give_the_symbols_of_the_model_and_a_decoder_its_vectors() -> None:
    model, (y, before, symbols) = random_model(), some_vectors()
    y, before, symbols = y[:1], before[:1], symbols[:1]
    expected = code(model, y, before, symbols)
    carried = {"ref_vectors": before, "ref_vector_symbols": symbols}
    z = torch.round(model.hyper_difference(y, before))
    assert z.any()
    encoded = run_steps(model, "encode", {"motion_y": y, "motion_z": z, **carried}, {})
    names = vectors_from(model)
    coded = {name: encoded[name] for name in names[: len(SIZES)]}
    assert torch.equal(torch.cat(list(coded.values()), 1), expected.symbols)
    indices = torch.cat([encoded[f"{name}_index"] for name in coded], 1)
    torch.testing.assert_close(indices, expected.index)
    decoded = run_steps(model, "decode", {"motion_z": z, **carried}, coded)
    rest = torch.rand(1)
    tensors = (*(decoded[name] for name in names), rest)
    vectors, found, others = DecodedVectors(model)(tensors)
    assert torch.equal(vectors, y)
    assert torch.equal(found, expected.symbols)
    assert others == (rest,)
    shapes = vector_shapes(model)
    for name, tensor in encoded.items():
        side = shapes[name].stride / VECTOR_STRIDE
        size = (int(HEIGHT / side), int(WIDTH / side))
        assert tensor.shape == (1, shapes[name].channels, *size)


@torch.no_grad()
def test_steady_change_tells_no_scale_and_unsteady_does() -> None:
    model, (_, before, symbols) = random_model(), some_vectors()
    z = torch.zeros(2, 3, HEIGHT // 2, WIDTH // 2)
    plain = model.start_vectors(z, before, symbols)
    same = model.start_vectors(z, before + 100.0, symbols)
    torch.testing.assert_close(same, plain, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(model.start_vectors(z, 0.1 * before, symbols), plain, atol=0.1)


def test_magnitudes_of_what_changed_make_the_hyperlatent() -> None:
    model, (y, before, _) = random_model(), some_vectors()
    z = model.hyper_difference(y, before)
    assert z.shape == (2, 3, HEIGHT // 2, WIDTH // 2)
    torch.testing.assert_close(model.hyper_difference(before, y), z)
    torch.testing.assert_close(model.hyper_difference(y + 9.0, before + 9.0), z)
