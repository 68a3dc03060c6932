"""The entropy model in ordered parts: what each part may know, and its graphs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nvc_models.ordered_latent import MAX_SEEN, OrderedLatentConfig, OrderedLatentModel, magnitudes
from nvc_models.ordered_latent_graphs import (
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
def test_signs_tell_nothing_and_magnitudes_do() -> None:
    model, (y, before, prior) = random_model(), random_input()
    index = model(y, before, prior, rounding="hard").index
    assert torch.equal(model(-y, -before, prior, rounding="hard").index, index)
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
def test_graphs_give_the_indices_of_the_model() -> None:
    model, (y, before, prior) = random_model(), random_input()
    coded = model(y, before, prior, rounding="hard", skip_level=SKIP_LEVEL)
    symbols = dict(zip(part_names("p", model), model.split(coded.y_hat), strict=True))
    tensors = {"p_z": torch.round(model.hyper_analysis(y)), "prior": prior}
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
            tensors[step["code"]] = symbols[step["code"]]
    found = torch.cat([tensors[f"{name}_index"] for name in symbols], 1)
    torch.testing.assert_close(found, coded.index)
    for name, tensor in tensors.items():
        if name in shapes:
            assert tensor.shape[1] == shapes[name].channels
