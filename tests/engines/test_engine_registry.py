from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import nvc_engines
from nvc_engines import (
    Engine,
    EngineInfo,
    EngineProbe,
    GraphSource,
    open_engine,
    parse_engine_spec,
    probe_engines,
)
from nvc_engines import registry as registry_module
from nvc_engines.ort import check_on_gpu
from nvc_engines.probe_graph import check_precision
from nvc_errors import EngineError, EngineUnavailableError, UsageError

LIBRARIES = ["torch", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"]


def test_importing_the_package_imports_no_backend() -> None:
    code = (
        "import sys, nvc_engines\n"
        f"found = [name for name in {LIBRARIES} if name in sys.modules]\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_opening_one_backend_imports_no_other() -> None:
    code = (
        "import sys, nvc_engines\n"
        "nvc_engines.open_engine('ort:cpu').close()\n"
        "found = [name for name in ('torch', 'onnx', 'openvino') if name in sys.modules]\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_sorted_and_there() -> None:
    constants_then_classes = sorted(
        nvc_engines.__all__, key=lambda name: (not name.isupper(), name.islower(), name)
    )
    assert nvc_engines.__all__ == constants_then_classes
    assert all(hasattr(nvc_engines, name) for name in nvc_engines.__all__)


@pytest.mark.parametrize(
    ("name", "library", "install"),
    [
        ("openvino:cpu", "openvino", 'pip install "nvc[openvino]"'),
        ("torch:cpu", "torch", 'pip install "nvc[torch]"'),
        ("ort:cpu", "onnxruntime", 'pip install "nvc"'),
        ("tensorrt-rtx:rtx2080", "tensorrt_rtx", 'pip install "nvc[tensorrt-rtx,torch]"'),
        ("tensorrt:a100", "tensorrt", 'pip install "nvc[tensorrt,torch]"'),
    ],
)
def test_a_missing_library_names_the_extra_to_install(
    name: str, library: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "nvc_engines." + name.partition(":")[0].replace("-", "_")
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EngineUnavailableError) as caught:
        open_engine(name)
    assert install in str(caught.value)
    assert library in str(caught.value)


def test_an_engine_that_does_not_exist_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        open_engine("ort:npu")


def test_cuda_is_never_replaced_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineUnavailableError, match=r"then pip install onnxruntime-gpu$"):
        open_engine("ort:cuda")


def test_a_gpu_package_without_a_gpu_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("chatter"), raising=False)
    monkeypatch.delattr(onnxruntime.OrtValue, "ortvalue_from_numpy")
    with pytest.raises(EngineUnavailableError, match="check that nvidia-smi works"):
        open_engine("ort:cuda")
    assert capsys.readouterr().out == ""


class _Part:
    def __init__(self, provider: str, *op_types: str) -> None:
        self.ep_name = provider
        self.op_types = op_types

    def get_nodes(self) -> list[object]:
        return [type("Node", (), {"op_type": op_type}) for op_type in self.op_types]


class _Session:
    def __init__(self, providers: list[str], *parts: _Part) -> None:
        self.get_providers = lambda: providers
        self.get_provider_graph_assignment_info = lambda: parts


def test_a_session_that_fell_back_to_the_cpu_is_refused() -> None:
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    shape_work = _Part(cpu, "Shape", "Gather")
    check_on_gpu("g", _Session([cuda, cpu], _Part(cuda, "Conv"), shape_work))
    with pytest.raises(EngineUnavailableError, match="instead of CUDAExecutionProvider"):
        check_on_gpu("g", _Session([cpu]))
    with pytest.raises(EngineError, match="no CUDA kernel for GridSample"):
        check_on_gpu("g", _Session([cuda, cpu], _Part(cuda, "Conv"), _Part(cpu, "GridSample")))


def test_the_probe_covers_every_engine_and_gives_reasons() -> None:
    for library in ("openvino", "torch", "onnx"):
        pytest.importorskip(library)
    probes = {probe.spec.partition(",")[0]: probe for probe in probe_engines()}
    assert len(probes) == len(nvc_engines.engine_names())
    for name in ("ort:cpu", "openvino:cpu", "torch:cpu"):
        assert probes[name].available, probes[name]
    assert all(reason and "\n" not in reason for _, _, reason in probes.values())


def test_the_probe_survives_an_engine_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object, **__: object) -> Engine:
        raise RuntimeError("boom")

    monkeypatch.setattr(registry_module, "open_engine", break_down)
    assert probe_engines()[0] == EngineProbe("ort:cpu", False, "unexpected RuntimeError: boom")


def test_openvino_is_held_to_fp32_when_the_hint_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino")
    import openvino

    with open_engine("openvino:cpu,threads=1") as engine:
        monkeypatch.setattr(openvino.Type, "f32", openvino.Type.bf16)
        with pytest.raises(EngineError, match="although f32 was asked for"):
            check_precision(engine)


@pytest.mark.parametrize(("bits", "name"), [(10, "tf32"), (7, "bf16")])
def test_the_precision_check_notices_rounded_inputs(bits: int, name: str) -> None:
    import numpy as np

    class Rounding(Engine):
        """ONNX Runtime with inputs cut to ``bits`` bits of mantissa, as tensor cores do."""

        def __init__(self) -> None:
            self.inner = open_engine("ort:cpu,threads=1")
            self.info = EngineInfo(parse_engine_spec("ort:cpu"), name, name)

        def load(self, source: GraphSource, shapes: object) -> object:  # type: ignore[override]
            return self.inner.load(source, shapes)  # type: ignore[arg-type]

        def upload(self, array: np.ndarray) -> np.ndarray:
            mask = np.uint32((0xFFFFFFFF << (23 - bits)) & 0xFFFFFFFF)
            return (array.view(np.uint32) & mask).view(np.float32)

        def download(self, tensor: np.ndarray) -> np.ndarray:
            return tensor

        def close(self) -> None:
            self.inner.close()

    with Rounding() as engine, pytest.raises(EngineError, match="does not compute in FP32"):
        check_precision(engine)


def test_engine_files_stay_small() -> None:
    for path in Path(nvc_engines.__file__).parent.glob("*.py"):
        assert len(path.read_text().splitlines()) < 400, path.name
