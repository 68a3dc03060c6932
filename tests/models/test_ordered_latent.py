"""The entropy model in ordered parts: what each part may know, and its graphs."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from torch import Tensor, nn

from nvc_models.latent import laplace_bits
from nvc_models.latent_graphs import LATENT_STRIDE
from nvc_models.levels import LEVELS
from nvc_models.linear_start import start_ordered_scales
from nvc_models.ordered_latent import MAX_SEEN, OrderedLatentConfig, OrderedLatentModel, magnitudes
from nvc_models.ordered_latent_graphs import (
    SymbolsGraph,
    next_graphs,
    ordered_shapes,
    ordered_steps,
    part_names,
    start_graph,
)

PARTS = (2, 4, 6)
SKIP_LEVEL = 9


def random_model() -> OrderedLatentModel:
    """A model whose indices differ from element to element."""
    torch.manual_seed(7)
    model = OrderedLatentModel(OrderedLatentConfig(12, 3, PARTS, (5,), 8, 0.75)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def random_input() -> tuple[Tensor, Tensor, Tensor]:
    """A latent, the symbols before and a prior."""
    generator = torch.Generator().manual_seed(9)
    y = 3.0 * torch.randn(1, 12, 8, 8, generator=generator)
    before = torch.randint(-3, 4, (1, 12, 8, 8), generator=generator).float()
    return y, before, torch.randn(1, 5, 8, 8, generator=generator)


def test_parts_have_to_add_up() -> None:
    with pytest.raises(ValueError, match="12 channels"):
        OrderedLatentConfig(12, 3, (2, 4), (5,), 8)


def test_split_cuts_in_coding_order() -> None:
    y = random_input()[0]
    parts = random_model().split(y)
    assert [part.shape[1] for part in parts] == list(PARTS)
    assert torch.equal(torch.cat(parts, 1), y)


@torch.no_grad()
def test_a_part_knows_nothing_of_itself_and_of_later_ones() -> None:
    model, (y, before, prior) = random_model(), random_input()
    z = torch.round(model.hyper_analysis(y))
    found = []
    for changed in range(len(PARTS) + 1):
        symbols = list(model.split(torch.round(y)))
        for number in range(changed, len(PARTS)):
            symbols[number] = symbols[number] + 1.0
        features = model.start(z, before, prior)
        indices = [model.scale_index(0, features)]
        for part in range(len(PARTS) - 1):
            features = model.update(part, features, symbols[part])
            indices.append(model.scale_index(part + 1, features))
        found.append(indices)
    unchanged = found[-1]
    for changed, indices in enumerate(found[:-1]):
        for number, index in enumerate(indices):
            assert torch.equal(index, unchanged[number]) == (number <= changed)


@torch.no_grad()
def test_coding_a_part_depends_on_those_before_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, (y, before, prior) = random_model(), random_input()
    z = model.hyper_analysis(y)
    monkeypatch.setattr(model, "hyper_analysis", lambda _: z)
    plain = model(y, before, prior, rounding="hard")
    ends = list(accumulate(PARTS))
    for number, (end, size) in enumerate(zip(ends, PARTS, strict=True)):
        changed = y.clone()
        changed[:, end - size : end] *= 3.0
        other = model(changed, before, prior, rounding="hard")
        assert torch.equal(other.index[:, :end], plain.index[:, :end])
        assert torch.equal(other.y_hat[:, : end - size], plain.y_hat[:, : end - size])
        for later in model.split(other.index - plain.index)[number + 1 :]:
            assert later.any()


@torch.no_grad()
def test_signs_tell_nothing_and_magnitudes_do() -> None:
    model, (y, before, prior) = random_model(), random_input()
    coded = model(y, before, prior, rounding="hard")
    index, signs = coded.index, torch.randn_like(y).sign()
    turned = model(signs * y, -before, prior, rounding="hard")
    assert torch.equal(turned.index, index)
    assert torch.equal(turned.bits, coded.bits)
    assert torch.equal(turned.y_hat, signs * coded.y_hat)
    assert not torch.equal(model(y, 2.0 * before, prior, rounding="hard").index, index)
    assert not torch.equal(model(y, before, 2.0 * prior, rounding="hard").index, index)
    assert float(magnitudes(torch.tensor([-100.0]))) == MAX_SEEN


@torch.no_grad()
def test_hard_rounding_gives_symbols_and_skips() -> None:
    model, (y, before, prior) = random_model(), random_input()
    coded = model(y, before, prior, rounding="hard", skip_level=SKIP_LEVEL)
    skipped = coded.index < SKIP_LEVEL + 1
    assert skipped.any()
    assert not skipped.all()
    assert not coded.y_hat[skipped].any()
    assert torch.equal(coded.y_hat[~skipped], model.round(y)[~skipped])
    assert torch.equal(coded.y_hat, torch.round(coded.y_hat))
    assert (coded.y_hat[y.abs() < 0.74] == 0).all()
    everything = model(y, before, prior, rounding="hard")
    assert float(everything.bits) > float(coded.bits) > 0.0


@torch.no_grad()
def test_while_training_what_is_skipped_counts_too() -> None:
    model, (y, before, prior) = random_model(), random_input()
    skipped = model.train()(y, before, prior, rounding="hard", skip_level=LEVELS.count)
    coded = model(y, before, prior, rounding="hard")
    assert (skipped.bits > 0).all()
    assert not skipped.y_hat.any()
    assert coded.y_hat.any()


@torch.no_grad()
def test_bits_are_those_of_the_levels_that_a_coder_uses() -> None:
    model, (y, before, prior) = random_model(), random_input()
    coded = model(y, before, prior, rounding="hard")
    levels = (coded.index.floor() + 0.5).clamp(max=LEVELS.index_max)
    assert model.shape is not None
    bits = laplace_bits(coded.y_hat, levels) + model.shape.bits(coded.y_hat, coded.index)
    torch.testing.assert_close(coded.bits, bits.sum((1, 2, 3)))
    z = torch.round(model.hyper_analysis(y))
    torch.testing.assert_close(coded.hyper_bits, model.factorized.bits(z).sum((1, 2, 3)))


@torch.no_grad()
def test_scales_start_where_the_latent_is() -> None:
    model, (_, before, prior) = random_model(), random_input()
    sizes = torch.logspace(-1, 1, 12)
    y = torch.randn(3, 12, 32, 32) * sizes.view(1, -1, 1, 1)
    for head in model.heads:
        nn.init.zeros_(head.weight)
    start_ordered_scales(model, y)
    index = model(y[:1, :, :8, :8], before, prior, rounding="hard").index
    expected = torch.from_numpy(LEVELS.index_from_sigma(sizes)).float()
    assert (index - expected.view(1, -1, 1, 1)).abs().max() < 0.2


def test_every_parameter_learns() -> None:
    model, (y, before, prior) = random_model().train(), random_input()
    coded = model(y, before, prior, rounding="hard")
    (coded.bits + coded.hyper_bits).sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@torch.no_grad()
def test_graphs_give_the_symbols_and_indices_of_the_model() -> None:
    model, (y, before, prior) = random_model(), random_input()
    coded = model(y, before, prior, rounding="hard", skip_level=SKIP_LEVEL)
    *parts, z = SymbolsGraph(model)(y)
    kept = [
        part * (index >= SKIP_LEVEL + 1)
        for part, index in zip(parts, model.split(coded.index), strict=True)
    ]
    assert torch.equal(torch.cat(kept, 1), coded.y_hat)
    symbols = dict(zip(part_names("p", model), kept, strict=True))
    tensors = {"p_z": z, "prior": prior}
    tensors |= {f"ref_{n}": t for n, t in zip(symbols, model.split(before), strict=True)}
    graphs = {g.name: g for g in (start_graph("p", model, ["prior"]), *next_graphs("p", model))}
    shapes = ordered_shapes("p", model)
    for step in ordered_steps("p", model, "hyper", "section")[1:]:
        if "run" in step:
            graph = graphs[step["run"]]
            outputs = graph.module(*(tensors[name] for name in graph.inputs))
            outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
            tensors |= dict(zip(graph.outputs, outputs, strict=True))
        else:
            assert step["index"] in tensors
            tensors[step["code"]] = symbols[step["code"]]
    found = torch.cat([tensors[f"{name}_index"] for name in symbols], 1)
    torch.testing.assert_close(found, coded.index)
    assert set(shapes) == set(tensors) - {"prior"}
    for name, shape in shapes.items():
        side = y.shape[-1] * LATENT_STRIDE // shape.stride
        assert tensors[name].shape == (1, shape.channels, side, side)
