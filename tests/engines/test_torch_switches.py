"""The torch engine needs process-wide switches; nobody else may notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nvc_engines import open_engine
from nvc_engines.probe_graph import probe_source

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from nvc_engines.torch import TorchEngine, full_precision_switches  # noqa: E402


def switches() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "mkldnn": torch._C._get_mkldnn_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "deterministic": torch.backends.cudnn.deterministic,
        "precision": [getattr(owner, name) for owner, name, _ in full_precision_switches()],
        "inference": torch.is_inference_mode_enabled(),
    }


def test_switches_hold_inside_and_come_back_after_a_failure() -> None:
    before = switches()
    older_switches = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    inside = {}
    with open_engine("torch:cpu,threads=3,mkldnn=0") as engine:
        assert isinstance(engine, TorchEngine)

        def fail() -> None:
            with engine.switches():
                inside.update(switches())
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
    assert inside["threads"] == 3
    assert inside["mkldnn"] is False
    assert inside["deterministic"] is True
    assert inside["precision"] == [value for _, _, value in full_precision_switches()]
    assert inside["precision"] != before["precision"]
    assert inside["inference"] is True
    assert switches() == before
    assert older_switches == (
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )


def test_lowered_precision_elsewhere_does_not_reach_a_run() -> None:
    source = probe_source()
    values = np.ones((1, 32, 16, 16), np.float32)
    with open_engine("torch:cpu,threads=1") as engine:
        graph = engine.load(source, {"x": values.shape})
        expected = graph.run({"x": values})["y"]
        torch.set_float32_matmul_precision("medium")
        try:
            with torch.autocast("cpu", torch.bfloat16):
                found = graph.run({"x": values})["y"]
                assert torch.is_autocast_enabled("cpu")
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(found, expected)


def test_torch_may_be_asked_for_cuda_only_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from nvc_errors import EngineUnavailableError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineUnavailableError, match="finds no CUDA device"):
        open_engine("torch:cuda")
