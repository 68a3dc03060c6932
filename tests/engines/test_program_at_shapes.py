"""Programs of the torch interpreter for one set of shapes, over the graphs of shipped bundles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nvc_runtime.bundle import Bundle, open_bundle

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from nvc_engines import onnx_node  # noqa: E402
from nvc_engines.onnx_interpreter import Program  # noqa: E402

SIZE = 64, 128
RNG = np.random.default_rng(3)


def random_inputs(bundle: Bundle, graph: str) -> dict[str, Any]:
    tensors = bundle.manifest.tensors
    return {
        name: torch.from_numpy(RNG.random(tensors[name].shape(*SIZE), np.float32) - 0.5)
        for name in bundle.manifest.graphs[graph].inputs
    }


@pytest.mark.parametrize("name", ["swift-m", "tian2023-lite"])
def test_only_data_is_left_to_a_program_at_fixed_shapes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(name)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a run made a tensor of what shapes tell")

    for graph in bundle.manifest.graphs:
        program = Program(graph, bundle.graph(graph).onnx, torch.device("cpu"))
        with torch.inference_mode():
            fixed = program.at_shapes(random_inputs(bundle, graph))
            inputs = random_inputs(bundle, graph)
            expected = program.run(inputs)
            with monkeypatch.context() as patch:
                for made in ("tensor", "arange", "full", "from_numpy"):
                    patch.setattr(torch, made, refuse)
                found = fixed.run(inputs)
        assert expected.keys() == found.keys()
        for output, value in expected.items():
            assert torch.equal(value, found[output]), (graph, output)


def test_tables_are_made_once_for_a_device_and_a_key() -> None:
    made = []

    def squares(count: int) -> list[np.ndarray]:
        made.append(count)
        return [np.arange(count) ** 2]

    tables = onnx_node.tables_on_device(squares)
    cpu = torch.device("cpu")
    first, again, other = tables(cpu, 3)[0], tables(cpu, 3)[0], tables(cpu, 4)[0]
    assert first is again
    assert first.tolist() == [0, 1, 4]
    assert other.tolist() == [0, 1, 4, 9]
    assert made == [3, 4]
