"""``verify --bisect`` names the first layer that two engines compute differently."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from exported_codec import Exported

pytest.importorskip("polygraphy", reason="needs nvc[export]")

from nvc_engines import Engine, open_engine
from nvc_errors import VerificationError
from nvc_runtime.cli.main import run
from nvc_runtime.cli.verify_bisect import bisect

GRAPH = "intra_synthesis"
NAMES = ("a", "b")


class _Faulty:
    """An engine that adds to one tensor of a graph."""

    def __init__(self, engine: Engine, number: int) -> None:
        self.engine, self.number, self.tensor = engine, number, ""

    def load(self, source: Any, shapes: Any) -> Any:
        self.graph = self.engine.load(source, shapes)
        self.tensor = self.graph.output_names[self.number]
        return self

    def run(self, inputs: Any) -> Any:
        outputs = self.graph.run(inputs)
        array = np.array(self.engine.download(outputs[self.tensor]))
        array.flat[0] += 0.5 * max(1.0, float(np.abs(array).max()))
        return outputs | {self.tensor: self.engine.upload(array)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def test_the_layer_that_differs_is_named(exported: Exported) -> None:
    graph = next(name for name in exported.bundle.manifest.graphs if name == GRAPH)
    with open_engine("ort:cpu") as engine:
        same = bisect(exported.bundle, graph, (engine, engine), NAMES, 0.0)
        assert same.first is None
        assert same.layers > 10
        same.check()
        faulty: Any = _Faulty(engine, 5)
        result = bisect(exported.bundle, graph, (engine, faulty), NAMES, 1e-4)
    assert result.first is not None
    assert result.first.tensor == faulty.tensor
    assert result.first.difference == pytest.approx(0.5)
    with pytest.raises(
        VerificationError, match=f"b differs from a first in {result.first.operator}"
    ):
        result.check()


def test_the_command(
    exported: Exported, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["verify", "--bisect", GRAPH, "--bundle", str(exported.bundle.path), "--json"]
    engines = ["--engines", "ort:cpu,torch:cpu"]
    assert run([*command, *engines]) == 0
    assert json.loads(capsys.readouterr().out)["first"] is None
    assert run([*command, *engines, "--bound", "0"]) == 4
    shown = capsys.readouterr()
    assert json.loads(shown.out)["first"]["tensor"] in shown.err
    assert run([*command, "--engines", "ort:cpu"]) == 2
    assert "two engines" in capsys.readouterr().err
    assert run(["verify", "--bisect", "nothing", *command[3:], *engines]) == 2
    assert "has no graph 'nothing'" in capsys.readouterr().err
    assert run([*command, *engines, "-i", "clip.mp4"]) == 2
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "polygraphy.backend.onnx", None)
    assert run([*command, *engines]) == 2
    assert 'pip install "nvc[export]"' in capsys.readouterr().err
