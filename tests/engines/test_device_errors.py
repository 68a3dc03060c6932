"""A device that fails: one line with the engine's name, and an engine that can still be closed."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
from plan_stand_in import FakeCache, HostBuffers, record_of, stand_in

from nvc_engines import GraphSource, open_engine
from nvc_engines.checks import device_errors
from nvc_engines.cuda_buffers import on_host
from nvc_engines.plans import write_plan
from nvc_engines.probe_graph import probe_source
from nvc_errors import EngineError, EngineUnavailableError, UsageError

X = np.zeros((1, 32, 16, 16), np.float32)
LOST = "CUDA error: device lost"


def lost(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("CUDA error:\n device lost")


def test_only_errors_of_the_library_are_turned() -> None:
    with (
        pytest.raises(EngineError, match=rf"^x cannot do it: {LOST}$"),
        device_errors("x", "do it"),
    ):
        lost()
    with pytest.raises(UsageError, match="as it is"), device_errors("x", "do it", caught=Exception):
        raise UsageError("as it is")
    with pytest.raises(ZeroDivisionError), device_errors("x", "do it"):
        raise ZeroDivisionError


@pytest.mark.parametrize("backend", ["tensorrt-rtx", "tensorrt"])
def test_an_engine_of_plans_says_what_it_could_not_do(
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = probe_source()
    write_plan(tmp_path, "probe", source.onnx, record_of(source, source.onnx, backend))
    with stand_in(backend, monkeypatch):
        engine = open_engine(f"{backend}:rtx2080", engines_dir=tmp_path)
        graph = engine.load(source, {"x": X.shape})
        tensor = engine.upload(X)
        for name in ("upload", "download", "empty", "synchronize"):
            monkeypatch.setattr(HostBuffers, name, lost)
        spec = f"^{backend}:rtx2080 cannot"
        with pytest.raises(EngineError, match=rf"{spec} copy to the device: {LOST}$"):
            engine.upload(X)
        with pytest.raises(EngineError, match=f"{spec} copy from the device"):
            engine.download(tensor)
        with pytest.raises(EngineError, match=f"{spec} take memory for graph 'probe'"):
            graph.run({"x": tensor})
        with pytest.raises(EngineError, match=f"{spec} wait for the device"):
            engine.synchronize()
        with caplog.at_level(logging.WARNING), pytest.raises(UsageError, match="first"), engine:
            raise UsageError("first")
        assert [record.message.partition(": ")[2] for record in caplog.records] == [
            f"{backend}:rtx2080 cannot wait for the device: {LOST}"
        ]
        with pytest.raises(EngineError, match="closed"):
            engine.load(source, {"x": X.shape})
        engine.close()
        assert len(caplog.records) == 1
        assert (tmp_path / "probe.cache").exists() == (backend == "tensorrt-rtx")


def test_a_cache_that_cannot_be_had_is_only_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = probe_source()
    write_plan(tmp_path, "probe", source.onnx, record_of(source, source.onnx))
    monkeypatch.setattr(FakeCache, "serialize", lost)
    with stand_in("tensorrt-rtx", monkeypatch):
        with open_engine("tensorrt-rtx:rtx2080", engines_dir=tmp_path) as engine:
            engine.load(source, {"x": X.shape})
        with pytest.raises(EngineError, match="closed"):
            engine.load(source, {"x": X.shape})
    assert "kernels are chosen again" in caplog.text


class FailingProgram:
    """Loads, and fails in the place it is told."""

    outputs = ("y",)

    def __init__(self, name: str, *_: Any, **__: Any) -> None:
        if name == "heavy":
            lost()

    def run(self, _: Any) -> NoReturn:
        lost()


@pytest.fixture
def torch_on_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """PyTorch that takes itself for one with a GPU, which is lost at the first call."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from nvc_engines import torch as engine_module

    tensor = SimpleNamespace(to=lost)
    monkeypatch.setattr(engine_module, "_tensor_from_array", lambda _: tensor)
    monkeypatch.setattr(engine_module, "on_host", lost)
    monkeypatch.setattr(engine_module, "Program", FailingProgram)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lost)
    return torch


def test_the_torch_engine_says_what_it_could_not_do(
    torch_on_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch, source = torch_on_gpu, probe_source()
    with pytest.raises(
        EngineUnavailableError, match=rf"^torch:cuda cannot open the device: {LOST}$"
    ):
        open_engine("torch:cuda")
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: torch.no_grad())
    with open_engine("torch:cuda,cuda_graphs=0") as engine:
        spec = "^torch:cuda,cuda_graphs=0 cannot"
        with pytest.raises(EngineError, match=rf"{spec} copy to the device: {LOST}$"):
            engine.upload(X)
        with pytest.raises(EngineError, match=f"{spec} copy from the device"):
            engine.download(torch.zeros(1))
        with pytest.raises(EngineError, match=f"{spec} wait for the device"):
            engine.synchronize()
        heavy = GraphSource("heavy", source.onnx, source.sha256)
        with pytest.raises(EngineError, match=f"{spec} load graph 'heavy'"):
            engine.load(heavy, {"x": X.shape})
        graph = engine.load(source, {"x": X.shape})
        with pytest.raises(EngineError, match=rf"{spec} run graph 'probe': {LOST}$"):
            graph.run({"x": torch.zeros(X.shape)})


def test_onnx_runtime_says_what_it_could_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime as ort

    from nvc_engines import ort as engine_module

    class Value:
        """In device memory, until it is wanted back."""

        def data_type(self) -> str:
            return "tensor(float)"

        def shape(self) -> list[int]:
            return list(X.shape)

        numpy = lost

        @staticmethod
        def ortvalue_from_numpy(*_: Any) -> Value:
            return Value()

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(ort, "OrtValue", Value)
    with open_engine("ort:cuda") as engine:
        tensor = engine.upload(X)
        with pytest.raises(EngineError, match=rf"^ort:cuda cannot copy from the device: {LOST}$"):
            engine.download(tensor)
        session = SimpleNamespace(io_binding=lambda: SimpleNamespace(bind_ortvalue_input=lost))
        graph = engine_module._DeviceGraph("probe", session, {"x": X.shape}, ("y",))
        with pytest.raises(EngineError, match=rf"cannot run graph 'probe': {LOST}$"):
            graph.run({"x": tensor})


def test_what_comes_from_the_device_goes_to_page_locked_memory() -> None:
    asked: dict[str, Any] = {}

    def new_empty(shape: tuple[int, ...], **options: Any) -> Any:
        asked.update(options, shape=shape)
        return SimpleNamespace(copy_=lambda source: ("copy of", source))

    tensor = SimpleNamespace(is_cuda=True, shape=(1, 2), new_empty=new_empty)
    assert on_host(tensor) == ("copy of", tensor)
    assert asked == {"shape": (1, 2), "device": "cpu", "pin_memory": True}
    here = SimpleNamespace(is_cuda=False)
    assert on_host(here) is here
